"""Sending a message in an existing conversation."""

from collections.abc import Callable

from lib import spans
from lib.database import Db
from lib.idempotency import IdempotencyKey, ReplayedResponse, run_once
from lib.pagination import JSONBytes
from lib.text import is_blank
from services.get_or_create_user import User
from services.validation import TTL, parse_uuid, raise_if_any, validate_optional_ttl, validate_reply


class CreateMessage:
    """Send a message in one of the sender's conversations. With a ttl the message expires."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(
        self,
        *,
        sender: Callable[[], User],
        message: str | None,
        message_group_uuid: str | None,
        ttl: str | None,
        idempotency_key: IdempotencyKey | None,
    ) -> JSONBytes | ReplayedResponse:
        """Return the new message. Raises `ValidationError`, and `NotFound` when the sender has no such conversation.

        The call of `sender` comes after the validation: invalid input costs no query.
        """
        text = message_group_uuid or ""
        raise_if_any(
            validate_reply(message),
            validate_optional_ttl(ttl),
            ["message_group_uuid_blank"] if is_blank(text) else [],
        )
        group = parse_uuid(text)
        user = sender()
        with spans.use_case("create-message"):
            return run_once(
                self.db,
                user.sub,
                idempotency_key,
                write=lambda db, uuid: db.query_object(
                    "messages/create",
                    uuid=uuid,
                    message_group_uuid=group,
                    user_uuid=user.uuid,
                    message=message,
                    ttl=TTL.get(ttl or ""),
                ),
                replay=lambda resource: self.db.query_object("messages/show", uuid=resource.uuid, user_uuid=user.uuid),
            )
