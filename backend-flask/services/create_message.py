"""Going on with a conversation."""

import re
from uuid import UUID

from lib.db import Db
from lib.errors import NotFound
from lib.idempotency import Attempt, Replay, once
from lib.paging import Json
from lib.tracing import use_case
from services.rules import check, reply_codes
from services.sign_in import User


class CreateMessage:
    """Say something to whom one speaks with already."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(
        self, *, sender: User, message: str | None, message_group_uuid: str | None, attempt: Attempt | None
    ) -> Json | Replay:
        """The new message. Raises `Invalid`, and `NotFound` when `sender` has no such conversation."""
        given = message_group_uuid or ""
        check(reply_codes(message), [] if given.strip() else ["message_group_uuid_blank"])
        group = uuid_of(given)
        with use_case("create-message"):
            return once(
                self.db,
                sender.uuid,
                attempt,
                write=lambda db, uuid: db.query_object(
                    "messages/create", uuid=uuid, message_group_uuid=group, user_uuid=sender.uuid, message=message
                ),
                replay=lambda made: self.db.query_object(
                    "messages/show", message_group_uuid=group, user_uuid=sender.uuid, **made._asdict()
                ),
            )


def uuid_of(text: str) -> UUID:
    """The uuid that `text` spells, as in a path. Raises `NotFound`: what is none is nobody's."""
    if not re.fullmatch("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text):
        raise NotFound
    return UUID(text)
