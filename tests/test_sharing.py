"""One answer for all who ask at about the same time: how old it may be, and who gets it."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from lib import sharing
from lib.paging import Listing
from lib.sharing import MAX_AGE_SECONDS, Shared
from tests.clock import Clock
from tests.running import eventually


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that ages are told by."""
    clock = Clock()
    monkeypatch.setattr(sharing, "time", clock)
    return clock


class Source:
    """Where answers come from: a new one each time, when it is let."""

    def __init__(self, ends_in: float | None = None) -> None:
        self.reads = 0
        self.ends_in = ends_in
        self.is_open = threading.Event()
        self.is_open.set()
        self.fails = False

    def read(self) -> Listing:
        """The next answer."""
        self.reads += 1
        number = self.reads
        self.is_open.wait()
        if self.fails:
            raise ConnectionError(str(number))
        return Listing(str(number).encode(), 1, ends_in=self.ends_in)


def test_an_answer_is_shared_for_a_second(clock: Clock) -> None:
    shared = Shared(Source().read)

    first = shared.get()
    clock.now += MAX_AGE_SECONDS - 0.001
    assert shared.get() is first
    clock.now += 0.001

    assert shared.get().json == b"2"


def test_an_answer_is_shared_until_the_first_of_it_comes_to_its_end(clock: Clock) -> None:
    shared = Shared(Source(ends_in=0.25).read)

    first = shared.get()
    clock.now += 0.249
    assert shared.get() is first
    clock.now += 0.001

    assert shared.get().json == b"2"


def test_an_answer_is_as_old_as_the_moment_before_it_was_asked_for(clock: Clock) -> None:
    source = Source(ends_in=0.5)

    def read_slowly() -> Listing:
        answer = source.read()
        clock.now += 0.5
        return answer

    shared = Shared(read_slowly)

    # It takes as long as it lives.
    assert [shared.get().json for _ in range(3)] == [b"1", b"2", b"3"]


def test_only_what_may_be_shared_is_at_hand(clock: Clock) -> None:
    source = Source(ends_in=0.25)
    shared = Shared(source.read)

    assert shared.at_hand() is None
    first = shared.get()
    clock.now += 0.249
    assert shared.at_hand() is first
    clock.now += 0.001
    assert shared.at_hand() is None
    source.ends_in = None
    second = shared.get()
    clock.now += MAX_AGE_SECONDS - 0.001
    assert shared.at_hand() is second
    clock.now += 0.001
    assert shared.at_hand() is None
    assert source.reads == 2


@pytest.mark.usefixtures("clock")
def test_neither_a_failure_nor_what_is_under_way_is_at_hand() -> None:
    source = Source()
    shared = Shared(source.read)
    source.fails = True

    with ThreadPoolExecutor(1) as pool:
        (asking,) = waiting(shared, pool, source, 1)
        assert shared.at_hand() is None
        source.is_open.set()
        assert asking.exception() is not None

    assert shared.at_hand() is None


def waiting(shared: Shared, pool: ThreadPoolExecutor, source: Source, count: int) -> list[Future[Listing]]:
    """So many who ask while the source is closed, the first of whom reads."""
    source.is_open.clear()
    asking = [pool.submit(shared.get) for _ in range(count)]
    eventually(lambda: source.reads > 0)
    return asking


@pytest.mark.usefixtures("clock")
def test_who_asks_meanwhile_waits_for_the_same_answer() -> None:
    source = Source()
    shared = Shared(source.read)

    with ThreadPoolExecutor(32) as pool:
        asking = waiting(shared, pool, source, 32)
        source.is_open.set()
        answers = [each.result() for each in asking]

    assert {answer.json for answer in answers} == {b"1"}
    assert source.reads == 1


def test_who_asks_a_second_after_a_read_that_hangs_reads_anew(clock: Clock) -> None:
    source = Source()
    shared = Shared(source.read)

    with ThreadPoolExecutor(2) as pool:
        (hanging,) = waiting(shared, pool, source, 1)
        clock.now += MAX_AGE_SECONDS
        later = pool.submit(shared.get)
        eventually(lambda: source.reads > 1)
        source.is_open.set()

        assert (hanging.result().json, later.result().json) == (b"1", b"2")
        # What came back last was not asked for last.
        assert shared.get().json == b"2"


def test_who_asks_after_the_end_of_what_is_under_way_reads_anew(clock: Clock) -> None:
    source = Source(ends_in=0.25)
    shared = Shared(source.read)

    with ThreadPoolExecutor(2) as pool:
        (early,) = waiting(shared, pool, source, 1)
        clock.now += 0.25
        late = pool.submit(shared.get)
        source.is_open.set()

        assert early.result().json == b"1"
        assert late.result().json == b"2"


@pytest.mark.usefixtures("clock")
def test_a_failure_is_for_those_who_waited_and_nobody_else() -> None:
    source = Source()
    shared = Shared(source.read)
    source.fails = True

    with ThreadPoolExecutor(8) as pool:
        asking = waiting(shared, pool, source, 8)
        source.is_open.set()
        for each in asking:
            with pytest.raises(ConnectionError):
                each.result()
    source.fails = False

    assert shared.get().json == str(source.reads).encode()
