"""How long a request may wait for the database: all its steps together, from the first one on."""

import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# For each step of what is no request, such as in the pool's own threads.
SECONDS = 2.0
_allowed: ContextVar[float | None] = ContextVar("allowed", default=None)
_end: ContextVar[float | None] = ContextVar("end", default=None)


def begin(seconds: float) -> None:
    """Allow so many seconds to what comes next in this thread: to a request."""
    _allowed.set(seconds)
    _end.set(None)


def finish() -> None:
    """The request is over."""
    _allowed.set(None)


def left() -> float:
    """How many seconds are left. The first of a request's steps to ask starts the clock."""
    allowed = _allowed.get()
    if allowed is None:
        return SECONDS
    now = time.monotonic()
    end = _end.get()
    if end is None:
        end = now + allowed
        _end.set(end)
    return max(0.0, end - now)


class Bounded:
    """WSGI middleware: each request may wait for the database for so many seconds."""

    def __init__(self, app: "WSGIApplication", seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """The application's answer."""
        begin(self._seconds)
        try:
            return self._app(environ, start_response)
        finally:
            finish()
