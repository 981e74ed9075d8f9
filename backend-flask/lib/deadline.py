"""How long a request may wait for the database: all its steps together, from the first one on."""

import time
from contextvars import ContextVar

# What holds where nothing else was said, such as in the pool's own threads.
SECONDS = 2.0
_allowed: ContextVar[float] = ContextVar("allowed", default=SECONDS)
_end: ContextVar[float | None] = ContextVar("end", default=None)


def begin(seconds: float) -> None:
    """Allow so many seconds to what comes next in this thread: to a request."""
    _allowed.set(seconds)
    _end.set(None)


def left() -> float:
    """How many seconds are left. The first to ask starts the clock."""
    now = time.monotonic()
    end = _end.get()
    if end is None:
        end = now + _allowed.get()
        _end.set(end)
    return max(0.0, end - now)
