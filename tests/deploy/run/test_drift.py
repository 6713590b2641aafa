"""A trained network that fires unlike in its proof is named by `run`, and windows like those of the proof are not."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import tcja_runtime
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_runtime.backends.proven import Watched
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.statistics.firing import FiringStatistics
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.integration import integrate
from tcja_runtime.events import InMemory
from tcja_runtime.model_file.tensor_names import SPIKE_COUNTS

from ... import networks

ROOT = Path(__file__).parents[3]
EVENT = ROOT / "examples" / "event_fashion_mnist"
SAID = "the network fires unlike in the 24 windows that it was proven on: "
CONTRACT = InputContract.frames(8, 32, 32)


@pytest.fixture(scope="module")
def recorded():
    """A function that returns the frames of simulated recordings of test images, float32 [N, 8, 2, 32, 32]."""
    sys.path.insert(0, str(EVENT))
    import simulate

    with np.load(ROOT / "examples" / "fashion_mnist" / "test_1000.npz") as data:
        images = data["images"][:, 0]

    def frames(first: int, n: int, seed: int) -> np.ndarray:
        events = simulate.simulate(images[first : first + n], seed=seed)
        return np.stack([integrate(InMemory([each]), CONTRACT).windows[0] for each in events]).astype(np.float32)

    yield frames
    sys.path.remove(str(EVENT))


@pytest.fixture(scope="module")
def proven(recorded, tmp_path_factory) -> Path:
    """The trained network of the example, proven on 24 recordings, with spike counts."""
    folder = tmp_path_factory.mktemp("proven")
    np.savez(folder / "data.npz", frames=recorded(0, 24, 0))
    request = ExportRequest(
        checkpoint=EVENT / "checkpoint.pth",
        classes=tuple((EVENT / "classes.txt").read_text().splitlines()),
        out=folder / "a.bundle",
        data=folder / "data.npz",
        target="onnx",
        spike_counts="on",
        anytime=0,
    )
    pipeline.export(request)
    return folder / "a.bundle"


def changed(frames: np.ndarray, how: str) -> np.ndarray:
    return {
        "silent": frames * 0,
        "saturated": np.full_like(frames, 30),
        "8 times the events": frames * 8,
        "all events in one frame": np.concatenate([frames.sum(1, keepdims=True), frames[:, 1:] * 0], axis=1),
    }[how]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["silent", "saturated", "8 times the events", "all events in one frame"])
def test_changed_inputs_are_named(run, proven, recorded, tmp_path, how):
    np.savez(tmp_path / "changed.npz", frames=changed(recorded(400, 20, 5), how))
    code, out, err = run("run", proven, tmp_path / "changed.npz", "--json")
    said = json.loads(out)
    assert code == 0
    assert SAID in said["unlike"]
    assert (said["drifted"] == 20) == (how != "8 times the events")
    assert SAID in " ".join(err.split())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_other_recordings_of_the_same_kind_raise_no_alarm(proven, recorded, seed):
    """Of other images, with other thresholds and noise."""
    with tcja_runtime.load(proven) as net:
        assert SAID not in net(recorded(40 + 100 * seed, 100, seed)).unlike


@pytest.mark.slow
@pytest.mark.parametrize(("window", "drifts"), [("300ms", False), ("10ms", True)])
def test_a_stream_counts_windows_and_says_it(run, proven, window, drifts):
    """In 10 ms the camera sees a thirtieth of the events of a window of the proof."""
    file = EVENT / "recordings" / "sandal_00008.bin"
    code, out, _ = run("stream", proven, file, "--window", window, "--json")
    summary = json.loads(out.splitlines()[-1])["summary"]
    assert code == 0
    assert (summary["drifted"] == summary["windows"] > 10) == drifts
    assert any(SAID in remark for remark in summary["remarks"]) == drifts


LIKE, OTHER = "like", "other"


@pytest.fixture
def watched(counted, tmp_path):
    """A bundle whose manifest says how the network fires in 32 windows, and a function that draws windows."""
    bundle = Path(shutil.copytree(counted, tmp_path / "watched.bundle"))
    manifest = Bundle.open(bundle).manifest

    def windows(kind: str, n: int, seed: int) -> np.ndarray:
        drawn = networks.SMALL["fashion_mnist"].inputs(n, seed=seed).numpy()
        return drawn if kind == LIKE else drawn * 0

    with tcja_runtime.load(bundle) as net:
        returned = net._backend.session.run({manifest.input.name: windows(LIKE, 32, 50)})
    statistics = FiringStatistics.of(returned[SPIKE_COUNTS], manifest.layers)
    write_manifest(bundle, dataclasses.replace(manifest, firing_statistics=statistics))
    return bundle, windows


@pytest.mark.parametrize(("kind", "drifted"), [(LIKE, 0), (OTHER, 6)])
def test_the_command_says_it_and_counts_windows(run, watched, tmp_path, kind, drifted):
    bundle, windows = watched
    np.savez(tmp_path / "data.npz", images=windows(kind, 6, 60))
    code, out, err = run("run", bundle, tmp_path / "data.npz", "--json")
    said, text = json.loads(out), "the network fires unlike in the 32 windows that it was proven on: "
    assert code == 0
    assert said["drifted"] == drifted
    assert (text in said["unlike"]) == bool(drifted)
    assert (text in " ".join(err.split())) == bool(drifted)


RUNS = {
    "bad from the start": ([(OTHER, 40)], 1),
    "bad from the start in larger batches": ([(OTHER, 40)], 1),
    "too few windows": ([(OTHER, 15)], 0),
    "bad later": ([(LIKE, 20), (OTHER, 40)], 1),
    "bad, good and bad": ([(LIKE, 20), (OTHER, 20), (OTHER, 5), (LIKE, 20), (OTHER, 20)], 2),
    "good": ([(LIKE, 40)], 0),
}


@pytest.mark.parametrize(("runs", "notes"), RUNS.values(), ids=RUNS)
def test_calls_say_it_once_they_have_seen_enough(watched, caplog, request, runs, notes):
    """And again after all was well in between; a network in the field runs for long."""
    bundle, windows = watched
    size = 5 if "larger" in request.node.name else 1
    with tcja_runtime.load(bundle) as net:
        for kind, n in runs:
            for at in range(0, n, size):
                found = net(windows(kind, size, at))
            assert ("fires unlike" in found.unlike) == (kind == OTHER)
    said = [record.message for record in caplog.records if "fires unlike" in record.message]
    assert len(said) == notes
    assert all("in the 32 windows that it was proven on" in each for each in said)


@pytest.mark.parametrize("kind", [LIKE, OTHER])
def test_what_a_network_watches_is_known_by_layer(watched, kind):
    """Of the last 16 of 40 windows: as shares of their neurons and steps, and beside the rates of the proof."""
    bundle, windows = watched
    manifest = Bundle.open(bundle).manifest
    neurons = [math.prod(layer.shape) for layer in manifest.layers]
    with tcja_runtime.load(bundle) as net:
        assert net.watched == Watched(inputs="", firing="", drifted=None, layers={})
        net(windows(LIKE, 24, 50))
        net(windows(kind, 16, 60))
        found = net.watched
        counts = net._backend.session.run({manifest.input.name: windows(kind, 16, 60)})[SPIKE_COUNTS]
    shares = np.median(counts.mean(axis=2), axis=0) / neurons
    assert [layer.rate for layer in found.layers.values()] == pytest.approx(shares.tolist(), rel=0.01)
    assert (max(abs(layer.drift) for layer in found.layers.values()) > 4) == (kind == OTHER)
    assert (found.drifted, "fires unlike" in found.firing) == ((16, True) if kind == OTHER else (0, False))


@pytest.mark.slow
@pytest.mark.parametrize(("windows", "known"), [(12, False), (16, True)])
def test_a_proof_of_few_windows_tells_nothing_of_drift(run, tmp_path, windows, known):
    small = networks.SMALL["fashion_mnist"]
    for name, n in (("data", windows), ("silent", 3)):
        np.savez(tmp_path / f"{name}.npz", images=small.inputs(n, seed=5).numpy() * (name == "data"))
    checkpoint, out = small.checkpoint(tmp_path / "model.pth"), tmp_path / "a.bundle"
    options = {"data": tmp_path / "data.npz", "target": "onnx", "spike_counts": "on", "anytime": 0}
    pipeline.export(ExportRequest(checkpoint=checkpoint, out=out, **options))
    assert (Bundle.open(out).manifest.firing_statistics is not None) == known
    code, text, _ = run("run", out, tmp_path / "silent.npz", "--json")
    assert code == 0
    assert json.loads(text)["drifted"] == (3 if known else None)


def test_a_bundle_without_counts_says_nothing(run, bundle, tmp_path):
    manifest = Bundle.open(bundle).manifest
    np.savez(tmp_path / "data.npz", **{manifest.input.name: np.zeros((6, *manifest.input.shape), np.float32)})
    code, out, _ = run("run", bundle, tmp_path / "data.npz", "--json")
    assert code == 0
    assert json.loads(out)["drifted"] is None
    assert "fires" not in json.loads(out)["unlike"]
