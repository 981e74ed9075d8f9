"""Notifications of every kind, and how many of them are unread."""

from collections.abc import Callable

from lib import spans
from lib.database import Db
from lib.pagination import NEWEST, JSONBytes, Page, PageRequest
from lib.queries import CURRENT_USER, BoundedScan, PagedQuery
from services.get_or_create_user import User
from services.validation import parse_until

# A page scans at most 200 notifications, so it may be short: the reader does not see all users.
NOTIFICATIONS = PagedQuery(
    "notifications/index", parent=CURRENT_USER, scan=BoundedScan("notifications/newest", 200), has_items=True
)


class Notifications:
    """Read a user's notifications: replies, mentions, likes, reposts and follows by others."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, reader: str, page_request: PageRequest) -> Page:
        """Return notifications about live activities, newest first."""
        with spans.use_case("notifications") as span:
            page = self.db.query_page(NOTIFICATIONS, page_request, reader=reader)
            span.set_attribute("app.result_length", page.length)
            return page


class UnreadNotifications:
    """Count a user's unread notifications."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, reader: str) -> JSONBytes:
        """Return the number of notifications after the user's marker, 100 at most, and whether there are more."""
        with spans.use_case("unread-notifications"):
            return self.db.query_object("notifications/unread_count", uuid=NEWEST.uuid, reader=reader)


class ReadNotifications:
    """Mark a user's notifications as read."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: Callable[[], User], until: str | None) -> JSONBytes:
        """Return the time until which the notifications are read now. Raises `ValidationError`.

        The call of `user` comes after the validation: invalid input costs no query.
        """
        read_at, user_uuid = parse_until(until), user().uuid
        with spans.use_case("read-notifications"):
            return self.db.query_object("notifications/read", user_uuid=user_uuid, until=read_at)
