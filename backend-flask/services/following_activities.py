"""The personal home feed."""

from lib import spans
from lib.database import Db
from lib.pagination import Page, PageRequest
from lib.queries import PagedQuery
from services.get_or_create_user import User

FOLLOWING_ACTIVITIES = PagedQuery("activities/following")


class FollowingActivities:
    """Read the activities of a user and of those whom the user follows."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, page_request: PageRequest) -> Page:
        """Return live activities without replies, newest first."""
        with spans.use_case("following-activities") as span:
            page = self.db.query_page(FOLLOWING_ACTIVITIES, page_request, user_uuid=user.uuid, reader=user.sub)
            span.set_attribute("app.result_length", page.length)
            return page
