"""What a drill is: something that goes wrong, and the figures that the service must reach while it does."""

from collections.abc import Callable, Iterable
from typing import NamedTuple


class Figure(NamedTuple):
    """One figure: what was measured, how it is written, what it was to be, and whether it is that."""

    what: str
    measured: str
    wanted: str
    is_reached: bool


class Drill(NamedTuple):
    """A drill by its name, one sentence on what it does, and how it is run.

    `run(broken)` measures; with `broken` the protection is taken away, and a figure must be missed.
    `protection` says what that is. `is_short` ones are run by bin/test, by `run_short` if there
    is one: the same with fewer turns.
    """

    name: str
    does: str
    protection: str
    run: Callable[[bool], Iterable[Figure]]
    is_short: bool = False
    run_short: Callable[[bool], Iterable[Figure]] | None = None


def at_most(what: str, limit: float, measured: float, unit: str) -> Figure:
    """A figure that must not be above `limit`."""
    return Figure(what, f"{measured:,.4g} {unit}", f"≤ {limit:,g} {unit}", measured <= limit)


def at_least(what: str, limit: float, measured: float, unit: str) -> Figure:
    """A figure that must not be below `limit`."""
    return Figure(what, f"{measured:,.4g} {unit}", f"≥ {limit:,g} {unit}", measured >= limit)


def none_of(what: str, count: int) -> Figure:
    """Something of which there must be none."""
    return Figure(what, f"{count:,}", "0", count == 0)
