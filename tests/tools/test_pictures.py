"""The pictures of the documents: those in the repository, and how a terminal becomes one."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from tcja_runtime.events import FORMATS

from .. import scripts
from ..browser import CHROMIUM

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return scripts.loaded("pictures")


@pytest.mark.parametrize("name", ["report.png", "run.png", "live.svg"])
def test_pictures_are_small(script, name):
    assert 1_000 < (IMAGES / name).stat().st_size <= script.LARGEST


def test_the_live_view_is_a_picture_of_a_prediction():
    root = ElementTree.parse(IMAGES / "live.svg").getroot()
    said = " ".join(text.text or "" for text in root.iter(f"{SVG}text")).replace("\N{NO-BREAK SPACE}", " ")
    assert "events a second" in said
    assert re.search(r"window 1   0\.3\d\d to 0\.6\d\d s", said)
    assert len(list(root.iter(f"{SVG}rect"))) > 50


def test_a_terminal_is_drawn_as_it_is(script):
    console = Console(width=20, height=2, force_terminal=True, color_system="truecolor")
    text = Text.assemble(
        ("a <b", "bold"), "  ", ("\u2580\u2580", "#ff0000"), ("\u2584", "#0000ff on #00ff00"), "\n", "z"
    )
    drawn = script.terminal(console.render_lines(text, pad=False), (20, 2))
    root = ElementTree.fromstring(drawn)
    first, second = root.iter(f"{SVG}text")
    assert first.text == "a\N{NO-BREAK SPACE}<b"
    assert second.text == "z"
    assert (first.get("font-weight"), second.get("font-weight")) == ("bold", None)
    across, down = script._CELL
    shapes = [
        (each.get("fill"), float(each.get("x")), float(each.get("y")), float(each.get("height")))
        for each in root.iter(f"{SVG}rect")
        if each.get("x")
    ]
    assert shapes == [
        ("#ff0000", pytest.approx(12 + 6 * across, abs=0.1), 10, down / 2),
        ("#00ff00", pytest.approx(12 + 8 * across, abs=0.1), 10, down),
        ("#0000ff", pytest.approx(12 + 8 * across, abs=0.1), 10 + down / 2, down / 2),
    ]


def test_recordings_follow_one_another(script):
    """As the reader of the project reads them."""
    paths = sorted((script.EVENTS / "recordings").iterdir())
    every = FORMATS["atis"].decoder().feed(script._joined(paths))
    apart = [FORMATS["atis"].decoder().feed(path.read_bytes()) for path in paths]
    assert every.t.tolist() == [t for at, each in enumerate(apart) for t in (each.t + at * 300_000).tolist()]
    for name in ("x", "y", "p"):
        assert (getattr(every, name) == np.concatenate([getattr(each, name) for each in apart])).all()


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium to take a picture with")
def test_a_picture_of_a_page_has_the_size_of_the_window(script, tmp_path):
    page = tmp_path / "a.html"
    page.write_text('<!doctype html><body style="margin:0;background:#ff0000">')
    script.screenshot(page, tmp_path / "a.png", (640, 480))
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert [int.from_bytes(content[at : at + 4], "big") for at in (16, 20)] == [640, 480]
