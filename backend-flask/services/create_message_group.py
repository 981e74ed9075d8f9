"""Beginning a conversation."""

import json
from uuid import UUID

from lib.db import Db
from lib.idempotency import Attempt, Replay, once
from lib.paging import Json
from lib.tracing import use_case
from services.rules import check, reply_codes
from services.sign_in import User


class CreateMessageGroup:
    """Write to somebody, in the one conversation that two people have."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, sender: User, message: str | None, handle: str | None, attempt: Attempt | None) -> Json | Replay:
        """The conversation's uuid, new or not. Raises `Invalid`, and `NotFound` when nobody has the handle."""
        check(reply_codes(message), receiver_codes(sender, handle))

        def group(db: Db) -> Json:
            return db.query_object("message_groups/create", user_uuid=sender.uuid, handle=handle)

        def write(db: Db, uuid: UUID) -> Json:
            with db.transaction() as together:
                answer = group(together)
                together.query_object(
                    "messages/create",
                    uuid=uuid,
                    user_uuid=sender.uuid,
                    message=message,
                    **json.loads(answer),
                )
            return answer

        with use_case("create-message-group"):
            return once(self.db, sender.uuid, attempt, write=write, replay=lambda _: group(self.db))


def receiver_codes(sender: User, handle: str | None) -> list[str]:
    """What is wrong with the one who is written to."""
    if handle is None or not handle.strip():
        return ["user_reciever_handle_blank"]
    return ["user_reciever_handle_self"] if handle.lower() == sender.handle.lower() else []
