"""Data of any size: classified free-running, in batches, and going on where it was cut off."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tcja_deploy.cli.app import run
from tcja_deploy.console import Progress
from tcja_deploy.export import pipeline, request
from tcja_deploy.verify.options import VerifyOptions
from tcja_deploy.verify.verifier import verify
from tcja_runtime import budget
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.data.dataset import load
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden
from tcja_runtime.evidence.agreement import Agreement
from tcja_runtime.evidence.predictions import Predictions

from ... import networks
from ...described import described

NAME = "dvs128"


class Watched(Progress):
    """Notes what is counted, and is interrupted on the way."""

    def __init__(self, interrupt: str = "", after: int = 0) -> None:
        super().__init__(Console(quiet=True))
        self.began: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.notes: list[str] = []
        self._interrupt, self._after = interrupt, after

    @contextmanager
    def counted(self, title: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        del total
        word = title.split()[2]
        self.began[word] = self.done[word] = done

        def advance(n: int) -> None:
            self.done[word] += n
            if word == self._interrupt and self.done[word] >= self._after:
                raise KeyboardInterrupt

        yield advance

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tcja-deploy"


@pytest.fixture
def small_batches(monkeypatch) -> None:
    monkeypatch.setattr(budget, "_BATCH_WINDOWS", 3)


@pytest.fixture
def request_(tmp_path, data) -> request.ExportRequest:
    return request.ExportRequest(
        checkpoint=networks.SMALL[NAME].checkpoint(tmp_path / "a.pth"),
        out=tmp_path / "a.bundle",
        data=data[NAME],
        target="onnx",
        judge=2,
    )


@pytest.fixture
def whole(bundle, data) -> Agreement | None:
    """How a bundle classifies that was exported in one go."""
    return verify(bundle, VerifyOptions(data=data[NAME])).report.backends[0].statistics


one = pytest.mark.parametrize("name", [NAME])


def test_all_windows_are_classified_and_the_first_are_judged(request_, cache):
    steps = Watched()
    manifest, report = pipeline.export(request_, steps)
    assert report.windows == 2
    (found,) = report.backends
    assert found.statistics is not None
    assert (found.statistics.windows, found.statistics.paired, found.statistics.accuracy.labelled) == (12, 12, 12)
    assert report.accuracy == found.accuracy == pytest.approx(10 / 12)
    assert steps.done == {"PyTorch,": 2, "PyTorch": 12, "ONNX": 12}
    assert manifest.parity.backends[0]["statistics"]["windows"] == 12
    kept = golden.load(request_.out / "golden.npz", manifest.input)
    assert len(kept.samples) == 2
    assert kept.predictions.likeliest.shape == (12, 3)
    assert not list(cache.iterdir())


@pytest.mark.slow
@one
@pytest.mark.parametrize(("interrupt", "after"), [pytest.param("PyTorch", 5, marks=pytest.mark.slow), ("ONNX", 5)])
def test_an_export_that_was_cut_off_goes_on(request_, small_batches, cache, bundle, whole, interrupt, after):
    cut = Watched(interrupt, after)
    with pytest.raises(KeyboardInterrupt):
        pipeline.export(request_, cut)
    assert cut.notes == [f"{cut.done[interrupt]} of 12 windows are done; the same command goes on from there"]
    assert not request_.out.exists()
    resumed = Watched()
    manifest, report = pipeline.export(request_, resumed)
    assert manifest.input_statistics == Bundle.open(bundle).manifest.input_statistics
    assert resumed.began[interrupt] == cut.done[interrupt] > 2
    assert resumed.began["PyTorch"] == cut.done["PyTorch"]
    assert not list(cache.iterdir())
    (found,) = report.backends
    assert found.statistics == whole


@one
def test_damaged_data_are_not_classified(bundle, data, small_batches, tmp_path, cache):
    """Damage at the end of a file is found before the windows at its begin are classified: its hash is made first."""
    file = tmp_path / "data.npz"
    with np.load(data[NAME]) as archive:
        np.savez(file, **{key: np.concatenate([archive[key]] * 4) for key in archive.files})
    sound = file.read_bytes()
    at = sound.index(b"labels.npy") - 400
    file.write_bytes(sound[:at] + bytes(4) + sound[at + 4 :])
    steps = Watched()
    with pytest.raises(BadInput, match="damaged"):
        verify(bundle, VerifyOptions(data=file), steps)
    assert "ONNX" not in steps.done
    assert not cache.exists()


@pytest.mark.slow
def test_other_data_or_weights_do_not_go_on_from_these(request_, small_batches, data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        pipeline.export(request_, Watched("PyTorch", 8))
    with np.load(data[NAME]) as archive:
        np.savez(tmp_path / "other.npz", **{**archive, "frames": archive["frames"] + 1})
    steps = Watched()
    pipeline.export(dataclasses.replace(request_, data=tmp_path / "other.npz"), steps)
    assert steps.began["PyTorch"] == 2
    other = networks.SMALL[NAME].checkpoint(tmp_path / "other.pth", seed=1)
    steps = Watched()
    pipeline.export(dataclasses.replace(request_, checkpoint=other, out=tmp_path / "b.bundle"), steps)
    assert steps.began["PyTorch"] == 2


def test_verify_classifies_data_that_the_export_saw(bundle, name, data, small_batches, cache):
    cut = Watched("ONNX", 4)
    with pytest.raises(KeyboardInterrupt):
        verify(bundle, VerifyOptions(data=data[name]), cut)
    resumed = Watched()
    (found,) = verify(bundle, VerifyOptions(data=data[name]), resumed).report.backends
    assert resumed.began["ONNX"] == cut.done["ONNX"] == 6
    assert found.statistics is not None
    assert (found.statistics.windows, found.statistics.paired) == (12, 12)
    assert found.agreement == 1.0
    assert found.accuracy == pytest.approx(10 / 12)
    (fewer,) = verify(bundle, VerifyOptions(data=data[name], samples=4)).report.backends
    assert fewer.statistics is not None
    assert (fewer.statistics.windows, fewer.statistics.paired, fewer.accuracy) == (4, 4, 0.5)
    assert not list(cache.iterdir())


@one
def test_other_data_have_an_accuracy_alone(bundle, tmp_path, data, capsys):
    with np.load(data[NAME]) as archive:
        np.savez(tmp_path / "other.npz", frames=archive["frames"][4:], labels=archive["labels"][4:])
    assert run(["verify", str(bundle), "--data", str(tmp_path / "other.npz")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Accuracy in ONNX Runtime" in said
    assert (
        "with 95 % confidence); the trained network's is not known, as the bundle has no predictions for these windows."
        in said
    )


@pytest.mark.slow
@one
def test_less_accurate_than_any_chance_fails(bundle, tmp_path, data, capsys):
    """The trained network is said to have been right in 28 of 40 windows, of which the exported gets none right."""
    with np.load(data[NAME]) as archive:
        frames = np.concatenate([archive["frames"]] * 4)[:40]
    opened = Bundle.open(bundle)
    vectors = golden.load(bundle / "golden.npz", opened.manifest.input)
    classes = vectors.predictions.likeliest[:, 0]
    labels = (np.concatenate([classes] * 4)[:40] + 1) % len(opened.manifest.classes)
    np.savez(tmp_path / "data.npz", frames=frames, labels=labels)
    (report,) = verify(bundle, VerifyOptions(data=tmp_path / "data.npz")).report.backends
    assert report.accuracy == 0
    digest = load(tmp_path / "data.npz", opened.manifest.input, None).digest
    rows = np.repeat(labels[:, None], 3 + 5, axis=1)
    rows[: len(classes)] = vectors.predictions.rows  # what the outputs of the golden vectors tell
    found = dataclasses.replace(Predictions.from_rows(rows, 3), digest=digest)
    golden.save(bundle / "golden.npz", dataclasses.replace(vectors, predictions=found), opened.manifest.input)
    write_manifest(bundle, opened.manifest)
    assert run(["verify", str(bundle), "--data", str(tmp_path / "data.npz"), "--json"]) == 1
    captured = capsys.readouterr()
    said = "28 are right only before the export and 0 only after it; chance does not explain this (p = 7e-09)"
    assert said in captured.err.strip().splitlines()[-1]
    assert "free-running, 12 of 40 windows get the class of the trained network, and at export 12 of 12" in captured.err
    assert json.loads(captured.out)["backends"][0]["failures"][0]["kind"] == "accuracy"
    assert run(["verify", str(bundle), "--data", str(tmp_path / "data.npz"), "--bisect"]) == 1


@one
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "3"], "--samples is a number of windows of --data; give --data too, or leave it out"),
        (["--time-unit", "s"], "--time-unit is about recordings in --data; give --data too, or leave it out"),
        (["--data", "nowhere.npz"], "nowhere.npz does not exist"),
        (["--data", "{data}", "--samples", "0"], "--samples 0 must be at least 1"),
    ],
)
def test_what_cannot_be_classified_is_said(bundle, data, capsys, options, message):
    assert run(["verify", str(bundle), *(option.format(data=data[NAME]) for option in options)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {message}"


@one
def test_a_network_without_classes_classifies_nothing(bundle, capsys):
    described(bundle, classes=[])
    assert run(["verify", str(bundle), "--data", "x.npz"]) == 2
    said = "error: --data x.npz: the network does not classify, so there is nothing to count; leave it out"
    assert capsys.readouterr().err.splitlines()[-1] == said


def test_how_many_to_judge(request_, capsys):
    arguments = ["export", str(request_.checkpoint), "--data", str(request_.data), "--target", "onnx"]
    assert run([*arguments, "--out", str(request_.out), "--judge", "0"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: --judge 0 must be at least 1"
