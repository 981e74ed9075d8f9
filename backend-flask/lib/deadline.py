"""The deadline of a request's database work: one limit for all steps together, from the first one on."""

import time


class Deadline:
    """A limit in seconds for the steps of one request. The first call of `remaining` starts the clock."""

    __slots__ = ("_end", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None

    def remaining(self) -> float:
        """Return the seconds until the deadline, 0 after it."""
        now = time.monotonic()
        if self._end is None:
            self._end = now + self._seconds
        return max(0.0, self._end - now)
