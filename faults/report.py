"""What the drills found, told: on the terminal, and in docs/failures.md between two marks, so that the rest stays."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.report import table
from faults.drill import Drill, Figure

BEGIN, END = "<!-- What follows is written by bin/faults. -->", "<!-- What precedes is written by bin/faults. -->"
HEADING = ["drill", "figure", "wanted", "measured", "reached"]


class Finding(NamedTuple):
    """A drill, the figures that it gave, and, if it could not be run to its end, why."""

    drill: Drill
    figures: list[Figure]
    failure: str = ""

    @property
    def is_reached(self) -> bool:
        """Whether it was run, and every figure is what it was to be."""
        return not self.failure and all(figure.is_reached for figure in self.figures)

    @property
    def is_missed(self) -> bool:
        """Whether it was run, and a figure is not."""
        return not self.failure and not self.is_reached


def tell(findings: Iterable[Finding]) -> str:
    """The table of all figures."""
    return table([HEADING, *(row for finding in findings for row in rows(finding))])


def rows(finding: Finding) -> list[list[str]]:
    """A drill's lines of the table."""
    told = [[each.what, each.wanted, each.measured, "yes" if each.is_reached else "no"] for each in finding.figures]
    if finding.failure:
        told.append(["to be run", "", f"not run to its end: {finding.failure}", "no"])
    return [[finding.drill.name, *each] for each in told]


def document(findings: Sequence[Finding], machine: str, text: str) -> str:
    """The document `text` with all that was found between its marks."""
    drills = [[each.drill.name, each.drill.does, each.drill.protection] for each in findings]
    did = table([["drill", "what is done", "what protects, and `--break` takes away"], *drills])
    return replaced(text, f"{machine}\n\n{tell(findings)}\n\n{did}")


def replaced(text: str, block: str) -> str:
    """The text with `block` between the marks, in the place of what was there. Raises `ValueError` without marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"
