"""Figures of drills and benchmarks: what is measured, its limit, and whether it is reached."""

from collections.abc import Sequence
from typing import NamedTuple

HEADING = ["figure", "wanted", "measured", "reached"]


class Figure(NamedTuple):
    """A figure: its name, the wanted and the measured value as text, and whether it is reached."""

    what: str
    wanted: str
    measured: str
    is_reached: bool

    def row(self) -> list[str]:
        """Return the figure's row of a table with that heading."""
        return [*self[:3], "yes" if self.is_reached else "no"]


def at_least(name: str, limit: float, values: Sequence[float | None]) -> Figure:
    """Compare ratios with a lower limit. None is a void figure, which reaches no limit."""
    return Figure(name, f"≥ {limit:g}", text(values), all(value is not None and value >= limit for value in values))


def at_most(name: str, limit: float, values: Sequence[float | None], unit: str = "") -> Figure:
    """Compare ratios, or figures in `unit`, with an upper limit."""
    reached = all(value is not None and value <= limit for value in values)
    return Figure(name, f"≤ {limit:g}{unit}", text(values) + unit, reached)


def text(values: Sequence[float | None]) -> str:
    """Format figures for a table."""
    return " and ".join("void" if value is None else f"{value:.2f}" for value in values)
