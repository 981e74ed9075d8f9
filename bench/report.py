"""Write findings as Markdown: on the terminal, and in docs/performance.md between two marks."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from harness.chart import Bar, chart
from harness.figures import HEADING, Figure
from harness.markdown import replaced, table

PROGRAM = "bin/bench"
TITLE = "Requests a second of each server, and the time of a read as the table grows"


class Findings(NamedTuple):
    """The findings of a scenario: a table with its heading first, ratios, and bars of the chart."""

    title: str
    method: str
    table: list[list[str]]
    ratios: list[Figure]
    bars: list[Bar]


def load(path: Path) -> dict[str, Findings]:
    """Load the findings of earlier runs, by scenario."""
    return TypeAdapter(dict[str, Findings]).validate_json(path.read_bytes()) if path.exists() else {}


def section(findings: Findings) -> str:
    """Format a scenario's section."""
    verdicts = table([HEADING, *(ratio.row() for ratio in findings.ratios)])
    return f"### {findings.title}\n\n{findings.method}\n\n{table(findings.table)}\n\n{verdicts}"


def write(findings: Mapping[str, Findings], machine: str, document: Path) -> None:
    """Write all findings into the document between its marks, and draw the chart beside it."""
    picture = document.with_suffix(".svg")
    picture.write_text(chart(TITLE, [bar for each in findings.values() for bar in each.bars]))
    sections = "\n\n".join(section(each) for each in findings.values())
    block = f"{machine}\n\n![{TITLE}]({picture.name})\n\n{sections}"
    document.write_text(replaced(document.read_text(), PROGRAM, block))
