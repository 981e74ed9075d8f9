"""First pages that are the same for all anonymous requests."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from lib import cache, spans
from lib.cache import Result, SingleFlightCache
from lib.consistency import Seen
from lib.database import Db
from lib.pagination import Page

# A process keeps 1,000 pages, so 32 MB at most. A page of 20 long activities in ASCII has 30 KB.
MAX_KEPT_BYTES = 32 * 1024

T = TypeVar("T")


class AnonymousPages(Generic[T]):
    """Cache of first pages by key. A single request reads for all anonymous ones, once a second at most."""

    def __init__(self) -> None:
        self._cache: SingleFlightCache[tuple[T, Seen | None, Seen | None]] = SingleFlightCache(cache.MAX_AGE_SECONDS)

    def run(self, *, db: Db, key: Hashable, read: Callable[[], Page], render: Callable[[Page], T]) -> T:
        """Return the result of `render` for the page that `read` returns from `db`, at most one second old."""

        def read_and_render() -> Result[tuple[T, Seen | None, Seen | None]]:
            page = read()
            # A standby's page might be a second old already. Only the requests that wait for it share it.
            is_kept = not db.has_read_standby and len(page.json) <= MAX_KEPT_BYTES
            return Result(page, (render(page), db.seen, db.held), is_kept)

        def accept(cached: tuple[T, Seen | None, Seen | None]) -> bool:
            return db.may_show(*cached[1:])

        with spans.use_case("anonymous-page") as span:
            page, (rendered, *_), _ = self._cache.get(read_and_render, accept, key)
            span.set_attribute("app.result_length", page.length)
            return rendered
