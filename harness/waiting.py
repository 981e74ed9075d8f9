"""Wait until a condition holds."""

import time
from collections.abc import Callable
from typing import TypeVar

from lib.command_errors import CommandError

# Nothing takes so long, also on a machine that has much else to do.
SECONDS = 180.0
T = TypeVar("T")


def poll(condition: Callable[[], T], seconds: float = SECONDS, *, pause: float = 0.01) -> T:
    """Return the condition's first true value, or its last false one after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(pause)
    return value


def sleep(seconds: float) -> tuple[float, float]:
    """Sleep, and return the monotonic times of the beginning and the end."""
    begun = time.monotonic()
    time.sleep(seconds)
    return begun, time.monotonic()


def wait_until(condition: Callable[[], T], what: str = "the condition", seconds: float = SECONDS) -> T:
    """Return the condition's first true value. Raises `CommandError` after so many seconds; `what` is for its text."""
    if value := poll(condition, seconds):
        return value
    raise CommandError(f"{what} does not hold after {seconds:g} s")
