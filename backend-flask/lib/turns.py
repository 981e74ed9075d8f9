"""Turns: a few requests of a kind run at a time, because each takes much of the process or of the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from lib.exceptions import Overloaded


@contextmanager
def take_turn(turns: BoundedSemaphore) -> Iterator[None]:
    """Occupy one of `turns`. Raises `Overloaded` at once when none is free."""
    if not turns.acquire(blocking=False):
        raise Overloaded
    try:
        yield
    finally:
        turns.release()
