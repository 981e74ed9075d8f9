"""Suggested users: whom the current user may want to follow."""

from lib import spans
from lib.database import Db
from lib.pagination import Page
from services.get_or_create_user import User


class SuggestedUsers:
    """Read the users who are suggested to a user."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User) -> Page:
        """Return at most 5 users, the best suggestion first: never followed, muted or blocked ones."""
        with spans.use_case("suggested-users") as span:
            page = self.db.query_array("users/suggested", user_uuid=user.uuid, reader=user.sub)
            span.set_attribute("app.result_length", page.length)
            return page
