"""A user's profile and activities."""

from lib import spans
from lib.database import Db
from lib.pagination import Page, PageRequest
from lib.queries import BoundedScan, PagedQuery, ParentQuery

PROFILE = ParentQuery("users/profile", key="profile", rows_key="activities", expires=True, has_item=True)
# The profile counts all of these activities, so the page expires with it.
USER = PagedQuery("activities/user", parent=PROFILE)
# A page scans at most 1,000 activities and reposts, so it may be short: a profile does not show every entry.
USER_WITH_REPOSTS = PagedQuery(
    "activities/user_with_reposts",
    parent=PROFILE,
    expires=True,
    scan=BoundedScan("activities/user_entries", 1_000),
    has_items=True,
)


class UserActivities:
    """Read a user's profile and activities."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(
        self, *, handle: str, page_request: PageRequest, has_reposts: bool = False, reader: str | None = None
    ) -> Page:
        """Return the profile, and live activities without replies, newest first. Raises `NotFound`.

        With `has_reposts` the user's reposts are among the activities, each at the time of the repost.
        """
        with spans.use_case("user-activities") as span:
            feed = USER_WITH_REPOSTS if has_reposts else USER
            page = self.db.query_page(feed, page_request, handle=handle, reader=reader)
            span.set_attribute("app.result_length", page.length)
            return page
