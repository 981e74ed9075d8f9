"""The home feed."""

from lib.db import Db, Feed
from lib.paging import FIRST_PAGE, Listing, Page
from lib.sharing import Shared
from lib.tracing import use_case

HOME = Feed("activities/home", expires=True)


class HomeActivities:
    """What everyone posts, for everyone."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, page: Page) -> Listing:
        """Live activities without replies, newest first."""
        with use_case("home-activities") as current:
            listing = self.db.query_page(HOME, page)
            current.set_attribute("app.result_length", listing.length)
            return listing


class VisitorsHome:
    """The first page of it, which is the same for all visitors, and read once for all who ask meanwhile."""

    def __init__(self, db: Db) -> None:
        self._shared = Shared(lambda: HomeActivities(db).run(page=FIRST_PAGE))

    def run(self) -> Listing:
        """Live activities without replies, newest first, as of a second ago at the earliest."""
        with use_case("visitors-home") as current:
            listing = self._shared.get()
            current.set_attribute("app.result_length", listing.length)
            return listing

    def at_hand(self) -> Listing | None:
        """The same where it is at hand; None where somebody has to read it."""
        listing = self._shared.at_hand()
        if listing is not None:
            with use_case("visitors-home") as current:
                current.set_attribute("app.result_length", listing.length)
        return listing
