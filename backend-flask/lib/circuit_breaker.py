"""Circuit breaker for the database (Nygard, "Release It!").

While the circuit is open, requests fail at once and a thread probes the database.
"""

import logging
import threading
import time
from collections.abc import Callable

import psycopg

from lib.deadline import Deadline
from lib.exceptions import DatabaseUnavailable

logger = logging.getLogger("cruddur")

# After a failure requests wait this long for the first probe's result: mostly one connection was lost, and no more.
GRACE_SECONDS = 0.4
# The pause between the starts of two probes. Several probes may run at once, so that a hanging one delays no other.
PROBE_INTERVAL_SECONDS = 0.1
MAX_PROBES = 4


class CircuitBreaker:
    """Circuit breaker of one process. `probe` raises psycopg's errors while the database is away.

    Requests wait `grace` seconds for the first probe. The log calls the database `server`.
    """

    def __init__(
        self, probe: Callable[[], None], *, grace: float = GRACE_SECONDS, server: str = "the database"
    ) -> None:
        self._probe = probe
        self._grace = grace
        self._server = server
        self._closed = threading.Event()
        self._closed.set()
        self._lock = threading.Lock()
        self._failed_at = 0.0

    def raise_if_open(self, deadline: Deadline) -> None:
        """Return if the circuit is closed, or closes within the grace time.

        Raises `DatabaseUnavailable` otherwise, at `deadline` at the latest.
        """
        if self._closed.is_set():
            return
        grace = self._failed_at + self._grace - time.monotonic()
        if not self._closed.wait(max(0.0, min(grace, deadline.remaining()))):
            raise DatabaseUnavailable

    def record_failure(self, error: psycopg.Error) -> None:
        """Open the circuit because of `error`, and start to probe the database."""
        with self._lock:
            if not self._closed.is_set():
                return
            self._failed_at = time.monotonic()
            self._closed.clear()
        # The error's text may hold personal data. Its class and SQLSTATE identify the fault.
        logger.error("%s may be away: %s %s", self._server, type(error).__name__, error.sqlstate or "")
        threading.Thread(target=self._probe_loop, name="breaker", daemon=True).start()

    def _probe_loop(self) -> None:
        probes: list[threading.Thread] = []
        while not self._closed.is_set():
            probes = [probe for probe in probes if probe.is_alive()]
            if len(probes) < MAX_PROBES:
                # Probe threads are daemons, as this thread is: a process that ends does not wait for them.
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
                seconds = time.monotonic() - self._failed_at
                logger.error("%s answers: %.1f s after it was in doubt", self._server, seconds)
                self._closed.set()
