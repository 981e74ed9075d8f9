"""The home feed."""

from lib import spans
from lib.database import Db
from lib.pagination import Page, PageRequest
from lib.queries import BoundedScan, PagedQuery

HOME = PagedQuery("activities/home", expires=True)
# A page scans at most 200 activities, so it may be short: the reader does not see all authors.
VISIBLE_HOME = PagedQuery("activities/home_visible", scan=BoundedScan("activities/home_entries", 200))


class HomeActivities:
    """Read the home feed: the live activities of all users."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, page_request: PageRequest, reader: str | None = None) -> Page:
        """Return live activities without replies, newest first, for a reader without those of hidden users.

        `reader` is the claim `sub` of the request's token.
        """
        with spans.use_case("home-activities") as span:
            page = self.db.query_page(VISIBLE_HOME if reader else HOME, page_request, reader=reader)
            span.set_attribute("app.result_length", page.length)
            return page
