"""Steps of an export that only inform: one that fails is left out, and said. It never fails the export."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Group
from torch import Tensor, nn

from tcja_deploy.console import Console, Progress, plain
from tcja_deploy.export import certify, pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.parity import anytime, verdict, wording
from tcja_deploy.report.sections import behaviour, comparison
from tcja_deploy.texts.parity import verdict_text
from tcja_deploy.verify.options import VerifyOptions
from tcja_deploy.verify.verifier import verify
from tcja_exporters import libraries
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.evidence import anytime as evidence_of_anytime
from tcja_runtime.neuron import NeuronSpec

SHAPE = (3, 2, 2, 2)


class LIF(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        v, fired = torch.zeros_like(x[0]), []
        for step in x:
            v = 0.5 * v + step
            fired.append((v > 1).to(x.dtype))
            v = v * (1 - fired[-1])
        return torch.stack(fired)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a, self.b, self.lif = nn.Linear(8, 6), nn.Linear(6, 3), LIF()
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.lif(self.a(x.flatten(2))))


class Mapped(Plain):
    """Its first layer runs under vmap, where the advice on int8 cannot look at values."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.lif(torch.vmap(self.a)(x.flatten(2))))


class Own(nn.Module):
    def __init__(self, of: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(of.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight)


class OwnLayers(Plain):
    """Its layers are of its own class, so none can be lowered."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Own(self.a), Own(self.b)


class Rough(Plain):
    """Operations without a rule for rounding follow each other, so the estimates of the bounds grow."""

    def forward(self, x: Tensor) -> Tensor:
        current = self.a(x.flatten(2))
        for _ in range(10):
            current = torch.asinh(current)
        return self.b(self.lif(9 * current))


class Huge(Plain):
    """Its weights are so large that the currents of even small counts are beyond the numbers that are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.a.weight.data *= 2.0**100


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(libraries, "_registered", {})
    libraries.register(LIF, NeuronSpec.linear(decay=0.5, strict=True))


def request(folder: Path, network: nn.Module, **more: object) -> ExportRequest:
    inputs = np.random.default_rng(0).poisson(1.0, (8, *SHAPE)).astype(np.float32)
    np.savez(folder / "data.npz", frames=inputs, labels=np.arange(8) % 3)
    return ExportRequest(
        model=network, layout="TN", data=folder / "data.npz", out=folder / "a.bundle", target="onnx", **more
    )


@pytest.mark.slow
def test_advice_that_a_network_does_not_allow_is_left_out(tmp_path):
    manifest, report = pipeline.export(request(tmp_path, Mapped()))
    assert report.met
    (line,) = report.left_out
    assert line.startswith("Left out: advice on fp16 and int8 (RuntimeError: vmap: It looks like you're attempting to")
    assert manifest.parity.left_out == [line]
    assert line in json.loads((tmp_path / "a.bundle" / "parity.json").read_text())["left_out"]
    assert "Left out: advice on fp16 and int8" in (tmp_path / "a.bundle" / "report.html").read_text()
    assert line in plain(Group(*verdict_text(report)), width=400)


def test_advice_that_is_asked_for_cannot_be_left_out(tmp_path):
    with pytest.raises(
        BadInput,
        match=r"the advice for `keep` advised failed \(RuntimeError: vmap: .*\); name the "
        "layers that stay in float32 with `keep`, or none with `keep` nothing",
    ):
        pipeline.export(request(tmp_path, Mapped(), precision="fp16"))
    assert not (tmp_path / "a.bundle").exists()


@pytest.mark.parametrize("precision", ["fp16", pytest.param("int8", marks=pytest.mark.slow)])
def test_a_precision_that_would_lower_nothing_is_refused(tmp_path, precision):
    with pytest.raises(BadInput, match=f"`precision` {precision} would lower nothing: .*; give `precision` fp32"):
        pipeline.export(request(tmp_path, OwnLayers(), precision=precision, keep=("nothing",)))
    assert not (tmp_path / "a.bundle").exists()


def test_wide_rounding_bounds_are_said_by_an_export_and_by_verify(tmp_path):
    manifest, report = pipeline.export(request(tmp_path, Rough()))
    assert report.met
    assert report.wide_bounds[0] == "lif"
    (said,) = [line for line in manifest.parity.cautions if "so wide that" in line]
    assert said.startswith("The rounding bound")
    assert said.endswith(f"comparison proves little: {', '.join(report.wide_bounds)}.")
    again = verify(tmp_path / "a.bundle").report
    assert again.met
    assert said in wording.cautions(again)


@pytest.mark.slow
def test_an_export_without_the_range_stimulus_says_so(tmp_path):
    manifest, report = pipeline.export(request(tmp_path, Huge()))
    assert report.met
    said = (
        "The range stimulus was not compared, so nothing is known of inputs that are larger than those of the windows."
    )
    assert said in manifest.parity.cautions
    assert said in wording.cautions(verify(tmp_path / "a.bundle").report)


@pytest.mark.slow
def test_advice_that_is_not_asked_for_is_left_out_of_a_lower_precision(tmp_path):
    _, report = pipeline.export(request(tmp_path, Mapped(), precision="fp16", keep=("nothing",)))
    assert report.met
    assert len(report.left_out) == 1


def failing(*_args: object, **_options: object) -> None:
    raise ZeroDivisionError("not\ntoday")


@pytest.fixture
def broken(monkeypatch):
    """Steps that only inform fail: all of the export, and two sections of the report."""
    for holder, name in (
        (certify, "advise"),
        (evidence_of_anytime, "shown"),
        (anytime, "curves"),
        (behaviour, "rates"),
        (comparison, "flips"),
    ):
        monkeypatch.setattr(holder, name, failing)


@pytest.mark.slow
def test_no_step_that_only_informs_fails_an_export(broken, tmp_path, monkeypatch):
    monkeypatch.setattr(certify, "profile", failing)
    _, report = pipeline.export(request(tmp_path, Plain(), anytime=2))
    assert report.met
    steps = [
        "margins and gates in the report",
        "advice on fp16 and int8",
        *(
            f"predictions of {name} before the last frame of a window"
            for name in (report.reference, report.backends[0].backend)
        ),
        "curves of early predictions",
        "the section of the report on spike flips",
        "the section of the report on firing rates",
    ]
    assert report.left_out == [f"Left out: {step} (ZeroDivisionError: not)." for step in steps]
    page = (tmp_path / "a.bundle" / "report.html").read_text()
    assert all(f"<p>Left out: {step} (ZeroDivisionError: not).</p>" in page for step in steps)
    monkeypatch.undo()
    assert verify(tmp_path / "a.bundle").report.met


@pytest.mark.parametrize("met", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_report_that_cannot_be_written_is_said(tmp_path, monkeypatch, met):
    copy = tmp_path / "copies" / "copy.html"
    copy.parent.mkdir()
    render = pipeline.render

    def removing(*args: object) -> str:
        copy.parent.rmdir()
        copy.parent.touch()
        return render(*args)

    monkeypatch.setattr(pipeline, "render", removing)
    if not met:
        monkeypatch.setattr(verdict.Report, "failures", ["not today"])
    notes = io.StringIO()
    progress = Progress(Console(file=notes, width=400))
    with pytest.raises(BadInput if met else ParityNotMet) as error:
        pipeline.export(request(tmp_path, Plain(), report=copy), progress)
    said = str(error.value) if met else notes.getvalue()
    assert f"`report` {copy} cannot be written: File exists; " in said
    assert (tmp_path / "a.bundle").exists() == met
    assert not met or f"the bundle {tmp_path / 'a.bundle'} is written, and has the same page" in said


@pytest.mark.slow
def test_no_step_that_only_informs_fails_a_verification(tmp_path, monkeypatch):
    pipeline.export(request(tmp_path, Plain()))
    monkeypatch.setattr(evidence_of_anytime, "shown", failing)
    found = verify(tmp_path / "a.bundle", VerifyOptions(anytime=2))
    assert found.report.met
    assert found.report.left_out == [
        f"Left out: predictions of {found.report.backends[0].backend} before the last frame of a window "
        "(ZeroDivisionError: not)."
    ]
