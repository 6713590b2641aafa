"""Inputs unlike those of the export are named by `run`, `verify --data` and `stream`; others are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.events import Events
from tcja_runtime.streaming import stream

from ... import networks
from ...streams import Fed, drawn

SAID = "the inputs are unlike the 20 windows that the network was proven on: "


def frames(n: int, seed: int) -> np.ndarray:
    """Windows with twice as many on events as off events, and about as many events as `events` has."""
    random = np.random.default_rng(seed)
    rates = np.array([0.04, 0.08]).reshape(2, 1, 1) * random.uniform(0.7, 1.4, (n, 1, 1, 1, 1))
    found: np.ndarray = random.poisson(np.broadcast_to(rates, (n, 5, 2, 64, 64))).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def proven(tmp_path_factory) -> Path:
    """A bundle that was exported with 20 such windows."""
    folder = tmp_path_factory.mktemp("proven")
    np.savez(folder / "data.npz", frames=frames(20, 0))
    checkpoint = networks.SMALL["dvs128"].checkpoint(folder / "model.pth")
    request = ExportRequest(
        checkpoint=checkpoint, out=folder / "a.bundle", data=folder / "data.npz", target="onnx", streaming=True, judge=4
    )
    pipeline.export(request)
    return folder


@pytest.mark.parametrize("command", [("run", "{bundle}", "{file}"), ("verify", "{bundle}", "--data", "{file}")])
def test_swapped_polarities_are_named(run, proven, tmp_path, command):
    np.savez(tmp_path / "swapped.npz", frames=frames(4, 1)[:, :, ::-1])
    np.savez(tmp_path / "same.npz", frames=frames(4, 2))
    for file, unlike in (("swapped.npz", True), ("same.npz", False)):
        arguments = [each.format(bundle=proven / "a.bundle", file=tmp_path / file) for each in command]
        code, out, err = run(*arguments, "--json")
        assert code == 0
        assert json.loads(out)["unlike"].startswith(SAID) == unlike
        assert json.loads(out)["unlike"].endswith("are the polarities swapped?") == unlike
        assert (SAID in " ".join(err.split())) == unlike


def lit(events: Events, share: float) -> Events:
    """The same events, of which about a share are on events."""
    on = np.random.default_rng(3).random(len(events)) < share
    return Events(events.t, events.x, events.y, on)


@pytest.mark.parametrize(("share", "unlike"), [(2 / 3, False), (1 / 3, True)])
@pytest.mark.parametrize("window", [Window(2500, "events"), None], ids=["windows", "one window"])
def test_a_stream_of_other_polarities_is_named(proven, share, unlike, window):
    events = lit(drawn(2500, 1), share)
    source = Fed(events)
    opened = stream.Stream.open(Bundle.open(proven / "a.bundle"), source, stream.StreamOptions(window=window))
    summary = opened.run(lambda _: None)
    assert summary.windows == 1
    assert any(remark.startswith(SAID) for remark in summary.remarks) == unlike


@pytest.mark.slow
def test_random_windows_are_no_proof_of_what_data_look_like(tmp_path):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    out = tmp_path / "b.bundle"
    manifest, _ = pipeline.export(ExportRequest(checkpoint=checkpoint, out=out, target="onnx", samples=2))
    assert manifest.input_statistics is None
    assert Bundle.open(out).manifest.input_statistics is None
