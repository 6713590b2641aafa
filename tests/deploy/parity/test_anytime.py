"""How early a prediction can be had: as counted in PyTorch from what the networks say at each step."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tcja_deploy.build import build
from tcja_deploy.console import out
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.parity.anytime import ShownWindows
from tcja_deploy.report import plots
from tcja_deploy.verify.options import VerifyOptions
from tcja_deploy.verify.verifier import verify
from tcja_exporters.libraries import register
from tcja_exporters.modules.layers import Readout
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.windows import InMemoryWindows
from tcja_runtime.evidence.agreement import Accuracy
from tcja_runtime.evidence.anytime import Curve
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.tensorrt.build import Batch, BuildOptions

from ... import networks

T, N = 5, 24
KINDS = ("spikes", "mean of spikes", "logits", "mean of logits", "per step")


class LIF(nn.Module):
    """Leaky neurons with a hard reset, [T, N, ...] -> spikes."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(x[0]), []
        for step in x:
            v = v * self.beta + step
            spikes.append((v >= 1).to(x.dtype))
            v = v * (1 - spikes[-1])
        return torch.stack(spikes)


register(LIF, lambda lif: NeuronSpec.linear(decay=lif.beta, strict=False))


class Net(nn.Module):
    """Frames [T, N, 2, 4, 4] -> spikes or logits of three classes, of each step or their mean; without attention."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.b, self.c = nn.Linear(32, 16), nn.Linear(16, 12), nn.Linear(12, 3)
        self.n1, self.n2 = LIF(0.5), LIF(0.75)
        self.n3 = nn.Identity() if "logits" in kind else LIF(0.5)

    def forward(self, x: Tensor) -> Tensor:
        said = self.n3(self.c(self.n2(self.b(self.n1(self.a(x.flatten(2)))))))
        return said.mean(0) if "mean" in self.kind else said

    def steps(self, frames: np.ndarray) -> np.ndarray:
        """What it says at each step, in float64, [N, T, 3]."""
        kind, self.kind = self.kind, self.kind.removeprefix("mean of ")
        with torch.no_grad():
            said = self(torch.from_numpy(frames).double().transpose(0, 1))
        self.kind = kind
        return said.transpose(0, 1).numpy()


def trained(kind: str) -> Net:
    net, generator = Net(kind).eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 2 / parameter[0].numel() ** 0.5)
    return net


def counts(steps: np.ndarray, labels: np.ndarray) -> tuple[list[int], list[int]]:
    """Windows with their final class, and right ones, after each step, from what is said at each, [N, T, classes]."""
    classes = np.stack([steps[:, :t].sum(axis=1).argmax(axis=1) for t in range(1, steps.shape[1] + 1)])
    return (classes == classes[-1]).sum(axis=1).tolist(), (classes == labels).sum(axis=1).tolist()


def rights(curve: Curve) -> list[int]:
    return [after.right for after in curve.accuracy]


def counts_shown(network, frames: np.ndarray, labels: np.ndarray) -> tuple[list[int], list[int]]:
    """The same of windows of which the first frames have come, `network` saying what it does at each step."""
    said = []
    for t in range(1, frames.shape[1] + 1):
        some = np.zeros_like(frames)
        some[:, :t] = frames[:, :t]
        said.append(network(some)[:, :t].sum(axis=1))
    classes = np.stack([scores.argmax(axis=1) for scores in said])
    return (classes == classes[-1]).sum(axis=1).tolist(), (classes == labels).sum(axis=1).tolist()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Windows whose answers change on the way, in a file."""
    rng = np.random.default_rng(3)
    frames = rng.poisson(rng.uniform(0, 2, (N, T, 2, 4, 4))).astype(np.float32)
    labels = rng.integers(0, 3, N)
    path = tmp_path_factory.mktemp("anytime") / "data.npz"
    np.savez(path, frames=frames, labels=labels)
    return path, frames, labels


QUICK = ("spikes",)


@pytest.fixture(
    params=[
        pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow)
        for kind in KINDS
        if kind != "mean of logits"
    ]
)
def kind(request) -> str:
    return request.param


def exported(kind: str, path, out, **options):
    net = trained(kind)
    request = ExportRequest(
        model=net, layout="TN", data=path, out=out, target="onnx", per_step=kind == "per step", **options
    )
    return net.double(), *pipeline.export(request)


def test_curves_are_those_counted_in_pytorch(kind, recordings, tmp_path):
    """Without attention no step depends on a later one, so that what was read and what was shown are the same."""
    path, frames, labels = recordings
    net, manifest, report = exported(kind, path, tmp_path / "a.bundle", anytime=N)
    same, right = counts(net.steps(frames), labels)
    assert 0 < min(same) < N  # the answers do change
    pytorch, onnxruntime = report.reference, report.backends[0].backend
    assert [(each.network, each.counted) for each in report.anytime] == [
        (who, how) for who in (pytorch, onnxruntime) for how in ("steps read", "frames shown")
    ]
    for each in report.anytime:
        assert (each.windows, each.same, each.accuracy) == (N, same, [Accuracy(n, N) for n in right])
        assert each.agreement[-1] == 1.0
        assert each.accuracy[-1].share == report.accuracy == report.backends[0].accuracy
    assert report.anytime_missing == []

    said = json.loads((tmp_path / "a.bundle" / "parity.json").read_text())
    assert said["anytime"] == json.loads(json.dumps(manifest.parity.anytime))
    assert [each["same"] for each in said["anytime"]] == [same] * 4
    page = (tmp_path / "a.bundle" / "report.html").read_text()
    assert "How early a prediction can be had" in page
    settled = f'{onnxruntime}, frames shown</th><td class="n">{N}</td><td class="n">{report.anytime[-1].settled}</td>'
    assert settled in re.sub(' data-head="[^"]*"', "", page)
    drawn = ", ".join(f"{100 * each / N:.3g} %" for each in same)
    assert f"Windows that have their final class. {pytorch}, steps read: {drawn}; {pytorch}, frames shown" in page
    again = verify(tmp_path / "a.bundle", VerifyOptions(anytime=10)).report.anytime
    kept = min(N, 16)  # golden windows
    assert [(each.network, each.windows) for each in again] == [
        (who, n) for who in (pytorch, onnxruntime) for n in (kept, 10)
    ]
    assert (
        (again[0].same, rights(again[0]))
        == (again[2].same, rights(again[2]))
        == counts(net.steps(frames[:kept]), labels[:kept])
    )


@pytest.mark.slow
def test_a_network_whose_steps_are_not_found(recordings, tmp_path, capsys):
    from tcja_deploy.cli import app

    path, _, _ = recordings
    _, manifest, report = exported("mean of logits", path, tmp_path / "a.bundle", anytime=4)
    assert manifest.answer is None
    assert report.anytime == []
    assert app.run(["verify", str(tmp_path / "a.bundle"), "--verbose"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "How early a prediction can be had is not known: no signal was found whose mean over time is" in said
    assert report.anytime_missing[0] in (tmp_path / "a.bundle" / "report.html").read_text()


@pytest.mark.slow
def test_an_engine_that_returns_its_steps_tells_them(recordings, simulated, tmp_path):
    path, frames, labels = recordings
    net, _, _ = exported("per step", path, tmp_path / "a.bundle")
    build(tmp_path / "a.bundle", "tensorrt", BuildOptions(batch=Batch(1, 8, 16)))
    report = verify(tmp_path / "a.bundle", VerifyOptions(backend="tensorrt", data=path, anytime=9)).report
    assert report.met
    read, shown = (each for each in report.anytime if each.network == report.backends[0].backend)
    assert (read.windows, read.same, rights(read)) == (N, *counts(net.steps(frames), labels))
    assert (shown.windows, shown.same) == (9, counts(net.steps(frames[:9]), labels[:9])[0])


def per_step(name: str):
    """A small network, of windows, in float64, returning what it says at each step, [N, T, classes]."""
    module = networks.SMALL[name].module().double()
    for readout in (each for each in module.modules() if isinstance(each, Readout)):
        readout.per_step = True

    def run(inputs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(inputs).double()).numpy()

    return run


def test_networks_with_attention(bundle, name, data, run):
    """Steps read and frames shown differ; each is as in PyTorch."""
    module = per_step(name)
    with np.load(data[name]) as archive:
        inputs, labels = (
            archive[archive.files[-1] if archive.files[0] == "labels" else archive.files[0]],
            archive["labels"],
        )
    framed = name == "dvs128"
    arguments = ["--anytime", "7"] if framed else []
    code, out, _ = run("verify", bundle, "--data", data[name], "--json", *arguments)
    assert code == 0
    found = {(each["network"], each["counted"]): each for each in json.loads(out)["anytime"]}
    pytorch, onnxruntime = dict.fromkeys(who for who, _ in found)
    read = counts(module(inputs), labels)
    for who in (pytorch, onnxruntime):
        each = found[who, "steps read"]
        assert (each["windows"], each["same"], each["right"]) == (12, *read)
    assert ((onnxruntime, "frames shown") in found) == framed
    if framed:
        each = found[onnxruntime, "frames shown"]
        shown = counts_shown(module, inputs[:7], labels[:7])
        assert (each["windows"], each["same"], each["right"]) == (7, *shown)
        assert shown != counts(module(inputs[:7]), labels[:7])


def test_other_data_have_the_deployed_networks_curve_alone(bundle, name, data, tmp_path):
    with np.load(data[name]) as archive:
        np.savez(tmp_path / "other.npz", **{key: archive[key][2:] for key in archive.files})
    report = verify(bundle, VerifyOptions(data=tmp_path / "other.npz")).report
    assert {(each.network, each.windows) for each in report.anytime} == {(report.backends[0].backend, 10)}


@pytest.mark.parametrize("name", ["dvs128"])
def test_it_is_said_for_people(run, bundle, monkeypatch):
    monkeypatch.setattr(out, "_width", 160)
    brief = run("verify", bundle, "--anytime", "3")[1]
    (curve,) = [
        each
        for each in json.loads(run("verify", bundle, "--anytime", "3", "--json")[1])["anytime"]
        if each["counted"] == "frames shown"
    ]
    assert f"Early prediction: the final class from frame {curve['settled']} of 5 on ({curve['network']}, 3 w" in brief
    code, printed, _ = run("verify", bundle, "--anytime", "3", "--verbose")
    assert code == 0
    said = " ".join(printed.split())
    assert "Windows that have their final class after the first t time steps, and accuracy t = 1 t = 2 " in said
    assert " t = 4 t = 5 settled from" in said
    assert "ONNX Runtime" in said
    assert "frames shown, 3 windows" in said
    assert "Frames shown: the prediction when the network runs on the first frames only" in said


@pytest.mark.parametrize(
    ("name", "n", "message"),
    [
        ("dvs128", -1, "--anytime -1 must be 0 to 1,000,000"),
        ("fashion_mnist", 2, "--anytime 2 shows windows frame by frame, and the network takes images; leave it out"),
    ],
)
@pytest.mark.parametrize("command", ["export", "verify"])
def test_what_cannot_be_shown_is_refused(run, bundle, name, n, message, command, tmp_path):
    what = networks.SMALL[name].checkpoint(tmp_path / "a.pth") if command == "export" else bundle
    code, _, err = run(command, what, "--anytime", n)
    assert (code, err.splitlines()[-1]) == (2, f"error: {message}")


@pytest.mark.parametrize(
    ("n", "runs", "real", "count", "left_out"),
    [
        (None, 5 * 20, True, 20, False),
        (None, 5 * 1000, True, 64, False),
        (None, 5 * 7, True, 0, True),  # so few tell nothing
        (None, 5 * 20, False, 0, False),
        (3, 0, False, 3, False),
        (1000, 0, True, 100, False),
        (0, 5 * 20, True, 0, False),
    ],
)
def test_how_many_windows_are_shown(n, runs, real, count, left_out):
    windows = InMemoryWindows(inputs=np.zeros((100, T, 1, 1, 1), np.float32), labels=None, source="", real=real)
    some = ShownWindows.choose(windows, InputContract.of((T, 1, 1, 1)), n, runs)
    assert (len(some.windows), some.left_out) == (count, left_out)


@pytest.mark.parametrize("lowest", [0.0, 0.03, 0.5, 0.81, 0.985, 1.0])
@pytest.mark.parametrize("bands", [None, [(0.0, 1.0), (0.9, 1.0)]])
def test_a_chart_has_room_for_its_lowest_point(lowest, bands):
    page = plots.chart("Shares", [plots.Line(name="a", shares=[lowest, 1.0], bands=bands)], [1, 2], "step")
    ticks = [float(tick) for tick in re.findall(r">(\d+) %<", page)]
    assert 2 <= len(ticks) <= 6
    assert len(set(ticks)) == len(ticks)
    assert ticks[0] == 100
    assert ticks[-1] <= 100 * (0.0 if bands else lowest)
    (x1, y1), (x2, y2) = re.findall(r"[ML]([\d.]+) ([\d.]+)", page.split('class="line"')[0].rpartition("<path")[2])
    top, foot = 9, 9 + 110
    assert (float(x2) - float(x1), float(y2)) == (300, top)
    assert float(y1) == pytest.approx(top + (foot - top) * (100 - 100 * lowest) / (100 - ticks[-1]), abs=0.06)
