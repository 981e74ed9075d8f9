"""A circuit breaker (Nygard, "Release It!"): while the database is away nobody waits for it, and a thread asks."""

import logging
import threading
import time
from collections.abc import Callable

import psycopg

from lib.deadline import Deadline
from lib.exceptions import DatabaseUnavailable

logger = logging.getLogger("cruddur")

# How long requests wait to hear whether it is really away. Most of the time one connection was, and no more.
GRACE_SECONDS = 0.4
# Between two questions, of which so many may be under way: one that hangs does not hold up the next.
PROBE_INTERVAL_SECONDS = 0.1
MAX_PROBES = 4


class CircuitBreaker:
    """Whether the database answers, for one process. `ask` raises psycopg's errors when it does not."""

    def __init__(self, probe: Callable[[], None]) -> None:
        self._probe = probe
        self._closed = threading.Event()
        self._closed.set()
        self._lock = threading.Lock()
        self._failed_at = 0.0

    def raise_if_open(self, deadline: Deadline) -> None:
        """Return while the database answers. Raises `DatabaseUnavailable`, at the deadline at the latest."""
        if self._closed.is_set():
            return
        grace = self._failed_at + GRACE_SECONDS - time.monotonic()
        if not self._closed.wait(max(0.0, min(grace, deadline.remaining()))):
            raise DatabaseUnavailable

    def record_failure(self, error: psycopg.Error) -> None:
        """Have it found out whether the database is away: it seems so by this error."""
        with self._lock:
            if not self._closed.is_set():
                return
            self._failed_at = time.monotonic()
            self._closed.clear()
        # Its text may name people; its class and SQLSTATE say enough.
        logger.error("the database may be away: %s %s", type(error).__name__, error.sqlstate or "")
        threading.Thread(target=self._probe_loop, name="breaker", daemon=True).start()

    def _probe_loop(self) -> None:
        probes: list[threading.Thread] = []
        while not self._closed.is_set():
            probes = [probe for probe in probes if probe.is_alive()]
            if len(probes) < MAX_PROBES:
                # Daemons, as this thread is: a process that ends does not wait for them.
                probe = threading.Thread(target=self._probe_once, name="breaker", daemon=True)
                probe.start()
                probes.append(probe)
            self._closed.wait(PROBE_INTERVAL_SECONDS)

    def _probe_once(self) -> None:
        try:
            self._probe()
        except psycopg.Error:
            return
        with self._lock:
            if not self._closed.is_set():
                logger.error("the database answers: %.1f s after it was in doubt", time.monotonic() - self._failed_at)
                self._closed.set()
