"""Recordings as windows: what tells them from others, and what is wrong with them."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tcja_runtime import recorded
from tcja_runtime.data import load
from tcja_runtime.errors import BadInput
from tcja_runtime.frames import InputContract
from tcja_runtime.windows import Cutter, Window

from ..streams import atis, drawn

CONTRACT = InputContract.frames(4, 64, 64)
CLASSES = ("a", "b")


@pytest.fixture
def file(tmp_path) -> Path:
    """A second of 400 events."""
    path = tmp_path / "a.bin"
    path.write_bytes(atis(drawn(400)))
    return path


def test_windows_of_more_events_than_can_be_kept_are_refused(file, monkeypatch):
    monkeypatch.setattr(recorded, "Cutter", functools.partial(Cutter, most=150))
    with pytest.raises(BadInput, match=r"a.bin: a window holds more than 150 events; take shorter windows$"):
        load(file, CONTRACT, CLASSES, Window.parse("500ms"))
    assert len(load(file, CONTRACT, CLASSES, Window.parse("250ms"))) == 4
