"""One answer for all who ask for the same at about the same time: request coalescing, and a cache of a second.

An answer counts as old as the moment before it was asked for. It is shared with whoever asked
within `MAX_AGE_SECONDS` of that, and before the first of its rows came to its end.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from lib.paging import Listing

MAX_AGE_SECONDS = 1.0


class Flight:
    """A read that is under way, or that has come back."""

    def __init__(self) -> None:
        self.sent = time.monotonic()
        self.landed: Future[Listing] = Future()

    def may_serve(self, asked: float) -> bool:
        """Whether somebody who asked at that time may wait for it, or have what it brought."""
        if asked - self.sent >= MAX_AGE_SECONDS:
            return False
        if not self.landed.done():
            return True
        # A failure is for those who waited for it, and for nobody after them.
        return self.landed.exception() is None and self.is_live(asked)

    def is_live(self, asked: float) -> bool:
        """Whether nothing that it brought had come to its end when somebody asked."""
        ends_in = self.landed.result().ends_in
        return asked <= self.sent or ends_in is None or asked < self.sent + ends_in


class Shared:
    """What `read` answers, read once for all who ask meanwhile. For one process, and all of its threads."""

    def __init__(self, read: Callable[[], Listing]) -> None:
        self._read = read
        self._flight: Flight | None = None
        self._starting = threading.Lock()

    def get(self) -> Listing:
        """The answer. Raises what `read` raises, to all who have waited for it."""
        asked = time.monotonic()
        while True:
            flight = self._board(asked)
            answer = flight.landed.result()
            if flight.is_live(asked):
                return answer

    def at_hand(self) -> Listing | None:
        """The answer without a wait or a read; None where it takes one."""
        asked = time.monotonic()
        flight = self._flight
        return flight.landed.result() if flight and flight.landed.done() and flight.may_serve(asked) else None

    def _board(self, asked: float) -> Flight:
        with self._starting:
            if self._flight is not None and self._flight.may_serve(asked):
                return self._flight
            flight = self._flight = Flight()
        try:
            flight.landed.set_result(self._read())
        except BaseException as error:
            flight.landed.set_exception(error)
            raise
        return flight
