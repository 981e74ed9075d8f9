"""The home feed."""

from lib.db import Db
from lib.paging import Listing, Page
from lib.tracing import span


class HomeActivities:
    """What everyone posts, for everyone."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, page: Page) -> Listing:
        """Live activities without replies, newest first."""
        with span("home-activities") as current:
            listing = self.db.query_page("activities/home", page)
            current.set_attribute("app.result_length", listing.length)
            return listing
