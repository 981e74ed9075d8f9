"""The personal home feed."""

from lib import spans
from lib.database import Db
from lib.pagination import Page, PageRequest
from lib.queries import CURRENT_USER, BoundedScan, PagedQuery

# A page scans at most 200 activities and reposts, so it may be short: several reposts of an activity are one entry.
FOLLOWING_ACTIVITIES = PagedQuery(
    "activities/following", parent=CURRENT_USER, scan=BoundedScan("activities/following_entries", 200), has_items=True
)


class FollowingActivities:
    """Read the activities and reposts of a user and of those whom the user follows."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, reader: str, page_request: PageRequest) -> Page:
        """Return live activities without replies, and reposted ones, each at the newest of its times, newest first."""
        with spans.use_case("following-activities") as span:
            page = self.db.query_page(FOLLOWING_ACTIVITIES, page_request, reader=reader)
            span.set_attribute("app.result_length", page.length)
            return page
