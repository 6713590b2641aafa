"""The section of the report with a drawing of the network: its layers, and what each of them reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tcja_deploy.formatting import percent
from tcja_deploy.parity.verdict import Report
from tcja_deploy.report.html import Html, figure, joined, section, tag
from tcja_deploy.report.network_profile import NetworkProfile
from tcja_deploy.report.plots import svg, text_width, wrapped
from tcja_exporters.graph.outline import Block
from tcja_runtime.counting import agree, counted

_WIDTH, _LINE, _GAP, _PAD, _LANE = 400, 15, 10, 8, 11  # in SVG units, as are the sizes of text
_SIZE, _BOLD = 11, 1.12  # the size of text, and how much wider bold text is
_MANY = 30  # the number of layers from which the drawing must be unfolded
_LOOKS = {"spiking": "spiking", "attention": "attention", "unjudged": "unjudged"}
_LEGEND = {
    "spiking": "a spiking layer; the stronger the colour, the more it fires",
    "attention": "attention",
    "unjudged": "a module that fires, and that parity does not judge",
    "plain": "all other layers",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Box:
    """A layer in the drawing.

    Attributes:
        block: the layer.
        lines: the lines of its text: pairs of the name and of what the layer is; one of them may be empty.
        top: its upper edge.
        fires: its firing rate as a share of the highest one, for the colour.
    """

    block: Block
    lines: list[tuple[str, str]]
    top: float
    fires: float

    @property
    def height(self) -> float:
        """The height of the box."""
        return _LINE * len(self.lines) + _PAD

    @property
    def middle(self) -> float:
        """The height of its middle."""
        return self.top + self.height / 2


def drawing(report: Report, profile: NetworkProfile, outline: Sequence[Block]) -> Html:
    """Return the section with the drawing; empty if there is no outline.

    Args:
        report: the comparison, for the firing rates.
        profile: the behaviour of the network, for the gates of attention.
        outline: the layers of the network.
    """
    if not outline:
        return Html()
    rates = {
        layer.layer: sum(layer.spikes) / (layer.neurons * len(layer.spikes) * report.windows)
        for layer in report.backends[0].layers
    }
    drawn = joined([tag("div", _drawn(outline, rates, profile), class_="network"), _legend(outline)])
    if len(outline) > _MANY:
        drawn = tag("details", tag("summary", f"All {len(outline)} layers"), drawn)
    return section(
        "The network, drawn",
        _conclusion(outline, rates),
        figure(drawn, "From the input at the top to the output at the bottom; shapes are without time and batch."),
    )


def _conclusion(outline: Sequence[Block], rates: Mapping[str, float]) -> str:
    kinds = [block.kind for block in outline]
    n, attention, unjudged = (kinds.count(kind) for kind in ("spiking", "attention", "unjudged"))
    blocks = f" and {counted(attention, 'attention block')}" if attention else ""
    judged = f", {unjudged} more {agree(unjudged, 'module fires and is', 'modules fire and are')} not judged" * bool(
        unjudged
    )
    line = f"The network has {counted(n, 'spiking layer')}{blocks}; parity judges every spiking layer{judged}."
    if not rates or not max(rates.values()):
        return line
    busiest = max(rates, key=lambda name: rates[name])
    return f"{line} {busiest} fires most: each of its neurons in {percent(rates[busiest])} of the time steps."


def _drawn(outline: Sequence[Block], rates: Mapping[str, float], profile: NetworkProfile) -> Html:
    skips = [(source, at) for at, block in enumerate(outline) for source in block.sources if source < at - 1]
    lanes = _lanes(skips)
    left = _LANE * (max(lanes.values(), default=-1) + 1) + 1
    boxes, top, most = [], 1.0, max(rates.values(), default=0.0)
    for block in outline:
        fires = rates[block.name] / most if most and block.name in rates and block.kind == "spiking" else 0.0
        lines = _lines(block, _about(block, rates, profile), _WIDTH - left - 2 * _PAD - 1)
        boxes.append(_Box(block=block, lines=lines, top=top, fires=fires))
        top += boxes[-1].height + _GAP
    shown = [_box(each, left) for each in boxes]
    middle = (left + _WIDTH) / 2
    for at, block in enumerate(outline):
        if at and at - 1 in block.sources:
            shown.append(_arrow(f"M{middle} {boxes[at].top - _GAP}V{boxes[at].top - 3}", middle, boxes[at].top, "down"))
    for source, at in skips:
        x, start, end = left - 3 - _LANE * lanes[source, at] - _LANE / 2, boxes[source].middle, boxes[at].middle
        shown.append(_arrow(f"M{left} {start + 2}H{x}V{end - 2}H{left - 3}", left, end - 2, "right"))
    label = f"The layers of the network: {', '.join(block.name or block.about for block in outline)}"
    return svg(label, joined(shown), f"0 0 {_WIDTH} {top - _GAP + 1:g}")


def _lanes(skips: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return the lane of each connection that passes layers: the first in which it meets no other connection."""
    found: dict[tuple[int, int], int] = {}
    for begin, end in sorted(skips, key=lambda skip: skip[1] - skip[0]):
        taken = {lane for (start, stop), lane in found.items() if start <= end and begin <= stop}
        found[begin, end] = next(lane for lane in range(len(skips)) if lane not in taken)
    return found


def _about(block: Block, rates: Mapping[str, float], profile: NetworkProfile) -> str:
    """Return what a layer is, its shape, and what it does on the windows."""
    parts = [block.about, " x ".join(map(str, block.shape))]
    if block.kind == "spiking" and block.name in rates:
        parts.append(f"fires {percent(rates[block.name])}")
    gate = profile.gates.get(block.name)
    if gate and gate[0]:
        parts.append(f"lets {percent(sum(map(sum, gate)) / (len(gate) * len(gate[0])))} through")
    return ", ".join(filter(None, parts))


def _lines(block: Block, about: str, room: float) -> list[tuple[str, str]]:
    """Return the lines of a box: the name and the rest in one line if they fit, else below each other."""
    name = block.name
    if _BOLD * text_width(name, _SIZE) + text_width(about, _SIZE) + 12 <= room:
        return [(name, about)]
    names = wrapped(name, _SIZE, room / _BOLD) if name else []
    return [*((line, "") for line in names), *(("", line) for line in wrapped(about, _SIZE, room))]


def _box(box: _Box, left: float) -> Html:
    place = {"x": left, "y": f"{box.top:g}", "width": _WIDTH - left - 1, "height": f"{box.height:g}", "rx": 4}
    parts = [tag("rect", **place, class_=_LOOKS.get(box.block.kind, "plain"))]
    if box.fires:
        parts.append(tag("rect", **place, class_="fires", fill_opacity=f"{0.05 + 0.4 * box.fires:.2f}"))
    for at, (name, about) in enumerate(box.lines):
        y = f"{box.top + _PAD / 2 + _LINE * at + 11:g}"
        if name:
            parts.append(tag("text", name, x=left + _PAD, y=y, class_="title"))
        if about:
            parts.append(tag("text", about, x=_WIDTH - _PAD, y=y, text_anchor="end"))
    return joined(parts)


def _arrow(path: str, x: float, y: float, way: str) -> Html:
    tip = f"M{x} {y}l-3 -5h6z" if way == "down" else f"M{x} {y}l-5 -3v6z"
    return joined([tag("path", d=path, class_="edge"), tag("path", d=tip, class_="tip")])


def _legend(outline: Sequence[Block]) -> Html:
    kinds = {_LOOKS.get(block.kind, "plain") for block in outline}
    rows = [
        tag(
            "li",
            tag(
                "svg",
                tag("rect", x=1, y=1, width=30, height=10, rx=3, class_=look),
                viewBox="0 0 32 12",
                aria_hidden="true",
            ),
            meaning,
        )
        for look, meaning in _LEGEND.items()
        if look in kinds
    ]
    return tag("ul", *rows, class_="legend network")
