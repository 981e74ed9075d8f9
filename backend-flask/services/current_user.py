"""The current user."""

from lib import spans
from lib.database import Db
from lib.pagination import JSONBytes
from services.get_or_create_user import User


class CurrentUser:
    """Read the current user."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User) -> JSONBytes:
        """Return the user's uuid, handle and display name. Raises `NotFound` when the row was deleted meanwhile."""
        with spans.use_case("current-user"):
            return self.db.query_object("users/viewer", cognito_user_id=user.sub)
