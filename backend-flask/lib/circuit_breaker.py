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
PATIENCE_SECONDS = 0.4
# Between two questions, of which so many may be under way: one that hangs does not hold up the next.
PAUSE_SECONDS = 0.1
QUESTIONS = 4


class Breaker:
    """Whether the database answers, for one process. `ask` raises psycopg's errors when it does not."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._is_well = threading.Event()
        self._is_well.set()
        self._changing = threading.Lock()
        self._suspected_at = 0.0

    def check(self, deadline: Deadline) -> None:
        """Return while the database answers. Raises `DatabaseUnavailable`, at the deadline at the latest."""
        if self._is_well.is_set():
            return
        patience = self._suspected_at + PATIENCE_SECONDS - time.monotonic()
        if not self._is_well.wait(max(0.0, min(patience, deadline.remaining()))):
            raise DatabaseUnavailable

    def suspect(self, error: psycopg.Error) -> None:
        """Have it found out whether the database is away: it seems so by this error."""
        with self._changing:
            if not self._is_well.is_set():
                return
            self._suspected_at = time.monotonic()
            self._is_well.clear()
        # Its text may name people; its class and SQLSTATE say enough.
        logger.error("the database may be away: %s %s", type(error).__name__, error.sqlstate or "")
        threading.Thread(target=self._find_out, name="breaker", daemon=True).start()

    def _find_out(self) -> None:
        asked: list[threading.Thread] = []
        while not self._is_well.is_set():
            asked = [question for question in asked if question.is_alive()]
            if len(asked) < QUESTIONS:
                # Daemons, as this thread is: a process that ends does not wait for them.
                question = threading.Thread(target=self._question, name="breaker", daemon=True)
                question.start()
                asked.append(question)
            self._is_well.wait(PAUSE_SECONDS)

    def _question(self) -> None:
        try:
            self._ask()
        except psycopg.Error:
            return
        with self._changing:
            if not self._is_well.is_set():
                logger.error(
                    "the database answers: %.1f s after it was in doubt", time.monotonic() - self._suspected_at
                )
                self._is_well.set()
