"""Wait until a condition holds, or do something again and again meanwhile."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def repeating(step: Callable[[], object], pause: float) -> Iterator[None]:
    """Call `step` in a thread while this lasts, each time after `pause` seconds."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(pause):
            step()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
