"""Deleting activities."""

from uuid import UUID

from lib import spans
from lib.database import Db
from lib.pagination import JSONBytes
from services.get_or_create_user import User


class DeleteActivity:
    """Delete a live activity of its author, and its replies."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, author: User, activity_uuid: UUID) -> JSONBytes:
        """Return the uuid of the deleted activity. Raises `NotFound`, also when another user wrote the activity."""
        with spans.use_case("delete-activity"):
            return self.db.query_object("activities/delete", activity_uuid=activity_uuid, user_uuid=author.uuid)
