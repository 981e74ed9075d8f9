"""Going on with a conversation."""

import re
from collections.abc import Callable
from uuid import UUID

from lib import spans
from lib.database import Db
from lib.exceptions import NotFound
from lib.idempotency import IdempotencyKey, ReplayedResponse, run_once
from lib.pagination import JSONBytes
from lib.text import is_blank
from services.get_or_create_user import User
from services.validation import raise_if_any, validate_reply


class CreateMessage:
    """Say something to whom one speaks with already."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(
        self,
        *,
        sender: Callable[[], User],
        message: str | None,
        message_group_uuid: str | None,
        idempotency_key: IdempotencyKey | None,
    ) -> JSONBytes | ReplayedResponse:
        """Return the new message. Raises `ValidationError`, and `NotFound` when the sender has no such conversation.

        `sender` is called once the rest is valid: invalid input costs no query.
        """
        given = message_group_uuid or ""
        raise_if_any(validate_reply(message), ["message_group_uuid_blank"] if is_blank(given) else [])
        group = uuid_of(given)
        user = sender()
        with spans.use_case("create-message"):
            return run_once(
                self.db,
                user.uuid,
                idempotency_key,
                write=lambda db, uuid: db.query_object(
                    "messages/create", uuid=uuid, message_group_uuid=group, user_uuid=user.uuid, message=message
                ),
                replay=lambda made: self.db.query_object(
                    "messages/show", message_group_uuid=group, user_uuid=user.uuid, **made._asdict()
                ),
            )


def uuid_of(text: str) -> UUID:
    """The uuid that `text` spells, as in a path. Raises `NotFound`: what is none is nobody's."""
    if not re.fullmatch("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text):
        raise NotFound
    return UUID(text)
