"""Sending a message to a user by handle."""

import json
from collections.abc import Callable
from uuid import UUID

from lib import spans
from lib.database import Db
from lib.exceptions import ValidationError
from lib.idempotency import IdempotencyKey, ReplayedResponse, run_once
from lib.pagination import JSONBytes
from lib.text import is_blank
from services.get_or_create_user import User
from services.validation import TTL, raise_if_any, validate_optional_ttl, validate_reply


class CreateMessageGroup:
    """Send a message to a user, in the one conversation of the two users. Create the conversation if it is new.

    With a ttl the message expires, and the conversation stays.
    """

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(
        self,
        *,
        sender: Callable[[], User],
        message: str | None,
        handle: str | None,
        ttl: str | None,
        idempotency_key: IdempotencyKey | None,
    ) -> JSONBytes | ReplayedResponse:
        """Return the conversation's uuid, new or not. Raises `ValidationError`, and `NotFound` for an unknown handle.

        A blank handle costs no query: `sender` is called only for a handle to compare with the sender's.
        """
        codes = [*validate_reply(message), *validate_optional_ttl(ttl)]
        if handle is None or is_blank(handle):
            raise ValidationError(*codes, "user_reciever_handle_blank")
        user = sender()
        raise_if_any(codes, ["user_reciever_handle_self"] if handle.lower() == user.handle.lower() else [])

        def write(db: Db, uuid: UUID) -> JSONBytes:
            with db.transaction() as transaction:
                conversation = transaction.query_object("message_groups/create", user_uuid=user.uuid, handle=handle)
                transaction.query_object(
                    "messages/create",
                    uuid=uuid,
                    user_uuid=user.uuid,
                    message=message,
                    ttl=TTL.get(ttl or ""),
                    **json.loads(conversation),
                )
            return conversation

        with spans.use_case("create-message-group"):
            return run_once(
                self.db,
                user.sub,
                idempotency_key,
                write=write,
                replay=lambda resource: self.db.query_object(
                    "messages/show_group", uuid=resource.uuid, user_uuid=user.uuid
                ),
            )
