"""A drill: a fault brought about on purpose, and the figures that the service must reach meanwhile."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from harness.figures import Figure

Figures = Iterator[Figure]
Run = Callable[..., Figures]


class Drill(NamedTuple):
    """A drill by its name, with its fault, which is the docstring of its generator, and its protection.

    `run(broken=...)` measures. With `broken` it takes the protection away, and a figure must be missed.
    `is_short` ones are run by bin/test --all. `short` has the arguments of the short form.
    """

    name: str
    does: str
    protection: str
    run: Run
    is_short: bool
    short: dict[str, Any]

    def figures(self, *, broken: bool, short: bool) -> Figures:
        """Run it. The figures come one by one: a failure keeps those before it."""
        return self.run(broken=broken, **(self.short if short else {}))


DRILLS: dict[str, Drill] = {}


def drill(name: str, protection: str, *, is_short: bool = False, **short: Any) -> Callable[[Run], Run]:
    """Add the decorated generator of figures to the table of drills. Its defaults are those of the full form."""

    def add(run: Run) -> Run:
        does = " ".join(str(run.__doc__).split()).removesuffix(".")
        DRILLS[name] = Drill(name, does, protection, run, is_short, short)
        return run

    return add


def at_most(what: str, limit: float, measured: float, unit: str) -> Figure:
    """Return a figure that must not be above `limit`."""
    return Figure(what, f"≤ {limit:,g} {unit}", f"{measured:,.4g} {unit}", measured <= limit)


def at_least(what: str, limit: float, measured: float, unit: str) -> Figure:
    """Return a figure that must not be below `limit`."""
    return Figure(what, f"≥ {limit:,g} {unit}", f"{measured:,.4g} {unit}", measured >= limit)


def none_of(what: str, count: int) -> Figure:
    """Return a figure that must be 0."""
    return Figure(what, "0", f"{count:,}", count == 0)
