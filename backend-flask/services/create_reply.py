"""Replying."""

from uuid import UUID

from lib.db import Db
from lib.idempotency import Attempt, Replay, once
from lib.paging import Json
from lib.tracing import use_case
from services.rules import check, mentions, reply_codes
from services.sign_in import User


class CreateReply:
    """Answer a live activity, for as long as it lives."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, author: User, activity_uuid: UUID, message: str | None, attempt: Attempt | None) -> Json | Replay:
        """The reply. Raises `Invalid`, and `NotFound` when what it answers is not there."""
        check(reply_codes(message))
        with use_case("create-reply"):
            return once(
                self.db,
                author.uuid,
                attempt,
                write=lambda db, uuid: db.query_object(
                    "activities/reply",
                    uuid=uuid,
                    user_uuid=author.uuid,
                    activity_uuid=activity_uuid,
                    message=message,
                    mentions=mentions(message),
                ),
                replay=lambda made: self.db.query_object(
                    "activities/show", activity_uuid=made.uuid, handle=author.handle
                ),
            )
