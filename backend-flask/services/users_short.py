"""A user's uuid, handle and display name."""

from lib import spans
from lib.database import Db
from lib.pagination import JSONBytes


class UsersShort:
    """Look a user up by handle."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, handle: str) -> JSONBytes:
        """Return the user's uuid, handle and display name. Raises `NotFound`."""
        with spans.use_case("users-short"):
            return self.db.query_object("users/short", handle=handle)
