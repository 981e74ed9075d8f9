"""Draw horizontal bars as SVG with Vega-Lite, in colours for a light and for a dark page."""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

DARK = {"#ffffff": "#0d1117", "#1f2328": "#e6edf3", "#0969da": "#58a6ff", "#bf5b00": "#f0953f", "#6639ba": "#b392f0"}
PAGE, INK, *COLORS = DARK
STYLE = " ".join(f'[fill="{light}"] {{ fill: {dark} }}' for light, dark in DARK.items())
LABELS = {"labelColor": INK, "labelFontSize": 12}
# Fixed widths, as fonts differ from page to page.
AXIS = {**LABELS, "title": None, "ticks": False, "domain": False, "labelPadding": 8, "labelLimit": 0, "minExtent": 150}
LEGEND = {**LABELS, "title": None, "orient": "top", "symbolType": "square", "columnPadding": 32}
SERIES = {"field": "series", "sort": None}
ENCODING = {
    "y": {"field": "label", "sort": None, "axis": AXIS},
    "yOffset": SERIES,
    "x": {"field": "value", "type": "quantitative", "axis": None},
}
LAYERS = [
    {"mark": "bar", "encoding": {"color": {**SERIES, "scale": {"range": COLORS}, "legend": LEGEND}}},
    {"mark": {"type": "text", "align": "left", "dx": 5, "color": INK}, "encoding": {"text": {"field": "text"}}},
]
HEADING = {"anchor": "start", "frame": "group", "color": INK, "fontSize": 14}
CONFIG = {"font": "system-ui, sans-serif", "view": {"stroke": None}, "title": HEADING}
RESOLVE = {"scale": dict.fromkeys(("x", "y", "yOffset", "color"), "independent")}


class Bar(NamedTuple):
    """A bar's panel, label and series, its value, and the value's text."""

    panel: str
    label: str
    series: str
    value: float
    text: str


def chart(heading: str, bars: Sequence[Bar]) -> str:
    """Draw the panels one below the other, each on a scale of its own. `heading` is for readers of the page's text."""
    # The library is large, and only a chart needs it.
    from vl_convert import vegalite_to_svg

    panels = [draw_panel(title, list(panel)) for title, panel in groupby(bars, key=attrgetter("panel"))]
    svg = vegalite_to_svg({"background": PAGE, "padding": 16, "config": CONFIG, "resolve": RESOLVE, "vconcat": panels})
    head, _, body = svg.partition(">")
    style = f"<style>@media (prefers-color-scheme: dark) {{ {STYLE} }}</style>"
    return f'{head} role="img"><title>{heading}</title>{style}{body}\n'


def draw_panel(title: str, bars: Sequence[Bar]) -> dict[str, Any]:
    """Return the specification of a panel."""
    data = {"values": [bar._asdict() for bar in bars]}
    return {"title": title, "data": data, "width": 440, "height": {"step": 13}, "encoding": ENCODING, "layer": LAYERS}
