"""Notifications."""

from lib import spans
from lib.database import Db
from lib.pagination import Page, PageRequest
from lib.queries import Feed
from services.sign_in import User

NOTIFICATIONS = Feed("activities/notifications")


class NotificationsActivities:
    """What others have written to somebody."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, page: PageRequest) -> Page:
        """Live replies to `user`, and live mentions, newest first."""
        with spans.use_case("notifications-activities") as span:
            listing = self.db.query_page(NOTIFICATIONS, page, user_uuid=user.uuid)
            span.set_attribute("app.result_length", listing.length)
            return listing
