"""One answer for all who ask at about the same time: how old it may be, and who gets it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from harness.waiting import wait_until
from lib import cache
from lib.cache import MAX_AGE_SECONDS, SingleFlightCache
from lib.pagination import Page
from tests.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that ages are told by."""
    clock = Clock()
    monkeypatch.setattr(cache, "time", clock)
    return clock


class Source:
    """Where answers come from: a new one each time, when it is let."""

    def __init__(self, expires_in: float | None = None) -> None:
        self.reads = 0
        self.expires_in = expires_in
        self.is_open = threading.Event()
        self.is_open.set()
        self.fails = False

    def read(self) -> Page:
        """The next answer."""
        self.reads += 1
        number = self.reads
        self.is_open.wait()
        if self.fails:
            raise ConnectionError(str(number))
        return Page(str(number).encode(), 1, expires_in=self.expires_in)


def cached(read: Callable[[], Page]) -> Callable[[], Page]:
    """What `read` returns, by a cache."""
    cache = SingleFlightCache[None]()
    return lambda: cache.get(lambda: (read(), None))[0]


def test_an_answer_is_shared_for_a_second(clock: Clock) -> None:
    get = cached(Source().read)

    first = get()
    clock.now += MAX_AGE_SECONDS - 0.001
    assert get() is first
    clock.now += 0.001

    assert get().json == b"2"


def test_an_answer_is_shared_until_the_first_of_it_comes_to_its_end(clock: Clock) -> None:
    get = cached(Source(expires_in=0.25).read)

    first = get()
    clock.now += 0.249
    assert get() is first
    clock.now += 0.001

    assert get().json == b"2"


def test_an_answer_is_as_old_as_the_moment_before_it_was_asked_for(clock: Clock) -> None:
    source = Source(expires_in=0.5)

    def read_slowly() -> Page:
        answer = source.read()
        clock.now += 0.5
        return answer

    get = cached(read_slowly)

    # It takes as long as it lives.
    assert [get().json for _ in range(3)] == [b"1", b"2", b"3"]


def waiting(get: Callable[[], Page], pool: ThreadPoolExecutor, source: Source, count: int) -> list[Future[Page]]:
    """So many who ask while the source is closed, the first of whom reads."""
    source.is_open.clear()
    asking = [pool.submit(get) for _ in range(count)]
    wait_until(lambda: source.reads > 0)
    return asking


@pytest.mark.usefixtures("clock")
def test_who_asks_meanwhile_waits_for_the_same_answer() -> None:
    source = Source()
    get = cached(source.read)

    with ThreadPoolExecutor(32) as pool:
        asking = waiting(get, pool, source, 32)
        source.is_open.set()
        answers = [each.result() for each in asking]

    assert {answer.json for answer in answers} == {b"1"}
    assert source.reads == 1


def test_who_asks_a_second_after_a_read_that_hangs_reads_anew(clock: Clock) -> None:
    source = Source()
    get = cached(source.read)

    with ThreadPoolExecutor(2) as pool:
        (hanging,) = waiting(get, pool, source, 1)
        clock.now += MAX_AGE_SECONDS
        later = pool.submit(get)
        wait_until(lambda: source.reads > 1)
        source.is_open.set()

        assert (hanging.result().json, later.result().json) == (b"1", b"2")
        # What came back last was not asked for last.
        assert get().json == b"2"


def test_who_asks_after_the_end_of_what_is_under_way_reads_anew(clock: Clock) -> None:
    source = Source(expires_in=0.25)
    get = cached(source.read)

    with ThreadPoolExecutor(2) as pool:
        (early,) = waiting(get, pool, source, 1)
        clock.now += 0.25
        late = pool.submit(get)
        source.is_open.set()

        assert early.result().json == b"1"
        assert late.result().json == b"2"


@pytest.mark.usefixtures("clock")
def test_a_failure_is_for_those_who_waited_and_nobody_else() -> None:
    source = Source()
    get = cached(source.read)
    source.fails = True

    with ThreadPoolExecutor(8) as pool:
        asking = waiting(get, pool, source, 8)
        source.is_open.set()
        for each in asking:
            with pytest.raises(ConnectionError):
                each.result()
    source.fails = False

    assert get().json == str(source.reads).encode()


CALLERS = 8


class SlowClock:
    """A clock that is read by all callers at the same moment, if they can be there at the same moment."""

    def __init__(self) -> None:
        self._callers = threading.Barrier(CALLERS)

    def monotonic(self) -> float:
        """Return one and the same time, once all callers ask for it or are seen not to."""
        with suppress(threading.BrokenBarrierError):
            self._callers.wait(0.5)
        return 0.0


def test_callers_of_one_moment_start_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "time", SlowClock())
    source = Source()
    get = cached(source.read)

    with ThreadPoolExecutor(CALLERS) as threads:
        answers = [answer.result().json for answer in [threads.submit(get) for _ in range(CALLERS)]]

    assert (source.reads, answers) == (1, [b"1"] * CALLERS)
