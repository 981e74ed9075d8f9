"""The single-flight cache: the age of a shared page, and the calls that share it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from harness.waiting import wait_until
from lib import cache
from lib.cache import MAX_AGE_SECONDS, Result, SingleFlightCache
from lib.exceptions import NotFound
from lib.pagination import Page
from tests.clock import Clock


class Source:
    """A source of numbered pages, which blocks while `is_open` is clear."""

    def __init__(self, expires_in: float | None = None) -> None:
        self.reads = 0
        self.expires_in = expires_in
        self.is_open = threading.Event()
        self.is_open.set()
        self.fails = False

    def read(self) -> Page:
        """Return the next page, or fail."""
        self.reads += 1
        number = self.reads
        self.is_open.wait()
        if self.fails:
            raise ConnectionError(str(number))
        return Page(str(number).encode(), 1, expires_in=self.expires_in)


def cached(read: Callable[[], Page]) -> Callable[[], Page]:
    """Return `read` behind a cache."""
    cache = SingleFlightCache[None]()
    return lambda: cache.get(lambda: Result(read(), None)).page


def test_page_is_shared_for_one_second(cache_clock: Clock) -> None:
    get = cached(Source().read)

    first = get()
    cache_clock.now += MAX_AGE_SECONDS - 0.001
    assert get() is first
    cache_clock.now += 0.001

    assert get().json == b"2"


def test_page_is_shared_until_its_first_activity_expires(cache_clock: Clock) -> None:
    get = cached(Source(expires_in=0.25).read)

    first = get()
    cache_clock.now += 0.249
    assert get() is first
    cache_clock.now += 0.001

    assert get().json == b"2"


def test_age_counts_from_before_the_read(cache_clock: Clock) -> None:
    source = Source(expires_in=0.5)

    def read_slowly() -> Page:
        page = source.read()
        cache_clock.now += 0.5
        return page

    get = cached(read_slowly)

    # Each page expires during its own read.
    assert [get().json for _ in range(3)] == [b"1", b"2", b"3"]


def waiting(get: Callable[[], Page], pool: ThreadPoolExecutor, source: Source, count: int) -> list[Future[Page]]:
    """Start `count` calls while the source is closed; the first of them reads."""
    source.is_open.clear()
    calls = [pool.submit(get) for _ in range(count)]
    wait_until(lambda: source.reads > 0)
    return calls


@pytest.mark.usefixtures("cache_clock")
def test_concurrent_calls_share_one_read() -> None:
    source = Source()
    get = cached(source.read)

    with ThreadPoolExecutor(32) as pool:
        calls = waiting(get, pool, source, 32)
        source.is_open.set()
        responses = [each.result() for each in calls]

    assert {response.json for response in responses} == {b"1"}
    assert source.reads == 1


def test_call_one_second_after_a_hanging_read_starts_a_new_read(cache_clock: Clock) -> None:
    source = Source()
    get = cached(source.read)

    with ThreadPoolExecutor(2) as pool:
        (hanging,) = waiting(get, pool, source, 1)
        cache_clock.now += MAX_AGE_SECONDS
        later = pool.submit(get)
        wait_until(lambda: source.reads > 1)
        source.is_open.set()

        assert (hanging.result().json, later.result().json) == (b"1", b"2")
        # The page that arrived last was not the one requested last.
        assert get().json == b"2"


def test_call_after_expiry_of_the_page_in_flight_starts_a_new_read(cache_clock: Clock) -> None:
    source = Source(expires_in=0.25)
    get = cached(source.read)

    with ThreadPoolExecutor(2) as pool:
        (early,) = waiting(get, pool, source, 1)
        cache_clock.now += 0.25
        late = pool.submit(get)
        source.is_open.set()

        assert early.result().json == b"1"
        assert late.result().json == b"2"


@pytest.mark.usefixtures("cache_clock")
def test_failure_reaches_waiting_calls_only() -> None:
    source = Source()
    get = cached(source.read)
    source.fails = True

    with ThreadPoolExecutor(8) as pool:
        calls = waiting(get, pool, source, 8)
        source.is_open.set()
        for each in calls:
            with pytest.raises(ConnectionError):
                each.result()
    source.fails = False

    assert get().json == str(source.reads).encode()


CALLERS = 8


class SlowClock:
    """A clock that all callers read at the same moment, if they are able to arrive at the same moment."""

    def __init__(self) -> None:
        self._callers = threading.Barrier(CALLERS)

    def monotonic(self) -> float:
        """Return 0 after all callers have arrived, or after half a second without them."""
        with suppress(threading.BrokenBarrierError):
            self._callers.wait(0.5)
        return 0.0


def test_simultaneous_callers_start_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "time", SlowClock())
    source = Source()
    get = cached(source.read)

    with ThreadPoolExecutor(CALLERS) as threads:
        responses = [response.result().json for response in [threads.submit(get) for _ in range(CALLERS)]]

    assert (source.reads, responses) == (1, [b"1"] * CALLERS)


def test_number_of_results_is_bounded(cache_clock: Clock) -> None:
    results = SingleFlightCache[int](max_results=3)
    reads: list[int] = []

    def get(key: int) -> int:
        """Return the key's result, and record a read."""

        def read() -> Result[int]:
            reads.append(key)
            return Result(Page(b"", 0), key)

        return results.get(read, key=key).value

    assert [get(key) for key in (1, 2, 3, 1, 2, 3)] == [1, 2, 3, 1, 2, 3]
    assert reads == [1, 2, 3]
    # The oldest result makes room for a new one.
    assert [get(key) for key in (4, 2, 3, 1)] == [4, 2, 3, 1]
    assert reads == [1, 2, 3, 4, 1]
    # Each new result removes two outdated ones.
    cache_clock.now += MAX_AGE_SECONDS
    get(5)
    assert len(results) == 2


@pytest.mark.usefixtures("cache_clock")
def test_result_that_is_not_kept_reaches_waiting_calls_only() -> None:
    source = Source()
    results = SingleFlightCache[None]()

    def get() -> Page:
        return results.get(lambda: Result(source.read(), None, is_kept=False)).page

    with ThreadPoolExecutor(8) as pool:
        calls = waiting(get, pool, source, 8)
        source.is_open.set()
        assert {each.result().json for each in calls} == {b"1"}

    assert get().json == b"2"
    assert len(results) == 0


@pytest.mark.usefixtures("cache_clock")
def test_failed_execution_is_not_kept() -> None:
    results = SingleFlightCache[None]()

    def fail() -> Result[None]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        results.get(fail)
    assert len(results) == 0


@pytest.mark.usefixtures("cache_clock")
def test_refused_result_and_missing_row_of_another_call_make_the_caller_read_itself() -> None:
    results = SingleFlightCache[int]()
    is_reading, may_end = threading.Event(), threading.Event()

    def older() -> Result[int]:
        is_reading.set()
        may_end.wait()
        return Result(Page(b"", 0), 50, is_kept=False)

    def missing() -> Result[int]:
        older()
        raise NotFound

    for read in (older, missing):
        is_reading.clear()
        may_end.clear()
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(results.get, read)
            is_reading.wait()
            # The execution of the first call has begun by the clock's time of the second.
            second = pool.submit(
                results.get, lambda: Result(Page(b"", 0), 100, is_kept=False), lambda value: value >= 100
            )
            may_end.set()

            assert second.result().value == 100
            assert (first.exception() is None) == (read is older)
