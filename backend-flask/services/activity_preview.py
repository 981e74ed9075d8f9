"""The preview of a link to an activity."""

from typing import NamedTuple
from uuid import UUID

from lib import spans
from lib.database import Db
from lib.text import without_controls


class Preview(NamedTuple):
    """The texts that other sites show for a link. They keep copies, so none is of the activity's message."""

    title: str
    description: str


class ActivityPreview:
    """Read the preview of a link to an activity."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, handle: str, activity_uuid: UUID) -> Preview:
        """Return the preview of a live activity by `handle`. Raises `NotFound`."""
        with spans.use_case("activity-preview"):
            display_name, handle, expires_at = self.db.query_row(
                "activities/preview", handle=handle, activity_uuid=activity_uuid
            )
            return Preview(
                # Names from other sources than the service may have such characters.
                title=f"{without_controls(display_name)} (@{handle}) on Cruddur",
                description=f"Disappears at {expires_at} UTC." if expires_at else "Does not disappear.",
            )
