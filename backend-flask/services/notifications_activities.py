"""Notifications."""

from lib.db import Db, Feed
from lib.paging import Listing, Page
from lib.tracing import use_case
from services.sign_in import User

NOTIFICATIONS = Feed("activities/notifications")


class NotificationsActivities:
    """What others have written to somebody."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, page: Page) -> Listing:
        """Live replies to `user`, and live mentions, newest first."""
        with use_case("notifications-activities") as current:
            listing = self.db.query_page(NOTIFICATIONS, page, user_uuid=user.uuid)
            current.set_attribute("app.result_length", listing.length)
            return listing
