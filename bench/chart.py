"""A chart of horizontal bars as SVG, which reads in a light and in a dark page."""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

WIDTH, MARGIN, LABELS, VALUES = 760, 20, 190, 70
BAR, GAP, LINE = 11, 9, 20
STYLE = """
    rect.page { fill: #ffffff } text { fill: #1f2328; font: 12px system-ui, sans-serif }
    text.title { font-weight: 600; font-size: 14px } text.end { text-anchor: end }
    .s0 { fill: #0969da } .s1 { fill: #bf5b00 } .s2 { fill: #6639ba }
    @media (prefers-color-scheme: dark) {
      rect.page { fill: #0d1117 } text { fill: #e6edf3 }
      .s0 { fill: #58a6ff } .s1 { fill: #f0953f } .s2 { fill: #b392f0 }
    }
"""


class Bar(NamedTuple):
    """A value: in which panel, at which label, of which series, and how its value is written."""

    panel: str
    label: str
    series: str
    value: float
    text: str


def chart(bars: Sequence[Bar]) -> str:
    """The chart, a panel below the other, each on a scale of its own."""
    shapes: list[str] = []
    top = MARGIN
    for title, panel in groupby(bars, key=attrgetter("panel")):
        top = draw_panel(shapes, title, list(panel), top)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}">',
            f"<style>{STYLE}</style>",
            '<rect class="page" width="100%" height="100%" rx="6"/>',
            *shapes,
            "</svg>\n",
        ]
    )


def draw_panel(shapes: list[str], title: str, bars: list[Bar], top: int) -> int:
    """Add a panel at `top`. Where the next one may begin."""
    series = list(dict.fromkeys(bar.series for bar in bars))
    shapes.append(text(MARGIN, top + BAR, title, "title"))
    for n, name in enumerate(series):
        left = LABELS + MARGIN + n * 160
        shapes.append(rectangle(left, top + LINE, BAR, n))
        shapes.append(text(left + BAR + 6, top + LINE + BAR - 1, name))
    top += 2 * LINE + GAP
    scale = (WIDTH - LABELS - VALUES - 2 * MARGIN) / (max(bar.value for bar in bars) or 1)
    for label, group in groupby(bars, key=attrgetter("label")):
        of_label = list(group)
        middle = top + len(of_label) * BAR // 2 + 4
        shapes.append(text(LABELS + MARGIN - 8, middle, label, "end"))
        for bar in of_label:
            width = bar.value * scale
            shapes.append(rectangle(LABELS + MARGIN, top, width, series.index(bar.series)))
            shapes.append(text(LABELS + MARGIN + width + 6, top + BAR - 1, bar.text))
            top += BAR + 1
        top += GAP
    return top + LINE


def rectangle(left: float, top: float, width: float, series: int) -> str:
    """A bar, or a sample of its colour."""
    return f'<rect class="s{series}" x="{left:.0f}" y="{top:.0f}" width="{width:.1f}" height="{BAR}"/>'


def text(left: float, top: float, words: str, kind: str = "") -> str:
    """Words."""
    return f'<text class="{kind}" x="{left:.0f}" y="{top:.0f}">{escape(words)}</text>'
