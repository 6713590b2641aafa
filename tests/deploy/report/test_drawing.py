"""The drawing of a network: its boxes, its connections, and the colours of its layers."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tcja_deploy.report.plots import text_width, wrapped
from tcja_deploy.report.sections.drawing import drawing

from .pages import PROFILE, Page, compared, layer, outlined, parity

REPORT = compared(parity([layer(spikes=[3, 3, 3, 3]), layer("fc", spikes=[6, 6, 6, 6])]))


def drawn(*names: str, **changes: object) -> Page:
    return Page(drawing(REPORT, dataclasses.replace(PROFILE, **changes), outlined(*names)))


def test_a_box_says_what_the_layer_is_and_how_much_it_fires():
    found = drawn("conv.1", "fc")
    texts = [text for name, text in found.texts if name == "text"]
    assert texts[:6] == [
        "frames",
        "input, 4 x 2 x 128 x 128",
        "conv.1.0",
        "convolution 3 x 3, 128 x 64 x 64",
        "conv.1",
        "spiking layer, 128 x 64 x 64, fires 12.50\N{NO-BREAK SPACE}%",
    ]
    assert "attention, lets 43.75\N{NO-BREAK SPACE}% through" in texts
    assert (
        "The network has 2 spiking layers and 1 attention block; parity judges every spiking layer, 1 more"
        in found.text
    )
    assert (
        "module fires and is not judged. fc fires most: each of its neurons in 25.00 % of the time steps." in found.text
    )


def test_colours_are_firing_rates():
    fires = [float(a["fill-opacity"]) for a in drawn("conv.1", "fc").classes("fires")]
    assert fires == [0.25, 0.45]
    looks = [(a["class"]) for name, a in drawn("conv.1", "fc").tags if name == "rect"]
    assert [look for look in looks if look not in ("plain", "fires")][:4] == [
        "spiking",
        "spiking",
        "attention",
        "unjudged",
    ]


def test_connections_that_pass_layers_have_lanes_of_their_own():
    """The input is read by the convolution below it and by the sum, behind three layers."""
    found = drawn("conv.1")
    paths = [a["d"] for a in found.classes("edge")]
    assert len([path for path in paths if "H" not in path]) == 6
    (around,) = [path for path in paths if "H" in path]
    assert re.fullmatch(r"M[\d.]+ [\d.]+H[\d.]+V[\d.]+H[\d.]+", around)
    blocks = outlined("conv.1")
    blocks[-2] = dataclasses.replace(blocks[-2], sources=(1, 5))
    crossing = [a["d"] for a in Page(drawing(REPORT, PROFILE, blocks)).classes("edge") if "H" in a["d"]]
    lanes = {re.search(r"H([\d.]+)V", path)[1] for path in crossing}
    assert len(lanes) == len(crossing) == 2


def test_many_layers_are_folded_and_no_layers_are_no_section():
    assert not drawn("conv.1").classes("details")
    assert "details" not in {name for name, _ in drawn("conv.1").tags}
    found = drawn(*(f"l{at}" for at in range(20)))
    assert "details" in {name for name, _ in found.tags}
    assert "All 45 layers" in found.text
    assert drawing(REPORT, PROFILE, []) == ""


@pytest.mark.parametrize(
    "text", ["", "a", "a.b.c", "convolution 3 x 3, 128 x 64 x 64, 12 groups", 300 * "x", "a." * 99]
)
@pytest.mark.parametrize("room", [60, 200])
def test_text_is_broken_into_lines_that_fit(text, room):
    lines = wrapped(text, 11, room)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(text_width(line, 11) <= room for line in lines)
