"""Models that are right only for small counts, few values or small batches fail verification; correct ones pass."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from benchmarks.parity import inputs
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.parity.compare import compare
from tcja_deploy.verify.verifier import verify
from tcja_runtime import budget
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.probe import Probe
from tcja_runtime.bundle.bundle import PLAIN_MODEL, Bundle
from tcja_runtime.evidence import golden, input_range

from ... import networks

QUICK = (
    "intensities in steps of 1/1024",
    "inputs through bfloat16",
    "output 0 where batch > 64",
    "only window 33 blank",
    "each window leaks into the next, from 16 on",
)


def cases() -> list[object]:
    """A few changes of the network of images, and as slow tests all others, of frames where frames can have them."""
    found = []
    for mutation in inputs.MUTATIONS:
        quick = mutation.name in QUICK
        name = "fashion_mnist" if quick or not mutation.fits("frames") else "dvs128"
        marks = () if quick else pytest.mark.slow
        found.append(pytest.param(name, mutation, marks=marks, id=f"{name}: {mutation.name}"))
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> functools._lru_cache_wrapper[Path]:
    """The bundle of a small network, made without data."""

    @functools.cache
    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        checkpoint = networks.SMALL[name].checkpoint(folder / "model.pth")
        pipeline.export(ExportRequest(checkpoint=checkpoint, out=folder / "a.bundle", target="onnx", samples=2))
        return folder / "a.bundle"

    return make


@pytest.mark.parametrize(("name", "mutation"), cases())
def test_a_model_that_is_right_only_in_a_small_range_fails(small, name, mutation, tmp_path):
    assert inputs.found(small(name), mutation, tmp_path)


def test_every_quick_change_is_one_of_the_list():
    names = {mutation.name for mutation in inputs.MUTATIONS}
    assert len(names) == len(inputs.MUTATIONS) >= 40
    assert {*QUICK} <= names


@pytest.mark.slow
def test_the_report_says_how_large_counts_and_batches_were(small):
    report = verify(small("dvs128")).report
    signature = Bundle.open(small("dvs128")).manifest.signature
    assert report.met
    assert report.largest_count == report.to_dict()["largest_count"] == input_range.LARGEST
    assert report.backends[0].largest_batch == budget.large_batch(signature) > 64


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_lower_precisions_are_judged_by_what_they_promise(precision, tmp_path):
    checkpoint = networks.SMALL["dvs128"].checkpoint(tmp_path / "model.pth")
    request = ExportRequest(
        checkpoint=checkpoint,
        out=tmp_path / "a.bundle",
        data=_data("dvs128", tmp_path / "a.npz"),
        target="onnx",
        precision=precision,
        keep=("nothing",),
    )
    _, report = pipeline.export(request)
    assert report.met
    counts = {"fp16": (255, 2**14), "int8": (255, input_range.LARGEST)}[precision]
    assert counts[0] <= report.largest_count <= counts[1]
    assert any(signal.scene == input_range.RANGE for signal in report.backends[0].signals)


def _data(name: str, file: Path) -> Path:
    small = networks.SMALL[name]
    windows = small.inputs(4).numpy()
    np.savez(file, labels=np.zeros(4, np.int64), **{small.network.contract(small.sizes).name: windows})
    return file


class Leaking:
    """A real session that adds the frames of an earlier run to those of a run, from the third run in the process on."""

    def __init__(self, session: OnnxRuntimeSession, earlier: list[np.ndarray]) -> None:
        self._session, self._earlier, self.inputs = session, earlier, session.inputs

    def run(self, feeds):
        frames = feeds["frames"]
        left = self._earlier[-1] if len(self._earlier) >= 2 else 0 * frames[:1]
        self._earlier.append(frames[:1])
        return self._session.run({**feeds, "frames": frames + left})

    def close(self) -> None:
        self._session.close()


@pytest.mark.parametrize("leaks", [True, False])
def test_what_is_left_of_an_earlier_run_is_found(small, leaks):
    """Two windows are run one after another, so only their second run is a third run."""
    bundle = small("dvs128")
    manifest = Bundle.open(bundle).manifest
    vectors = golden.load(bundle / "golden.npz", manifest.input)

    earlier: list[np.ndarray] = []

    def opened(outputs, given):
        session = OnnxRuntimeSession.open(bundle / PLAIN_MODEL, outputs, given)
        runs_free = outputs and not any(name.endswith(("/spikes", "/current", "weight")) for name in given)
        return Leaking(session, earlier) if leaks and runs_free else session

    probe = Probe(PLAIN_MODEL, "leaking", opened, manifest.signature)
    stimuli = vectors.stimuli(manifest.input)
    found = compare(vectors.batches(1), [probe], stimuli, manifest.signature, large_batch=2, advance=id)
    assert bool(found.parity.failures) == leaks
