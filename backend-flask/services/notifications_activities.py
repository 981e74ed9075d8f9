"""Notifications."""

from lib import spans
from lib.database import Db
from lib.pagination import Page, PageRequest
from lib.queries import CURRENT_USER, BoundedScan, PagedQuery

# A page scans at most 200 activities, so it may be short: the reader does not see all authors.
NOTIFICATIONS = PagedQuery(
    "activities/notifications", parent=CURRENT_USER, scan=BoundedScan("notifications/replies_and_mentions", 200)
)


class NotificationsActivities:
    """Read a user's notifications: replies and mentions by others."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, reader: str, page_request: PageRequest) -> Page:
        """Return live replies to the reader and live mentions of the reader, newest first."""
        with spans.use_case("notifications-activities") as span:
            page = self.db.query_page(NOTIFICATIONS, page_request, reader=reader)
            span.set_attribute("app.result_length", page.length)
            return page
