"""The circuit breaker: requests while the database is unavailable, and the probes that find it available again."""

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
    """A database that the circuit breaker probes."""

    def __init__(self) -> None:
        self.is_up = threading.Event()
        self.is_up.set()
        self.answers = threading.Event()
        self.answers.set()
        self.probes = 0

    def probe(self) -> None:
        """Probe the database as the pool does."""
        self.probes += 1
        self.answers.wait()
        if not self.is_up.is_set():
            raise psycopg.OperationalError("connection refused")


@pytest.fixture
def server() -> Iterator[Server]:
    """Provide a database, and release every waiting probe at the end."""
    server = Server()
    yield server
    server.is_up.set()
    server.answers.set()


def is_closed(breaker: CircuitBreaker, deadline: Deadline | None = None) -> bool:
    """Return whether requests go through."""
    try:
        breaker.raise_if_open(Deadline(60) if deadline is None else deadline)
    except DatabaseUnavailable:
        return False
    return True


LOST = psycopg.OperationalError("the connection was lost")


def test_single_lost_connection_leaves_circuit_closed(server: Server) -> None:
    breaker = CircuitBreaker(server.probe)

    breaker.record_failure(LOST)

    assert all(is_closed(breaker) for _ in range(100))
    assert server.probes == 1


def test_open_circuit_rejects_requests_at_once(server: Server) -> None:
    breaker = CircuitBreaker(server.probe)
    server.is_up.clear()
    breaker.record_failure(LOST)
    assert not is_closed(breaker)

    # An open circuit rejects without waiting: 10,000 times the grace period would be 40 minutes.
    assert not any(is_closed(breaker) for _ in range(10_000))
    server.is_up.set()

    wait_until(lambda: is_closed(breaker))


def test_request_waits_for_a_probe_until_its_deadline_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 3600)
    breaker = CircuitBreaker(server.probe)
    server.answers.clear()
    breaker.record_failure(LOST)

    def probe() -> bool:
        return is_closed(breaker, Deadline(0.05))

    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(probe)
        try:
            assert call.result(timeout=30) is False
        finally:
            server.answers.set()


def test_hanging_probe_does_not_block_the_next_probe(server: Server) -> None:
    breaker = CircuitBreaker(server.probe)
    server.answers.clear()
    breaker.record_failure(LOST)

    wait_until(lambda: server.probes == module.MAX_PROBES)
    time.sleep(2 * module.PROBE_INTERVAL_SECONDS)
    assert server.probes == module.MAX_PROBES
    assert not is_closed(breaker)
    server.answers.set()

    wait_until(lambda: is_closed(breaker))


def test_64_simultaneous_failures_share_probes(server: Server) -> None:
    breaker = CircuitBreaker(server.probe)
    server.answers.clear()

    with ThreadPoolExecutor(64) as threads:
        list(threads.map(lambda _: breaker.record_failure(LOST), range(64)))
    wait_until(lambda: server.probes >= module.MAX_PROBES)
    time.sleep(2 * module.PROBE_INTERVAL_SECONDS)

    assert server.probes == module.MAX_PROBES
    server.answers.set()
    wait_until(lambda: is_closed(breaker))


def test_circuit_breaker_logs_the_exception_class_only(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    breaker = CircuitBreaker(server.probe)

    breaker.record_failure(psycopg.errors.AdminShutdown("terminating the connection of somebody"))

    wait_until(lambda: len(caplog.messages) == 2)
    assert caplog.messages[0] == "the database may be away: AdminShutdown 57P01"
    assert caplog.messages[1].startswith("the database answers: ")
