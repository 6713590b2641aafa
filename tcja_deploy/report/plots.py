"""Plots as HTML and SVG without a script: heat maps, bars, histograms, line charts, and maps of gates.

Plots have one colour, blue, whose opacity shows the value, so that they are readable on a light and on a dark page.
Line charts have orange as a second colour, which colour-blind readers can distinguish from blue. A number, a sign or
dashes repeat what a colour shows.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence

import numpy as np

from tcja_deploy.formatting import compact, power
from tcja_deploy.report.html import Html, joined, tag, wide

SHADES = 32  # the shades of a map: readers cannot distinguish more, and more would make larger files
_FEW = 10  # the least number of flips for the full colour of a cell, so that one flip does not look like thousands
DEEP = 0.65  # the strength of a colour beyond which dark text on it is hard to read
_BIN, _LEFT, _TOP, _HEIGHT = 10, 38, 9, 84  # a bin, the margins and the height of a histogram, in SVG units
_TEXT = 9.5  # the size of text in plots, in SVG units
_WIDTHS = {
    **dict.fromkeys("ijl.,:;'|!I", 0.36),
    **dict.fromkeys(" ()[]/-rtf", 0.42),
    **dict.fromkeys("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", 0.45),
    **dict.fromkeys("0123456789", 0.64),
    **dict.fromkeys("mwMW%@", 1.0),
    "\N{NO-BREAK SPACE}": 0.36,
}
"""The widths of characters, as shares of the size of text; those of DejaVu Sans, which is wider than most fonts."""
_WIDTH, _RISE = 300, 110  # the width and height of a line chart, in SVG units
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25)  # possible distances of two lines of a grid, as shares


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlipRow:
    """A row of a heat map: the flips of one layer.

    Attributes:
        layer: the name of the layer.
        flips: the number of flips at each time step.
        unexplained: the number of flips that rounding does not explain, at each time step.
        facts: the texts of the columns after the time steps.
    """

    layer: str
    flips: Sequence[int]
    unexplained: Sequence[int]
    facts: Sequence[str]


def heat_map(label: str, rows: Sequence[FlipRow], heads: Sequence[str]) -> Html:
    """Return a table of flips by layer and time step, whose cells are coloured on one logarithmic scale.

    Args:
        label: a description of the table, for screen readers.
        rows: the layers, at least one, all with the same number of time steps.
        heads: the headings of the columns after the time steps.
    """
    most = max(_FEW, *(max(row.flips) for row in rows))
    steps = (tag("th", str(t + 1), class_="step", scope="col") for t in range(len(rows[0].flips)))
    head = tag("tr", tag("th", "layer", scope="col"), *steps, *(tag("th", h, class_="n", scope="col") for h in heads))
    body = (
        tag(
            "tr",
            tag("th", tag("span", row.layer, class_="name"), scope="row"),
            *(_cell(row, t, most) for t in range(len(row.flips))),
            *(tag("td", fact, class_="n") for fact in row.facts),
        )
        for row in rows
    )
    return wide(label, tag("table", tag("thead", head), tag("tbody", *body), class_="heat"))


def _cell(row: FlipRow, t: int, most: int) -> Html:
    count, unexplained = row.flips[t], row.unexplained[t]
    if not count:
        return tag("td", "\u00b7", class_="step none")
    place = f"{row.layer}, time step {t + 1}: {count:,}"
    if unexplained:
        title = f"{place}, {unexplained:,} of them unexplained"
        return tag("td", f"{compact(count)} !{compact(unexplained)}", class_="step wrong", title=title)
    much = strength(count, most)
    kind = "step deep" if much > DEEP else "step"
    return tag("td", compact(count), class_=kind, title=place, style=f"--much: {much:.2f}")


def strength(count: int, most: int) -> float:
    """Return the strength of the colour of a cell, on a logarithmic scale up to `most`; beyond DEEP, text is pale."""
    return 0.15 + 0.85 * math.log1p(count) / math.log1p(most)


def text_width(text: str, size: float) -> float:
    """Return a width that a text does not exceed in the common sans-serif fonts, in units of its size."""
    return size * sum(_WIDTHS.get(character, 0.7 if character.isascii() else 1.05) for character in text)


def wrapped(text: str, size: float, room: float) -> list[str]:
    """Return a text in lines that are no wider than `room`; it is broken at spaces and dots where possible."""
    lines, line = [], ""
    for word in re.findall(r"[^ .]*[ .]?", text):
        for piece in [word] if text_width(word.rstrip(), size) <= room else list(word):
            if line and text_width((line + piece).rstrip(), size) > room:
                lines.append(line.rstrip())
                line = ""
            line += piece
    return [*lines, line.rstrip()]


def bar(share: float) -> Html:
    """Return a horizontal bar that fills a share of its column, from 0 to 1."""
    return tag("span", class_="bar", style=f"width: {100 * min(max(share, 0.0), 1.0):.1f}%")


def columns(label: str, values: Sequence[float]) -> Html:
    """Return a small column for each value; the largest value has the full height. `label` is for screen readers."""
    most = max(values) or 1.0
    drawn = "".join(f"M{i}.1 1v-{value / most:.3f}h.8V1z" for i, value in enumerate(values))
    path = tag("path", d=drawn, class_="heat-fill")
    look = f"width: min(100%, {0.8 * len(values):.1f}rem)"
    return svg(label, path, f"0 0 {len(values)} 1", class_="columns", preserveAspectRatio="none", style=look)


def histogram(label: str, counts: Sequence[int], edges: Sequence[float], least: int, mark: float) -> Html:
    """Return a histogram with two logarithmic axes: the bins, and the share of the counts in each bin.

    Args:
        label: a description of the plot, for screen readers.
        counts: the counts [len(edges) + 1]: below the first edge, between the edges, and above the last.
        edges: the edges of the bins, whose logarithms have equal distances.
        least: the power of ten at the foot of the bars, as an exponent.
        mark: the value at which there is a dashed line; 0 for no line.
    """
    total = sum(counts) or 1
    shares = {exponent: f"{100 * 10.0**exponent:.{max(0, -2 - exponent)}f} %" for exponent in range(0, least - 1, -2)}
    left = math.ceil(max(text_width(share, _TEXT) for share in shares.values())) + 4
    foot, right = _TOP + _HEIGHT, left + _BIN * len(counts)
    grid, bars = [], []
    for exponent in range(0, least - 1, -1):
        y = _TOP + _HEIGHT * exponent / least
        grid.append(tag("path", d=f"M{left} {y:.1f}H{right}", class_="rule"))
        if exponent in shares:
            grid.append(tag("text", shares[exponent], x=left - 3, y=f"{y + 3:.1f}", text_anchor="end"))
    for i, edge in enumerate(edges):
        place = round(math.log10(edge), 6)
        if place % 2 == 0:
            x = left + _BIN * (i + 1)
            grid.append(tag("path", d=f"M{x} {foot}v3", class_="rule"))
            grid.append(tag("text", power(int(place)), x=x, y=foot + 13, text_anchor="middle"))
    for i, count in enumerate(counts):
        if count:
            height = _HEIGHT * (1 - math.log10(count / total) / least)
            bars.append(f"M{left + _BIN * i + 1} {foot}v-{height:.1f}h{_BIN - 2}V{foot}z")
    drawn = [*grid, tag("path", d="".join(bars), class_="heat-fill")]
    if mark > 0:
        # The first and the last bin are drawn as wide as the bins between the edges.
        position = (math.log10(mark) - math.log10(edges[0])) / math.log10(edges[1] / edges[0])
        at = left + _BIN * min(max(position + 1, 0.0), len(counts))
        drawn.append(tag("path", d=f"M{at:.1f} {_TOP}V{foot}", class_="mark"))
    return svg(label, joined(drawn), f"0 0 {right + 6} {foot + 18}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart.

    Attributes:
        name: the name of the line.
        shares: the share at each step, from 0 to 1.
        bands: the lower and upper end of the band around each share; None for no band.
        other: whether the line is dashed and has the second colour.
        under: whether the line is wide and pale, and lies under the other lines.
    """

    name: str
    shares: Sequence[float]
    bands: Sequence[tuple[float, float]] | None = None
    other: bool = False
    under: bool = False

    @property
    def look(self) -> str:
        """The CSS classes of the line."""
        return "line" + " other" * self.other + " under" * self.under


def chart(label: str, lines: Sequence[Line], marks: Sequence[int], across: str) -> Html:
    """Return a line chart of shares by step. Its vertical axis ends at 100 %.

    Args:
        label: a description of the chart, for screen readers.
        lines: the lines, all with the same number of steps, at least two.
        marks: the steps with a number below the chart; the first step is 1.
        across: the name of the horizontal axis.
    """
    steps, foot, right = len(lines[0].shares), _TOP + _RISE, _LEFT + _WIDTH
    low = min(min(line.shares) for line in lines)
    low = min([low, *(least for line in lines for least, _ in line.bands or ())])
    tick = next((tick for tick in _TICKS if 1 - low <= 5 * tick), _TICKS[-1])
    count = max(1, math.ceil(round((1 - low) / tick, 6)))

    def at(step: int, share: float) -> str:
        x = _LEFT + _WIDTH * (step - 1) / (steps - 1)
        return f"{x:.1f} {_TOP + _RISE * (1 - share) / (count * tick):.1f}"

    def path(shares: Sequence[float]) -> str:
        return "L".join(at(step, share) for step, share in enumerate(shares, 1))

    drawn = []
    for i in range(count + 1):
        y = f"{_TOP + _RISE * i / count:.1f}"
        drawn.append(tag("path", d=f"M{_LEFT} {y}H{right}", class_="rule"))
        drawn.append(
            tag("text", f"{100 * (1 - i * tick):.0f} %", x=_LEFT - 4, y=f"{float(y) + 3:.1f}", text_anchor="end")
        )
    for mark in marks:
        x = at(mark, 0).split()[0]
        drawn.append(tag("path", d=f"M{x} {foot}v3", class_="rule"))
        drawn.append(tag("text", str(mark), x=x, y=foot + 13, text_anchor="middle"))
    drawn.append(tag("text", across, x=_LEFT + _WIDTH / 2, y=foot + 25, text_anchor="middle"))
    for line in lines:
        if line.bands:
            lows = [at(step, least) for step, (least, _) in enumerate(line.bands, 1)]
            area = f"M{path([most for _, most in line.bands])}L{'L'.join(reversed(lows))}z"
            drawn.append(tag("path", d=area, class_="band other" if line.other else "band"))
    upwards = sorted(lines, key=lambda line: not line.under)
    drawn += [tag("path", d=f"M{path(line.shares)}", class_=line.look) for line in upwards]
    told = "; ".join(f"{line.name}: {', '.join(f'{100 * share:.3g} %' for share in line.shares)}" for line in lines)
    return svg(f"{label}. {told}", joined(drawn), f"0 0 {right + 10} {foot + 30}")


def legend(lines: Sequence[Line]) -> Html:
    """Return the legend of a chart: the look and the name of each line."""
    return tag(
        "ul",
        *(
            tag(
                "li",
                tag("svg", tag("path", d="M0 4H32", class_=line.look), viewBox="0 0 32 8", aria_hidden="true"),
                line.name,
            )
            for line in lines
        ),
        class_="legend",
    )


def map_of(label: str, values: Sequence[Sequence[float]]) -> Html:
    """Return a map of values [rows][columns] from 0 to 1; rows are numbered from 1, columns from 0.

    Neighbours in a row with the same shade are one rectangle, and all rectangles of a shade are one path. So a map of
    20 x 512 is smaller than 200 kB.
    """
    height, width = len(values), len(values[0])
    shades: dict[int, list[str]] = {}
    for y, row in enumerate(np.nan_to_num(np.clip(values, 0, 1) * (SHADES - 1)).round().astype(int).tolist()):
        x = 0
        for shade, run in itertools.groupby(row):
            length = len(list(run))
            shades.setdefault(shade, []).append(f"M{x} {y}h{length}v1h-{length}z")
            x += length
    paths = (
        tag("path", d="".join(found), fill_opacity=f"{shade / (SHADES - 1):.2f}")
        for shade, found in sorted(shades.items())
        if shade
    )
    marks = [0, width // 4, width // 2, 3 * width // 4, width - 1] if width >= 16 else [0, width - 1]
    look = f"height: {min(max(0.7 * height, 1.5), 24):.1f}rem"
    drawing = svg(
        label,
        tag("g", *paths, class_="heat-fill", shape_rendering="crispEdges"),
        f"0 0 {width} {height}",
        preserveAspectRatio="none",
        style=look,
    )
    return wide(
        label,
        tag(
            "div",
            _ends([1, height], "ends down"),
            drawing,
            _ends(marks, "ends"),
            class_="map",
            style=f"min-width: {2 * width}px",  # so that no column is narrower than a pixel
        ),
    )


def _ends(numbers: Sequence[int], class_: str) -> Html:
    return tag("span", *(tag("span", str(n)) for n in sorted(set(numbers))), class_=class_, aria_hidden="true")


def scale(low: str, high: str) -> Html:
    """Return the scale of a map, with the meaning of its palest shade (`low`) and its strongest shade (`high`)."""
    return tag("div", low, tag("i"), high, class_="scale")


def svg(label: str, content: Html, view: str, **attributes: object) -> Html:
    """Return an SVG drawing.

    Args:
        label: a description of the drawing, for screen readers.
        content: its elements.
        view: its view box.
        attributes: further attributes (`html.tag`).
    """
    return tag("svg", content, viewBox=view, role="img", aria_label=label, **attributes)
