"""What was found, told: on the terminal, and in docs/performance.md between two marks, so that the rest stays."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.chart import Bar, chart
from harness.markdown import replaced, table

PROGRAM = "bin/bench"
CAPTION = "Requests a second of each contestant, and the time of a read as the table grows"


class Ratio(NamedTuple):
    """What was to be reached, and whether it was."""

    what: str
    wanted: str
    found: str
    reached: bool


class Findings(NamedTuple):
    """What a scenario found, ready to be told: a table whose first row is its heading, ratios, bars of the chart."""

    title: str
    how: str
    table: list[list[str]]
    ratios: list[Ratio]
    bars: list[Bar]


def at_least(what: str, wanted: float, found: Sequence[float | None]) -> Ratio:
    """A ratio that may be any larger. None among `found` is a void figure, which reaches nothing."""
    return Ratio(what, f"≥ {wanted:g}", shown(found), all(value is not None and value >= wanted for value in found))


def at_most(what: str, wanted: float, found: Sequence[float | None], unit: str = "") -> Ratio:
    """The same of a ratio, or of a figure in `unit`, that may be any smaller."""
    reached = all(value is not None and value <= wanted for value in found)
    return Ratio(what, f"≤ {wanted:g}{unit}", shown(found) + unit, reached)


def shown(found: Sequence[float | None]) -> str:
    """Figures as they stand in a table."""
    return " and ".join("void" if value is None else f"{value:.2f}" for value in found)


def load(path: Path) -> dict[str, Findings]:
    """What was found before, by scenario."""
    if not path.exists():
        return {}
    return {name: restored(*values) for name, values in json.loads(path.read_text()).items()}


def restored(title: str, how: str, table: list[list[str]], ratios: list[Any], bars: list[Any]) -> Findings:
    """Findings that were kept as JSON, which has no names for a tuple's parts."""
    return Findings(title, how, table, [Ratio(*ratio) for ratio in ratios], [Bar(*bar) for bar in bars])


def section(findings: Findings) -> str:
    """A scenario's section."""
    return f"### {findings.title}\n\n{findings.how}\n\n{table(findings.table)}\n\n{verdicts(findings.ratios)}"


def verdicts(ratios: Sequence[Ratio]) -> str:
    """The table of what was to be reached."""
    rows = [[ratio.what, ratio.wanted, ratio.found, "yes" if ratio.reached else "no"] for ratio in ratios]
    return table([["what", "wanted", "measured", "reached"], *rows])


def write(findings: Mapping[str, Findings], machine: str, document: Path) -> None:
    """Put all findings into the document between its marks, and draw the chart beside it."""
    picture = document.with_suffix(".svg")
    picture.write_text(chart([bar for each in findings.values() for bar in each.bars]))
    sections = "\n\n".join(section(each) for each in findings.values())
    document.write_text(
        replaced(document.read_text(), PROGRAM, f"{machine}\n\n![{CAPTION}]({picture.name})\n\n{sections}")
    )
