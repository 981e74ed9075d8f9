"""Figures of drills and benchmarks: what is measured, its limit, and whether it is reached."""

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
