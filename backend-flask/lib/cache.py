"""Single-flight cache: concurrent calls with one key share an execution, and its result is kept for a short time.

The age of a result counts from the start of its execution. A call gets the result within the cache's `max_age` seconds
of that start, and before the first of its rows expires.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from lib.exceptions import NotFound
from lib.pagination import Page

MAX_AGE_SECONDS = 1.0
# The most results that a process keeps.
MAX_RESULTS = 1_000

T = TypeVar("T")


class Result(NamedTuple, Generic[T]):
    """A page, the value computed from it, and whether later calls may get it too."""

    page: Page
    value: T
    is_kept: bool = True


class InFlightCall(Generic[T]):
    """An execution, running or ended, with the future of its result."""

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.future: Future[Result[T]] = Future()

    def may_serve(self, now: float, max_age: float) -> bool:
        """Return whether a caller at the time `now` may wait for the execution, or take its result."""
        return now - self.started_at < max_age and (not self.future.done() or self.is_live(now))

    def is_live(self, now: float) -> bool:
        """Return whether no row of the result had expired at the time `now`."""
        expires_in = self.future.result().page.expires_in
        return now <= self.started_at or expires_in is None or now < self.started_at + expires_in


class SingleFlightCache(Generic[T]):
    """A cache of results by key, for all threads of one process."""

    def __init__(self, max_age: float = MAX_AGE_SECONDS, max_results: int = MAX_RESULTS) -> None:
        self._max_age = max_age
        self._max_results = max_results
        # The calls are in the order of their start.
        self._calls: OrderedDict[Hashable, InFlightCall[T]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of kept results and running executions."""
        return len(self._calls)

    def get(
        self, read: Callable[[], Result[T]], accept: Callable[[T], bool] = lambda _: True, key: Hashable = None
    ) -> Result[T]:
        """Return the result of `read`, or of another caller's. All waiting callers get the exceptions of `read`.

        The caller gets no result of another that `accept` refuses, and no `NotFound`, which may be older than the call:
        then it executes `read` itself.
        """
        now = time.monotonic()
        is_refused = False
        while True:
            call, is_own = self._join_or_create(now, key, must_create=is_refused)
            if is_own:
                return self._execute(call, read, key)
            with suppress(NotFound):
                result = call.future.result()
                if not call.is_live(now):
                    continue
                if accept(result.value):
                    return result
            is_refused = True

    def _join_or_create(self, now: float, key: Hashable, *, must_create: bool) -> tuple[InFlightCall[T], bool]:
        """Return a call that may serve the caller, or a new one, and whether it is new."""
        with self._lock:
            call = self._calls.get(key)
            if call is not None and not must_create and call.may_serve(now, self._max_age):
                return call, False
            self._make_room(now)
            self._calls.pop(key, None)
            call = self._calls[key] = InFlightCall()
            return call, True

    def _execute(self, call: InFlightCall[T], read: Callable[[], Result[T]], key: Hashable) -> Result[T]:
        try:
            result = read()
        except BaseException as error:
            # Callers that wait for the execution get its failure. Later callers start a new execution.
            self._drop(key, call)
            call.future.set_exception(error)
            raise
        if not result.is_kept:
            self._drop(key, call)
        call.future.set_result(result)
        return result

    def _make_room(self, now: float) -> None:
        # Each new call removes up to two outdated ones: the table shrinks again, and no call removes hundreds.
        for _ in range(2):
            if self._calls and now - next(iter(self._calls.values())).started_at >= self._max_age:
                self._calls.popitem(last=False)
        if len(self._calls) >= self._max_results:
            self._calls.popitem(last=False)

    def _drop(self, key: Hashable, call: InFlightCall[T]) -> None:
        with self._lock:
            if self._calls.get(key) is call:
                del self._calls[key]
