"""The deadline of a request's database work: one limit for all steps together, from the first one on."""

import time


class Deadline:
    """A limit in seconds for the steps of one request. The first call of `remaining` starts the clock.

    The limit is also that of `within`, where there is one.
    """

    __slots__ = ("_end", "_seconds", "_within")

    def __init__(self, seconds: float, within: "Deadline | None" = None) -> None:
        self._seconds = seconds
        self._within = within
        self._end: float | None = None

    def restart(self) -> None:
        """Start the clock anew with the next call of `remaining`."""
        self._end = None

    def remaining(self) -> float:
        """Return the seconds until the deadline, 0 after it."""
        now = time.monotonic()
        if self._end is None:
            self._end = now + (min(self._seconds, self._within.remaining()) if self._within else self._seconds)
        return max(0.0, self._end - now)
