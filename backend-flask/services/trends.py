"""Trends: the hashtags that most users used within the last day."""

from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

from lib import spans
from lib.cache import Result, SingleFlightCache
from lib.database import Db
from lib.pagination import Page

# Trends count no activity that expires within this time. So no count has an expired activity while it is in the cache.
MAX_AGE_SECONDS = 60.0
# As many as a search visits activities. Each costs a look-up of its activity, about 10 microseconds.
MAX_TAGGINGS = 20_000

T = TypeVar("T")


class Trends(Generic[T]):
    """Cache of the trends, which are the same for all requests: one of them reads for all."""

    def __init__(self) -> None:
        self._cache: SingleFlightCache[T] = SingleFlightCache(MAX_AGE_SECONDS)

    def run(self, *, db: Db, render: Callable[[Page], T]) -> T:
        """Return the result of `render` for at most ten hashtags, at most a minute old."""

        def read() -> Result[T]:
            margin = timedelta(seconds=MAX_AGE_SECONDS)
            page = db.primary.query_array("trends/index", margin=margin, scan_limit=MAX_TAGGINGS)
            return Result(page, render(page))

        with spans.use_case("trends") as span:
            page, rendered, _ = self._cache.get(read)
            span.set_attribute("app.result_length", page.length)
            return rendered
