"""Single-flight cache: concurrent calls share one execution, and its result is kept for a short time.

The age of a result counts from the start of its execution. A call gets the result within the cache's `max_age` seconds
of that start, and before the first of its rows expires.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from lib.pagination import Page

MAX_AGE_SECONDS = 1.0

T = TypeVar("T")


class InFlightCall(Generic[T]):
    """An execution, running or ended: its future holds a page and the value computed from that page."""

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.future: Future[tuple[Page, T]] = Future()

    def may_serve(self, now: float, max_age: float) -> bool:
        """Return whether a caller at the time `now` may wait for the execution, or take its result."""
        if now - self.started_at >= max_age:
            return False
        if not self.future.done():
            return True
        # Callers that waited for the execution get its failure. Later callers start a new execution.
        return self.future.exception() is None and self.is_live(now)

    def is_live(self, now: float) -> bool:
        """Return whether no row of the result had expired at the time `now`."""
        page, _ = self.future.result()
        return now <= self.started_at or page.expires_in is None or now < self.started_at + page.expires_in


class SingleFlightCache(Generic[T]):
    """A cache of one page and the value computed from it, for all threads of one process."""

    def __init__(self, max_age: float = MAX_AGE_SECONDS) -> None:
        self._max_age = max_age
        self._call: InFlightCall[T] | None = None
        self._starting = threading.Lock()

    def get(self, read: Callable[[], tuple[Page, T]], accept: Callable[[T], bool] = lambda _: True) -> tuple[Page, T]:
        """Return the result of `read`, or of another caller's. All waiting callers get the exceptions of `read`.

        The caller gets no result that `accept` refuses, unless its execution started after this call.
        """
        now = time.monotonic()
        refused: InFlightCall[T] | None = None
        while True:
            call = self._join_or_start(now, read, refused)
            result = call.future.result()
            if not call.is_live(now):
                continue
            if accept(result[1]) or call.started_at >= now:
                return result
            refused = call

    def _join_or_start(
        self, now: float, read: Callable[[], tuple[Page, T]], refused: InFlightCall[T] | None
    ) -> InFlightCall[T]:
        with self._starting:
            if self._call is not None and self._call is not refused and self._call.may_serve(now, self._max_age):
                return self._call
            call = self._call = InFlightCall()
        try:
            call.future.set_result(read())
        except BaseException as error:
            call.future.set_exception(error)
            raise
        return call
