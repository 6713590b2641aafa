"""Networks of sensors without pictures: features over time, from the export to the deployed network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tcja_deploy
import tcja_runtime
from tcja_deploy.cli import app
from tcja_runtime.errors import BadInput

from ... import networks

T, F, LENGTH, CLASSES, N = 5, 6, 16, 3, 18


def snntorch() -> tuple[nn.Module, str, tuple[int, ...]]:
    """Linear layers in a loop over the steps, as in snnTorch's tutorials."""
    import snntorch as snn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.lif1 = nn.Linear(F, 12), snn.Leaky(beta=0.8)
            self.fc2, self.lif2 = nn.Linear(12, CLASSES), snn.Leaky(beta=0.8)

        def forward(self, x: Tensor) -> Tensor:
            one, two, spikes = self.lif1.init_leaky(), self.lif2.init_leaky(), []
            for step in x:
                fired, one = self.lif1(self.fc1(step), one)
                fired, two = self.lif2(self.fc2(fired), two)
                spikes.append(fired)
            return torch.stack(spikes)

    return Net(), "TN", (T, F)


def spikingjelly() -> tuple[nn.Module, str, tuple[int, ...]]:
    """Convolutions over the length of a signal, whose windows come step by step: [T, N, C, L]."""
    from spikingjelly.activation_based import functional, layer, neuron

    net = nn.Sequential(
        *(layer.Conv1d(F, 8, 5, padding=2, bias=False), layer.BatchNorm1d(8), neuron.LIFNode(), layer.AvgPool1d(2)),
        *(layer.Conv1d(8, 8, 3), neuron.IFNode(v_threshold=0.5), layer.MaxPool1d(2), layer.Flatten()),
        *(layer.Linear(24, CLASSES), neuron.LIFNode(v_threshold=0.5)),
    )
    functional.set_step_mode(net, "m")
    return net, "TN", (T, F, LENGTH)


def norse() -> tuple[nn.Module, str, tuple[int, ...]]:
    """Cells in a loop, whose state is given back."""
    from norse.torch import LIFBoxCell, LIFBoxParameters, SequentialState

    cell = LIFBoxParameters(tau_mem_inv=torch.tensor(300.0), v_th=torch.tensor(0.2))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = SequentialState(nn.Linear(F, 12), LIFBoxCell(cell), nn.Linear(12, CLASSES), LIFBoxCell(cell))

        def forward(self, x: Tensor) -> Tensor:
            state, spikes = None, []
            for step in range(x.shape[1]):
                fired, state = self.parts(x[:, step], state)
                spikes.append(fired)
            return torch.stack(spikes)

    return Net(), "NT", (T, F)


def lively(net: nn.Module) -> nn.Module:
    """The network with weights with which its layers fire."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 3 / parameter[0].numel() ** 0.5
    return net.eval()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # when the libraries are imported
@pytest.mark.parametrize(
    ("make", "precision"), [(spikingjelly, "fp32"), (snntorch, "int8"), (norse, "fp16")], ids=["1d", "loop", "step"]
)
def test_networks_of_features_are_exported_and_run(make, precision, tmp_path, capsys):
    net, layout, shape = make()
    net = lively(net)
    values = np.random.default_rng(0).normal(0.2, 1.0, (N, *shape)).astype(np.float32)
    np.savez(tmp_path / "a.npz", features=values, labels=np.arange(N) % CLASSES)
    streaming, bundle = precision == "fp32", tmp_path / "net.bundle"
    options = {"precision": precision, "streaming": streaming, "layout": layout, "target": "onnx"}
    exported = tcja_deploy.export(net, data=tmp_path / "a.npz", out=bundle, **options)
    assert (exported.manifest.input.name, exported.manifest.input.shape) == ("features", shape)
    assert "Parity met" in exported.manifest.parity.verdict
    assert app.run(["verify", str(bundle)]) == 0
    assert app.run(["run", str(bundle), str(tmp_path / "a.npz"), "--picture", str(tmp_path / "page.html")]) == 0
    assert "positive values in blue" in (tmp_path / "page.html").read_text()
    assert "data:image/png" in (bundle / "report.html").read_text()  # its sample windows

    deployed = tcja_runtime.load(bundle)
    if streaming:  # the deployed network answers as the user's own does, also step by step
        with torch.no_grad():
            own = net(torch.from_numpy(values).transpose(0, 1)).mean(0).numpy()
        np.testing.assert_allclose(deployed(values).scores, own, atol=1e-6)
        stepwise = deployed.stepwise()
        last = [stepwise.push(step) for step in values[0]][-1]
        np.testing.assert_array_equal(last.scores, deployed(values[0]).scores[0])
        with pytest.raises(BadInput, match=r"'step' is float32 \[6\]; the network takes \[6, 16\], one step"):
            stepwise.push(values[0, 0, :, 0])
    with pytest.raises(BadInput, match=r"'features' is float32 .*; time is its first axis: give values.swapaxes"):
        deployed(np.zeros((T, N, *shape[1:]), np.float32))
    with pytest.raises(BadInput, match="'features' has values that are NaN; give finite numbers"):
        deployed(values * np.float32(np.nan))
    capsys.readouterr()
    assert app.run(["run", str(bundle), str(scaled(tmp_path / "b.npz", values))]) == 0
    assert "are the features scaled" in " ".join(capsys.readouterr().err.split())
    np.savez(tmp_path / "events.npz", **dict.fromkeys("txyp", np.arange(3)))
    assert app.run(["stream", str(bundle), str(tmp_path / "events.npz")]) == 2
    said = "a stream is for networks of events, and this network takes features"
    assert said in " ".join(capsys.readouterr().err.split())


def scaled(path: Path, values: np.ndarray) -> Path:
    """A file of the features in another unit."""
    np.savez(path, features=values * 1000)
    return path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["5,6", "--crop", "0,0,2,2"], "--crop 0,0,2,2: the network takes features, which are no part of a camera's"),
        (["5,6", "--split", "number"], "--split number cuts recordings into frames, but the network takes features; l"),
        (
            ["5,6,7", "--layout", "TN"],
            "--layout TN is for time steps, not for images; for features T,C,L, give --input",
        ),
        (["5,6", "--input", "images"], "--shape must be C,H,W (images), not 5,6"),
        (["a,6"], "--shape a,6 is not T,P,H,W, C,H,W, T,F or T,C,L, such as 10,2,128,128"),
    ],
)
def test_options_that_do_not_fit_features_are_refused(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "network_of_features.py").write_text(networks.OWN_NETWORK)
    sizes = {"a.weight": (16, 32), "a.bias": (16,), "b.weight": (3, 16), "b.bias": (3,)}
    torch.save({key: torch.ones(size) for key, size in sizes.items()}, "w.pth")
    assert app.run(["export", "w.pth", "--model", "network_of_features:Net", "--shape", *options]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
