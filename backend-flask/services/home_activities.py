"""The home feed."""

from lib.db import Db, Feed
from lib.paging import Listing, Page
from lib.tracing import span

HOME = Feed("activities/home", expires=True)


class HomeActivities:
    """What everyone posts, for everyone."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, page: Page) -> Listing:
        """Live activities without replies, newest first."""
        with span("home-activities") as current:
            listing = self.db.query_page(HOME, page)
            current.set_attribute("app.result_length", listing.length)
            return listing
