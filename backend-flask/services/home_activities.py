"""The home feed."""

from collections.abc import Callable
from typing import Generic, TypeVar

from lib import spans
from lib.cache import SingleFlightCache
from lib.consistency import Seen
from lib.database import Db
from lib.pagination import FIRST_PAGE, Page, PageRequest
from lib.queries import BoundedScan, PagedQuery

HOME = PagedQuery("activities/home", expires=True)
# A page scans at most 200 activities, so it may be short: the reader does not see all authors.
VISIBLE_HOME = PagedQuery("activities/home_visible", scan=BoundedScan("activities/home_entries", 200))

T = TypeVar("T")


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


class AnonymousHomeFeed(Generic[T]):
    """Cache of the home feed's first page, which is the same for all anonymous requests: one of them reads for all."""

    def __init__(self) -> None:
        self._cache: SingleFlightCache[tuple[T, Seen | None]] = SingleFlightCache()

    def run(self, *, db: Db, render: Callable[[Page], T]) -> T:
        """Return the result of `render` for the first page, at most one second old."""

        def read() -> tuple[Page, tuple[T, Seen | None]]:
            # A standby's page might be a second old already.
            primary = db.primary
            page = HomeActivities(primary).run(page_request=FIRST_PAGE)
            return page, (render(page), primary.seen)

        def accept(cached: tuple[T, Seen | None]) -> bool:
            return db.may_show(cached[1])

        with spans.use_case("visitors-home") as span:
            page, (rendered, _) = self._cache.get(read, accept)
            span.set_attribute("app.result_length", page.length)
            return rendered
