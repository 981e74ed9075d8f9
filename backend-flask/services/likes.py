"""Likes of activities."""

from uuid import UUID

from lib import spans
from lib.database import Db
from lib.pagination import JSONBytes, Page, PageRequest
from lib.queries import BoundedScan, PagedQuery, ParentQuery
from services.get_or_create_user import User
from services.reactions import write_reaction

LIKES = PagedQuery("likes/index", parent=ParentQuery("activities/find"), has_items=True)
# A page scans at most 200 likes, so it may be short: some activities have expired.
LIKED = PagedQuery("activities/liked", scan=BoundedScan("activities/liked_entries", 200), has_items=True)


class LikeActivity:
    """Like a live activity."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, reader: str, activity_uuid: UUID) -> JSONBytes:
        """Return the liked activity, also when the reader liked it before. Raises `NotFound` when it is not live."""
        with spans.use_case("like-activity"):
            return write_reaction(self.db, "likes/create", reader, activity_uuid)


class UnlikeActivity:
    """Remove a like of a live activity."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, reader: str, activity_uuid: UUID) -> JSONBytes:
        """Return the activity, also when the reader did not like it. Raises `NotFound` when it is not live."""
        with spans.use_case("unlike-activity"):
            return write_reaction(self.db, "likes/delete", reader, activity_uuid)


class ActivityLikes:
    """Read the users who like an activity."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, activity_uuid: UUID, page_request: PageRequest) -> Page:
        """Return users, the newest like first. Raises `NotFound` when the activity is not live."""
        with spans.use_case("activity-likes") as span:
            page = self.db.query_page(LIKES, page_request, activity_uuid=activity_uuid)
            span.set_attribute("app.result_length", page.length)
            return page


class LikedActivities:
    """Read the activities that a user likes."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, page_request: PageRequest) -> Page:
        """Return live activities, the newest like first."""
        with spans.use_case("liked-activities") as span:
            page = self.db.query_page(LIKED, page_request, user_uuid=user.uuid, reader=user.sub)
            span.set_attribute("app.result_length", page.length)
            return page
