"""Conversations."""

from collections.abc import Callable
from uuid import UUID

from lib import spans
from lib.database import Db
from lib.pagination import JSONBytes, Page
from services.get_or_create_user import User
from services.validation import parse_until

LIMIT = 20


class MessageGroups:
    """List a user's conversations."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User) -> Page:
        """Return the last 20 conversations of `user`, the one with the newest live message first."""
        with spans.use_case("message-groups") as span:
            page = self.db.query_array("message_groups/index", user_uuid=user.uuid, limit=LIMIT)
            span.set_attribute("app.result_length", page.length)
            return page


class ReadMessageGroup:
    """Mark the messages of a conversation as read."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: Callable[[], User], message_group_uuid: UUID, until: str | None) -> JSONBytes:
        """Return the time until which the user has read the conversation. Raises `ValidationError`, `NotFound`.

        The call of `user` comes after the validation: invalid input costs no query.
        """
        read_at, user_uuid = parse_until(until), user().uuid
        with spans.use_case("read-message-group"):
            return self.db.query_object(
                "message_groups/read", user_uuid=user_uuid, message_group_uuid=message_group_uuid, until=read_at
            )
