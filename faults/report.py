"""The figures of drills as tables: on the terminal, and in docs/failures.md."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from faults.drill import Drill
from harness.figures import HEADING, Figure
from harness.markdown import replaced, table

PROGRAM = "bin/faults"
DRILLS_HEADING = ["drill", "what is done", "what protects, and `--break` takes away"]


class Result(NamedTuple):
    """A drill, its figures, and the failure that kept it from its end, if there was one."""

    drill: Drill
    figures: list[Figure]
    failure: str = ""

    @property
    def is_reached(self) -> bool:
        """Return whether the drill ended and reached every figure."""
        return not self.failure and all(figure.is_reached for figure in self.figures)

    @property
    def is_missed(self) -> bool:
        """Return whether the drill ended and missed a figure."""
        return not self.failure and not self.is_reached


def figures_table(results: Iterable[Result]) -> str:
    """Return the table of all figures."""
    return table([["drill", *HEADING], *([each.drill.name, *row] for each in results for row in rows(each))])


def rows(result: Result) -> list[list[str]]:
    """Return a drill's rows of that table, without its name."""
    failure = [["to be run", "", f"not run to its end: {result.failure}", "no"]] if result.failure else []
    return [figure.row() for figure in result.figures] + failure


def document(results: Sequence[Result], machine: str, text: str) -> str:
    """Return the document `text` with all results between its marks."""
    drills = table([DRILLS_HEADING, *([each.drill.name, each.drill.does, each.drill.protection] for each in results)])
    return replaced(text, PROGRAM, f"{machine}\n\n{figures_table(results)}\n\n{drills}")
