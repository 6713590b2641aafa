"""Networks as users write them: neurons of the real libraries are recognised, replaced and proven."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tcja_deploy import pipeline
from tcja_exporters import libraries
from tcja_exporters.adopt import adopt, from_factory
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.frames import InputContract
from tcja_runtime.neuron import NeuronSpec, fire

from . import own

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SECOND = Path(sys.prefix) / "spikingjelly-2"
CONTRACT = InputContract.of(own.SHAPE)


def windows(n: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(1.0, (n, *own.SHAPE)).astype(np.float32)


def made(name: str) -> tuple[nn.Module, str]:
    """A network by name, or a skip where this release of its library has no such neurons."""
    build, layout = own.NETWORKS[name]
    try:
        return own.awake(build()), layout
    except ImportError as error:
        if "clock_driven" not in str(error):
            raise
        pytest.skip("SpikingJelly 2 has no clock_driven")


@pytest.mark.tensorrt
@pytest.mark.parametrize("name", list(own.NETWORKS))
def test_it_is_exported_and_matches(name, tmp_path):
    network, layout = made(name)
    np.savez(tmp_path / "data.npz", frames=windows(6))
    request = pipeline.Request(
        model=network, layout=layout, data=tmp_path / "data.npz", out=tmp_path / "own.bundle", target="tensorrt-rtx"
    )
    manifest, result = pipeline.export(request)
    assert result.met
    assert not result.silent
    assert result.backends[0].twins == ["model.onnx"]
    neurons = [layer for layer, _ in network.named_children() if layer.startswith("n")]
    assert [layer.name for layer in manifest.layers] == [f"net.{layer}" for layer in neurons]
    assert manifest.output_shape == (5,)
    assert manifest.engines
    assert manifest.evidence[1].startswith("float64: all spikes agree with the original's, layer by layer")


@pytest.mark.parametrize("name", list(own.NETWORKS))
def test_a_stale_membrane_changes_nothing(name):
    network, layout = made(name)
    fresh = adopt(network, CONTRACT, windows(), layout=layout)
    x = torch.from_numpy(windows(3, seed=1))
    network.train()
    network(x[:, 0] if layout == "step" else x.transpose(0, 1))  # with gradients, and without a reset
    network.eval()
    stale = adopt(network, CONTRACT, windows(), layout=layout)
    with torch.no_grad():
        assert torch.equal(stale.model(x), fresh.model(x))
        assert torch.equal(stale.model(x), fresh.model(x))  # nor does a run of ours


@pytest.mark.slow
def test_all_of_this_with_spikingjelly_2():
    """The second release, which cannot be installed beside the first, in a process of its own."""
    if not SECOND.exists():
        pytest.skip("SpikingJelly 2 is not at hand; make setup installs it")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "activation_based", __file__],
        env={**os.environ, "PYTHONPATH": str(SECOND)},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def ties(spec: NeuronSpec, seed: int = 0) -> np.ndarray:
    halves = np.random.default_rng(seed).integers(-4, 9, (12, 500))
    return halves * spec.threshold / 2


@pytest.mark.parametrize("threshold", [1.0, 0.8])
@pytest.mark.parametrize("v_reset", [0.0, None, -0.25])
@pytest.mark.parametrize("mode", ["s", "m"])
def test_every_neuron_of_spikingjelly_alone(mode, v_reset, threshold):
    from spikingjelly.activation_based import neuron

    for node in (
        neuron.IFNode(threshold, v_reset, step_mode=mode),
        neuron.LIFNode(2.0, True, threshold, v_reset, step_mode=mode),
        neuron.LIFNode(3.0, False, threshold, v_reset, step_mode=mode),
        neuron.ParametricLIFNode(1.7, True, threshold, v_reset, step_mode=mode),
        neuron.ParametricLIFNode(2.2, False, threshold, v_reset, step_mode=mode),
    ):
        known = libraries.recognise("node", node.double().eval())
        x = torch.from_numpy(ties(known.spec))
        with torch.no_grad():
            fired = node(x) if mode == "m" else torch.stack([node(step) for step in x])
        assert known.calls == {"s": "step", "m": "window"}[mode]
        np.testing.assert_array_equal(fi := fire(known.spec, x.numpy()), fired.bool().numpy())
        assert 0.05 < fi.mean() < 0.95


def test_strict_and_inclusive_neurons_part_at_their_threshold():
    import snntorch
    from spikingjelly.clock_driven import neuron

    inclusive = libraries.recognise("a", neuron.IFNode()).spec
    strict = libraries.recognise("b", snntorch.Leaky(beta=1.0)).spec
    at_it = np.ones((1, 1))
    assert fire(inclusive, at_it).all()
    assert not fire(strict, at_it).any()


class OwnLIF(nn.Module):
    """A user's neuron over [T, N, ...]: decays by 0.6, fires above 0.9, is set to 0."""

    theta = 0.9

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v, spikes = torch.zeros_like(x[0]), []
        for step in x:
            v = v * 0.6 + step
            spikes.append((v > self.theta).to(x.dtype))
            v = v * (1 - spikes[-1])
        return torch.stack(spikes)


def test_a_neuron_of_ones_own_is_registered(monkeypatch):
    monkeypatch.setattr(libraries, "_registered", {})
    network = own.awake(own.Window(*(OwnLIF() for _ in range(4))))
    with pytest.raises(BadInput, match="Window has no spiking neurons that are known; register its own"):
        adopt(network, CONTRACT, windows(), layout="TN")
    libraries.register(OwnLIF, lambda lif: NeuronSpec.linear(decay=0.6, threshold=lif.theta, strict=True))
    found = adopt(network, CONTRACT, windows(), layout="TN")
    assert found.dialect == "own"
    with torch.no_grad():
        x = torch.from_numpy(windows(2, seed=3))
        torch.testing.assert_close(found.model(x), network(x.transpose(0, 1)).mean(0))


@pytest.mark.parametrize(
    "wrong",
    [
        NeuronSpec.linear(decay=0.59, threshold=0.9, strict=True),
        NeuronSpec.linear(decay=0.6, threshold=0.9, strict=False),
        NeuronSpec.linear(decay=0.6, threshold=0.9, strict=True, reset="soft"),
        NeuronSpec.linear(decay=0.6, threshold=0.91, strict=True),
    ],
)
def test_wrong_constants_are_found(wrong, monkeypatch):
    """Even those that the data does not show: the neurons also run alone, on currents that meet their threshold."""
    monkeypatch.setattr(libraries, "_registered", {})
    libraries.register(OwnLIF, wrong)
    network = own.awake(own.Window(*(OwnLIF() for _ in range(4))))
    with pytest.raises(ParityNotMet, match=r"'n1' does not do what its constants say \(own.*at (time )?step \d+"):
        adopt(network, CONTRACT, windows(), layout="TN")


def spikingjelly_nodes() -> list[nn.Module]:
    return own.activation_based("m")


def altered() -> nn.Module:
    from spikingjelly.activation_based import neuron

    class Doubled(neuron.LIFNode):
        def neuronal_charge(self, x: torch.Tensor) -> None:
            super().neuronal_charge(2 * x)

    return Doubled(step_mode="m")


def synaptic() -> nn.Module:
    import snntorch

    return snntorch.Synaptic(alpha=0.9, beta=0.8, init_hidden=True)


def current_based() -> nn.Module:
    from norse.torch.module.lif import LIFCell

    return LIFCell()


def exponential() -> nn.Module:
    from spikingjelly.activation_based import neuron

    return neuron.EIFNode(step_mode="m")


def many_betas() -> nn.Module:
    import snntorch

    return snntorch.Leaky(beta=torch.linspace(0.1, 0.9, 6), init_hidden=True)


def undelayed() -> nn.Module:
    import snntorch

    return snntorch.Leaky(beta=0.9, reset_delay=False, init_hidden=True)


@pytest.mark.parametrize(
    ("neuron", "message"),
    [
        (altered, "made from SpikingJelly's classes but is none of them; register it"),
        (exponential, "of SpikingJelly's modules with a state IFNode, LIFNode, ParametricLIFNode can be exported"),
        (synaptic, "of snnTorch's neurons Leaky can be exported"),
        (current_based, "it has a synaptic current beside its membrane"),
        (many_betas, "its beta has 6 values; all neurons of a layer must share one"),
        (undelayed, "reset by subtraction without delay is not supported"),
    ],
)
def test_what_cannot_be_exact_is_refused(neuron, message):
    network = own.Window(neuron(), *spikingjelly_nodes()[1:])
    with pytest.raises(BadInput, match=rf"the neuron 'n1' \([\w.]+\) cannot be exported: .*{message}"):
        adopt(network, CONTRACT, windows(), layout="TN")


class Recurrent(nn.Module):
    def __init__(self, lif: nn.Module) -> None:
        super().__init__()
        self.fc, self.back, self.lif = nn.Linear(128, 8), nn.Linear(8, 8), lif

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s, fired = torch.zeros(x.shape[1], 8, dtype=x.dtype), []
        for frame in x:
            s = self.lif(self.fc(frame.flatten(1)) + self.back(s))
            fired.append(s)
        return torch.stack(fired)


class Membrane(nn.Module):
    def __init__(self, lif: nn.Module) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(128, 8), lif

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem, seen = None, []
        for frame in x:
            _, mem = self.lif(self.fc(frame.flatten(1)), mem)
            seen.append(mem)
        return torch.stack(seen)


class Shared(nn.Module):
    def __init__(self, lif: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2, self.a, self.b = nn.Linear(128, 8), nn.Linear(8, 8), lif, lif

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.fc2(self.a(self.fc1(x.flatten(2)))))


def test_structures_that_cannot_be_exported_are_refused(tmp_path):
    import snntorch
    from spikingjelly.activation_based import neuron

    def exported(network: nn.Module) -> None:
        pipeline.export(
            pipeline.Request(model=own.awake(network), shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx")
        )

    with pytest.raises(BadInput, match="a spiking layer is recurrent: its current depends on its own spikes"):
        exported(Recurrent(neuron.LIFNode()))
    with pytest.raises(BadInput, match=r"the network uses the membrane of 'net\.lif'; only its spikes can be exported"):
        exported(Membrane(snntorch.Leaky(beta=0.9)))
    with pytest.raises(BadInput, match="the neuron 'b' is the same module as 'a'; give each layer its own neuron"):
        exported(Shared(neuron.LIFNode(step_mode="m")))
    assert not list(tmp_path.iterdir())


def test_the_layout_must_fit():
    network = own.awake(own.Window(*own.activation_based("m")))
    with pytest.raises(BadInput, match=r"the network fails on windows of shape \(4, 2, 8, 8\): .*; see --shape"):
        adopt(network, CONTRACT, windows(), layout="NT")
    with pytest.raises(BadInput, match="layout TN is of frames; images are always"):
        adopt(network, InputContract.of((2, 8, 8)), windows()[:, 0], layout="TN")
    with pytest.raises(BadInput, match=r"windows are T,P,H,W \(frames\) or C,H,W \(images\), not 4,2"):
        InputContract.of((4, 2))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("nothing", "--model nothing is not MODULE:FACTORY, such as mypackage.networks:build"),
        ("no_such_module:build", "importing no_such_module fails: ModuleNotFoundError"),
        ("math:build", "--model math:build: math has no function or class build"),
        ("math:pi", "math has no function or class pi"),
        ("os:getcwd", r"getcwd\(\) returns a str, not a torch.nn.Module"),
        ("math:sqrt", r"sqrt\(\) fails: TypeError"),
        ("sys:exit", r"exit\(\) fails: SystemExit"),
    ],
)
def test_factories_that_are_none(said, message):
    with pytest.raises(BadInput, match=message):
        from_factory(said)


class Returning(nn.Module):
    """A spiking layer whose output is arranged as a test wants it."""

    def __init__(self, arranged) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron

        self.fc, self.lif, self.arranged = nn.Linear(128, 6), neuron.IFNode(step_mode="m"), arranged

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.arranged(self.lif(self.fc(x.flatten(2))))


@pytest.mark.parametrize("time_steps", [1, 2, 3])  # 2 is also the number of windows
@pytest.mark.parametrize(
    ("arranged", "per_step"),
    [
        (lambda s: s, True),
        (lambda s: s.transpose(0, 1), True),
        (lambda s: s.mean(0), False),
        (lambda s: (s.mean(0), "more"), False),
    ],
)
def test_answers_may_be_arranged_in_many_ways(arranged, per_step, time_steps):
    network = own.awake(Returning(arranged))
    contract = InputContract.of((time_steps, 2, 8, 8))
    x = np.random.default_rng(0).poisson(1.0, (2, *contract.shape)).astype(np.float32)
    found = adopt(network, contract, x, layout="TN")
    with torch.no_grad():
        rates = network.lif(network.fc(torch.from_numpy(x).transpose(0, 1).flatten(2))).mean(0)
        torch.testing.assert_close(found.model(torch.from_numpy(x)), rates)
    assert len(found.classes) == 6


@pytest.mark.parametrize(
    ("arranged", "message"),
    [
        (lambda s: s.sum(), r"the network returns shape \[\] for windows of 4 steps; it must return \[N, classes\]"),
        (lambda s: s.mean(0).T, r"the network returns shape \[6, 3\]"),
        (
            lambda s: {"spikes": s},
            "the network returns a dict; it must return a tensor, or a tuple that",
        ),
        (lambda s: s.mean(0) + s.mean(), "the network answers otherwise for a window alone"),
    ],
)
def test_answers_of_other_shapes_are_refused(arranged, message):
    with pytest.raises(BadInput, match=message):
        adopt(own.awake(Returning(arranged)), CONTRACT, windows(), layout="TN")


def test_windows_must_not_change_with_their_batch():
    class Mixed(own.Window):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x - x.mean(dim=1, keepdim=True))

    network = own.awake(Mixed(*own.activation_based("m")))
    with pytest.raises(BadInput, match="'n1' fires otherwise in a window alone: windows must not"):
        adopt(network, CONTRACT, windows(), layout="TN")


class OwnStep(nn.Module):
    """A user's neuron for one time step, which keeps its membrane until it is reset."""

    v: torch.Tensor | float = 0.0

    def reset(self) -> None:
        self.v = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.v = self.v * 0.6 + x
        spikes = (self.v > 0.9).to(x.dtype)
        self.v = self.v * (1 - spikes)
        return spikes


def test_a_neuron_of_ones_own_may_keep_a_state(monkeypatch):
    monkeypatch.setattr(libraries, "_registered", {})
    libraries.register(OwnStep, NeuronSpec.linear(decay=0.6, threshold=0.9, strict=True), calls="step")
    network = own.awake(own.Step(*(OwnStep() for _ in range(4))))
    x = torch.from_numpy(windows(2, seed=3))
    with torch.no_grad():
        rates = torch.stack([network(x[:, t]) for t in range(own.T)]).mean(0)
        found = adopt(network, CONTRACT, windows(), layout="step")
        torch.testing.assert_close(found.model(x), rates)


class Branching(own.Window):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if x.sum() > 3 else 2 * x)


class Exotic(own.Window):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + torch.linalg.eigvals(torch.eye(2, dtype=x.dtype)).real.sum())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Branching, "the network looks at the values of tensors, which a model cannot: "),
        (Exotic, "torch.onnx cannot export the network: .*linalg_eig"),
    ],
)
def test_what_torch_cannot_export_is_said_in_a_line(network, message, tmp_path):
    model = own.awake(network(*own.activation_based("m")))
    with pytest.raises(BadInput, match=message) as caught:
        pipeline.export(pipeline.Request(model=model, shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx"))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
