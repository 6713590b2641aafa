"""Reports and pictures of runs in Chromium, at the width of a screen and of a phone: every label is whole."""

from __future__ import annotations

import numpy as np
import pytest

from tcja_deploy.report import picture
from tcja_deploy.report.picture import PicturedWindow

from ...browser import CHROMIUM, looked_at
from .pages import PAGES

WIDE, NARROW = 1280, 400

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="no Chromium to show the report with")]


def run_picture() -> str:
    """The picture of a run with many classes of long names, 20 frames and a gate."""
    random = np.random.default_rng(0)
    windows = [
        PicturedWindow(
            title=f"{'a_rather_long_folder_name/' * 4}user24.aedat, window {n}",
            label="a class",
            top=[(f"{'class_with_a_long_name' * n}", 0.5 / n) for n in range(1, 6)],
            kind="frames",
            inputs=random.poisson(0.1, (20, 2, 32, 32)).astype(np.float32),
            polarity=("off", "on"),
            gates={"conv.3.gate": random.uniform(size=(20, 512)).astype(np.float32)},
        )
        for n in (1, 2)
    ]
    return picture.page("a page", windows)


def test_every_label_is_whole_at_every_width(tmp_path):
    pages = {**PAGES, "run": run_picture}
    found = looked_at([make() for make in pages.values()], (WIDE, NARROW), tmp_path)
    assert [each["width"] for each in found] == [WIDE, NARROW] * len(pages)
    named = [(name, width) for name in pages for width in (WIDE, NARROW)]
    assert {name: each["wrong"] for name, each in zip(named, found, strict=True) if each["wrong"]} == {}
    assert all(each["plots"] for each in found)
    scrolling = dict(zip(named, (each["scrolling"] for each in found), strict=True))
    # What scrolls is there, so that the check of its hint can fail.
    assert scrolling["twenty classes", NARROW] > 0
    assert scrolling["run", NARROW] > 0
    assert scrolling["met", WIDE] == 0
