"""Conversations."""

from lib import spans
from lib.database import Db
from lib.pagination import Page
from services.get_or_create_user import User

LIMIT = 20


class MessageGroups:
    """List a user's conversations."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User) -> Page:
        """Return the last 20 conversations of `user`, the one with the newest message first."""
        with spans.use_case("message-groups") as span:
            page = self.db.query_array("message_groups/index", user_uuid=user.uuid, limit=LIMIT)
            span.set_attribute("app.result_length", page.length)
            return page
