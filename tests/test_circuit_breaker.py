"""The circuit breaker: who waits while the database is away, and who finds out that it is back."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from harness.waiting import wait_until
from lib import circuit_breaker as module
from lib.circuit_breaker import CircuitBreaker
from lib.deadline import Deadline
from lib.exceptions import DatabaseUnavailable


class Server:
    """A database that is asked whether it answers."""

    def __init__(self) -> None:
        self.is_up = threading.Event()
        self.is_up.set()
        self.answers = threading.Event()
        self.answers.set()
        self.probes = 0

    def probe(self) -> None:
        """As the pool asks it."""
        self.probes += 1
        self.answers.wait()
        if not self.is_up.is_set():
            raise psycopg.OperationalError("connection refused")


@pytest.fixture
def server() -> Iterator[Server]:
    """One that no thread is left to wait for."""
    server = Server()
    yield server
    server.is_up.set()
    server.answers.set()


def is_closed(breaker: CircuitBreaker, deadline: Deadline | None = None) -> bool:
    """Whether requests go through."""
    try:
        breaker.raise_if_open(Deadline(60) if deadline is None else deadline)
    except DatabaseUnavailable:
        return False
    return True


LOST = psycopg.OperationalError("the connection was lost")


def test_one_lost_connection_fails_nobody(server: Server) -> None:
    breaker = CircuitBreaker(server.probe)

    breaker.record_failure(LOST)

    assert all(is_closed(breaker) for _ in range(100))
    assert server.probes == 1


def test_while_the_database_is_away_nobody_waits(server: Server) -> None:
    breaker = CircuitBreaker(server.probe)
    server.is_up.clear()
    breaker.record_failure(LOST)
    assert not is_closed(breaker)

    # Nobody asks any more: 10,000 times the patience would be 40 minutes.
    assert not any(is_closed(breaker) for _ in range(10_000))
    server.is_up.set()

    wait_until(lambda: is_closed(breaker))


def test_nobody_hears_whether_it_is_away_later_than_they_may_wait(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 3600)
    breaker = CircuitBreaker(server.probe)
    server.answers.clear()
    breaker.record_failure(LOST)

    def probe() -> bool:
        return is_closed(breaker, Deadline(0.05))

    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(probe)
        try:
            assert asking.result(timeout=30) is False
        finally:
            server.answers.set()


def test_a_question_that_hangs_does_not_hold_up_the_next(server: Server) -> None:
    breaker = CircuitBreaker(server.probe)
    server.answers.clear()
    breaker.record_failure(LOST)

    wait_until(lambda: server.probes == module.MAX_PROBES)
    time.sleep(2 * module.PROBE_INTERVAL_SECONDS)
    assert server.probes == module.MAX_PROBES
    assert not is_closed(breaker)
    server.answers.set()

    wait_until(lambda: is_closed(breaker))


def test_64_who_find_it_away_at_once_have_it_asked_once(server: Server) -> None:
    breaker = CircuitBreaker(server.probe)
    server.answers.clear()

    with ThreadPoolExecutor(64) as threads:
        list(threads.map(lambda _: breaker.record_failure(LOST), range(64)))
    wait_until(lambda: server.probes >= module.MAX_PROBES)
    time.sleep(2 * module.PROBE_INTERVAL_SECONDS)

    assert server.probes == module.MAX_PROBES
    server.answers.set()
    wait_until(lambda: is_closed(breaker))


def test_its_log_tells_the_class_and_not_the_text(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    breaker = CircuitBreaker(server.probe)

    breaker.record_failure(psycopg.errors.AdminShutdown("terminating the connection of somebody"))

    wait_until(lambda: len(caplog.messages) == 2)
    assert caplog.messages[0] == "the database may be away: AdminShutdown 57P01"
    assert caplog.messages[1].startswith("the database answers: ")
