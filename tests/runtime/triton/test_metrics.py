"""What a real server says at its address of metrics: of one model with two instances, and of one that changes."""

from __future__ import annotations

import math
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tcja_runtime
from tcja_deploy.cli import app
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.package.options import TritonOptions
from tcja_deploy.package.triton import package_triton
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.triton.metrics import COUNTERS, EVERY, GAUGES

from ... import networks
from ...docs.blocks import ROOT, blocks
from ...servers import NEEDED, Server, serving, until

pytestmark = [pytest.mark.releases, NEEDED]

GUIDE = ROOT / "docs/how-to/serving.md"
SMALL = networks.SMALL["fashion_mnist"]


def windows(n: int, seed: int) -> np.ndarray:
    return SMALL.inputs(n, seed=seed).numpy()


@pytest.fixture(scope="module")
def proven(tmp_path_factory) -> Path:
    """A bundle that knows how its network fires: with spike counts, and proven on enough windows."""
    folder = tmp_path_factory.mktemp("proven")
    np.savez(folder / "data.npz", images=windows(24, 50))
    checkpoint, out = SMALL.checkpoint(folder / "model.pth"), folder / "a.bundle"
    options = {"data": folder / "data.npz", "target": "onnx", "spike_counts": "on", "anytime": 0}
    pipeline.export(ExportRequest(checkpoint=checkpoint, out=out, **options))
    return out


@pytest.fixture(scope="module")
def server(proven, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    package_triton(proven, folder / "models", TritonOptions(name="watched", instances=2))
    package_triton(proven, folder / "models", TritonOptions(name="changing", max_batch=8))
    with serving(folder / "models", folder / "server", ["watched", "changing"]) as server:
        yield server


@pytest.fixture
def ask(server) -> Iterator[Callable[[str, np.ndarray], np.ndarray]]:
    """A client that asks a model for the scores of windows."""
    from tritonclient import grpc

    with server.grpc() as client:

        def ask(model: str, values: np.ndarray) -> np.ndarray:
            given = grpc.InferInput("images", list(values.shape), "FP32")
            given.set_data_from_numpy(values)
            return client.infer(model, [given]).as_numpy(SMALL.network.output)

        yield ask


def test_what_is_counted(server, ask):
    """The windows of both instances together, without those of the warm-up; and requests that are refused."""
    from tritonclient.utils import InferenceServerException

    before = server.metric("tcja_windows_total", model="watched", version="1")
    for _ in range(5):
        ask("watched", windows(3, 60))
    for _ in range(2):
        with pytest.raises(InferenceServerException, match="NaN"):
            ask("watched", windows(1, 60) * np.nan)
    until(lambda: server.metric("tcja_windows_total", model="watched", version="1") == before + 15)
    until(lambda: server.metric("tcja_refused_requests_total", model="watched") == 2)
    assert before == 0
    assert server.metric("tcja_windows_total", model="changing") == 0
    assert server.metric("tcja_dropped_events_total", model="watched") == 0


def test_how_the_layers_fire(server, proven, ask):
    """In windows like those of the proof, and then in dark ones: each layer's rate, and its drift."""

    def told(name: str, label: str, value: str) -> list[float]:
        wanted = (name + "{", 'model="changing"', f'{label}="{value}"')
        return [number for line, number in server.metrics().items() if all(part in line for part in wanted)]

    for given, unlike in ((windows(16, 60), 0.0), (windows(16, 60) * 0, 1.0)):
        with tcja_runtime.load(proven) as net:
            net(given)
            layers = net.watched.layers
        for _ in range(2):
            ask("changing", given[:8])
            ask("changing", given[8:])
        time.sleep(EVERY)
        ask("changing", given[:8])
        until(lambda unlike=unlike: told("tcja_unlike_proof", "kind", "firing") == [unlike])
        for name, layer in layers.items():
            assert told("tcja_firing_rate", "layer", name) == pytest.approx([layer.rate], rel=0.1)
            assert told("tcja_firing_drift", "layer", name) == pytest.approx([layer.drift], rel=0.1, abs=1.0)
    time.sleep(EVERY)
    ask("changing", given[:8])
    until(lambda: server.metric("tcja_drifted_windows_total", model="changing") == 48)
    assert server.metric("tcja_drifted_windows_total", model="watched") == 0


def test_a_new_version_as_the_guide_says(server, proven, ask, tmp_path, monkeypatch):
    """docs/how-to/serving.md: a version that cannot be loaded changes nothing; the next one is; and the way back.

    Each version is counted. One that is unloaded keeps its counts and has no instances, and its firing is not known.
    """
    write, load = next(block.code for block in blocks(GUIDE) if block.test).splitlines()
    version, told = server.repository / "changing" / "2", {"model": "changing", "bundle": Bundle.open(proven).sha256}
    before = server.metric("tcja_windows_total", model="changing", version="1")
    monkeypatch.chdir(tmp_path)
    Path("new.bundle").symlink_to(proven)
    Path("models").symlink_to(server.repository)

    def new_version() -> None:
        assert app.run(write.replace("gestures", "changing").split()[1:]) == 0

    def loaded() -> str:
        url = re.sub(r".*POST localhost:8000", f"http://{server.address}", load.replace("gestures", "changing"))
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="POST")):
                return ""
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def counted(name: str, **labels: str) -> list[float]:
        return [server.metric(name, version=each, **labels) for each in "12"]

    new_version()
    golden = version / "model.bundle" / "golden.npz"
    content = bytearray(golden.read_bytes())
    content[-1] ^= 1
    golden.unlink()
    golden.write_bytes(content)
    assert "golden.npz was changed: its sha256 is not the manifest's" in loaded()
    ask("changing", windows(2, 60))
    until(lambda: counted("tcja_windows_total", model="changing") == [before + 2, 0])

    shutil.rmtree(version)
    new_version()
    assert loaded() == ""
    ask("changing", windows(3, 60) * 0)
    until(lambda: counted("tcja_windows_total", model="changing") == [before + 2, 3])
    until(lambda: counted("tcja_unlike_proof", kind="inputs", model="changing")[1] == 1)
    until(lambda: counted("tcja_loaded_instances", **told) == [0, 1])
    until(lambda: math.isnan(counted("tcja_unlike_proof", kind="inputs", model="changing")[0]))

    shutil.rmtree(version)
    assert loaded() == ""
    ask("changing", windows(4, 60))
    until(lambda: counted("tcja_windows_total", model="changing") == [before + 6, 3])
    until(lambda: counted("tcja_loaded_instances", **told) == [1, 0])


def test_the_metrics_of_the_guide_are_those_of_the_server(server):
    """All of the table, and all that the alerts and the formulas name. Only models of streams have streams."""
    known = {re.split(r"[ {]", name)[0] for name in server.metrics()}
    named = set(re.findall(r"\b(?:tcja|nv)_[a-z_]+\b", GUIDE.read_text())) - {"tcja_runtime"}
    assert named >= {*COUNTERS, *GAUGES}
    assert named - known == {"tcja_open_streams"}
