"""Networks as users write them: neurons of the real libraries are recognised, replaced and proven."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import Request
from tcja_exporters import libraries
from tcja_exporters.user_models.conversion import convert
from tcja_exporters.user_models.factory import from_factory
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.neuron import NeuronSpec, fire

from ..peers import own

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


QUICK = ("SpikingJelly activation_based, windows", "snnTorch, hidden states", "norse, loop")
"""One of each library and of each layout."""


@pytest.mark.tensorrt
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in own.NETWORKS]
)
def test_it_is_exported_and_matches(name, tmp_path):
    network, layout = made(name)
    np.savez(tmp_path / "data.npz", frames=windows(6))
    request = Request(
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


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("name", list(own.NETWORKS))
def test_it_is_exported_in_lower_precision(name, precision, tmp_path):
    network, layout = made(name)
    np.savez(tmp_path / "data.npz", frames=windows(6))
    request = Request(
        model=network,
        layout=layout,
        data=tmp_path / "data.npz",
        out=tmp_path / "own.bundle",
        target="tensorrt-rtx",
        precision=precision,
        keep=("nothing",),
    )
    manifest, result = pipeline.export(request)
    assert result.met
    assert precision in {weight.type for weight in manifest.weights}
    (info,) = manifest.engines.values()
    assert info.products[{"fp16": "HALF", "int8": "INT8"}[precision]] > 0


@pytest.mark.parametrize("name", list(own.NETWORKS))
def test_a_stale_membrane_changes_nothing(name):
    network, layout = made(name)
    fresh = convert(network, CONTRACT, windows(), layout=layout)
    x = torch.from_numpy(windows(3, seed=1))
    network.train()
    network(x[:, 0] if layout == "step" else x.transpose(0, 1))  # with gradients, and without a reset
    network.eval()
    stale = convert(network, CONTRACT, windows(), layout=layout)
    with torch.no_grad():
        assert torch.equal(stale.model(x), fresh.model(x))
        assert torch.equal(stale.model(x), fresh.model(x))  # nor does a run of ours


@pytest.mark.slow
@pytest.mark.releases
def test_all_of_this_with_spikingjelly_2():
    """The second release, which cannot be installed beside the first, in a process of its own."""
    if not SECOND.exists():
        pytest.skip("SpikingJelly 2 is not at hand; make test-all installs it")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "activation_based", __file__],
        env={**os.environ, "PYTHONPATH": str(SECOND)},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stdout
    assert "8 passed" in done.stdout


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
        convert(network, CONTRACT, windows(), layout="TN")
    libraries.register(OwnLIF, lambda lif: NeuronSpec.linear(decay=0.6, threshold=lif.theta, strict=True))
    found = convert(network, CONTRACT, windows(), layout="TN")
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
        convert(network, CONTRACT, windows(), layout="TN")


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
        convert(network, CONTRACT, windows(), layout="TN")


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
            Request(model=own.awake(network), shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx")
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
    with pytest.raises(BadInput, match=r"the network fails on windows of shape \(4, 2, 8, 8\): .*; see `shape`"):
        convert(network, CONTRACT, windows(), layout="NT")
    with pytest.raises(BadInput, match="layout TN is of frames; images are always"):
        convert(network, InputContract.of((2, 8, 8)), windows()[:, 0], layout="TN")
    with pytest.raises(BadInput, match=r"`shape` must be T,P,H,W \(frames\) or C,H,W \(images\), not 4,2"):
        InputContract.of((4, 2))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("nothing", "`model` nothing is not MODULE:FACTORY, such as mypackage.networks:build"),
        ("no_such_module:build", "importing no_such_module fails: ModuleNotFoundError"),
        ("math:build", "`model` math:build: math has no function or class build"),
        (
            "mynet.py:build",
            "mynet.py is not a module's name but a file's; say mynet:build, in the folder where it is found",
        ),
        ("./nets/mynet:build", "./nets/mynet is not a module's name but a file's; say nets.mynet:build"),
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
    found = convert(network, contract, x, layout="TN")
    with torch.no_grad():
        rates = network.lif(network.fc(torch.from_numpy(x).transpose(0, 1).flatten(2))).mean(0)
        torch.testing.assert_close(found.model(torch.from_numpy(x)), rates)
    assert len(found.classes) == 6


@pytest.mark.parametrize(
    ("arranged", "message"),
    [
        (lambda s: s.sum(), r"the network returns shape \[\] for windows of 4 steps; it must return \[N, classes\]"),
        (lambda s: s.mean(0).T, r"the network returns shape \[6, 4\]"),
        (
            lambda s: {"spikes": s},
            "the network returns a dict; it must return a tensor, or a tuple that",
        ),
        (lambda s: s.mean(0) + s.mean(), "the network answers otherwise for a window alone"),
        (lambda s: s.mean((0, 2)), r"the network returns shape \[4\] for windows of 4 steps; it must return \[N"),
        (lambda s: s.mean(0)[:, :0], r"the network returns shape \[4, 0\], which is empty; it must return \[N, cl"),
        (lambda s: s.mean(0) > 0.3, "the network returns bool; return floating-point scores"),
        (lambda s: s.sum(0).argmax(1), "the network returns int64; return floating-point scores"),
        (lambda s: tuple(s[:0]), "the network returns an empty tuple; it must return a tensor"),
        (lambda s: s.mean(0) / 0, "the network's output holds NaN or infinite values"),
        (
            lambda s: s.permute(1, 2, 0),
            r"returns \[N, 6, 4\] for 4 time steps, its time axis last; return \[N, T, classe",
        ),
        (
            lambda s: s[..., :4].permute(1, 2, 0),
            r"returns \[N, 4, 4\], of which either axis could be the 4 time steps; return \[T, N, classes\], which is",
        ),
        (
            lambda s: list(s.unbind()),
            r"returns 4 tensors of shape \[4, 6\]; if they are of the time steps, return torch.stack\(outputs, 1\)",
        ),
        (lambda s: s.unbind(), r"returns 4 tensors of shape \[4, 6\]; if they are of the time steps"),
        (
            lambda s: (s.mean(0), s.mean(0)[:, :3]),
            r"returns tensors of shapes \[4, 6\] and \[4, 3\], and the latter, which is no spiking layer's state",
        ),
    ],
)
def test_answers_of_other_shapes_are_refused(arranged, message):
    with pytest.raises(BadInput, match=message):
        convert(own.awake(Returning(arranged)), CONTRACT, windows(), layout="TN")


def test_states_after_the_answer_are_left_out_and_it_is_said():
    said = "its forward returns 3 things, of which the first is the answer"
    found = convert(own.awake(Returning(lambda s: (s, s[-1], {"more": s}))), CONTRACT, windows(), layout="TN")
    assert said in found.evidence
    found = convert(own.awake(Returning(lambda s: s)), CONTRACT, windows(), layout="TN")
    assert not any("of which the first" in line for line in found.evidence)


class Altered(own.Window):
    """A network that does something to its windows."""

    def __init__(self, alter) -> None:
        super().__init__(*own.activation_based("m"))
        self.alter = alter

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.alter(x))


@pytest.mark.parametrize(
    "alter",
    [lambda x: x - x.mean(dim=1, keepdim=True), lambda x: x / x.max(), lambda x: x / x.sum(1, keepdim=True).max()],
)
@pytest.mark.parametrize("inputs", [windows(), windows(1), np.repeat(windows(1), 2, axis=0)], ids=["3", "1", "equal"])
def test_windows_must_not_change_with_their_batch(alter, inputs):
    with pytest.raises(BadInput, match="'n1' fires otherwise in a window alone: windows must not"):
        convert(own.awake(Altered(alter)), CONTRACT, inputs, layout="TN")


@pytest.mark.parametrize(
    "alter",
    [
        lambda x: (torch.rand_like(x) < x).to(x),
        lambda x: nn.functional.dropout(x, 0.5),
        lambda x: torch.bernoulli(x % 1),
    ],
)
def test_random_networks_are_refused(alter):
    """Even where the windows at hand, in whole numbers, leave nothing to chance."""
    with pytest.raises(BadInput, match="the network draws random numbers, so no two runs agree; take that out"):
        convert(own.awake(Altered(alter)), CONTRACT, windows(), layout="TN")


def test_random_operations_that_did_not_show_are_found_in_the_graph(tmp_path):
    network = own.awake(Altered(lambda x: x + (torch.rand_like(x) - 2).relu()))
    with pytest.raises(
        BadInput, match=r"the network draws random numbers \(net/RandomUniformLike\), so no two runs agree"
    ):
        pipeline.export(Request(model=network, shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx"))


class Remembering(own.Step):
    trace: torch.Tensor | float = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.trace = self.trace * 0.5 + x
        return super().forward(self.trace)


def test_states_besides_the_neurons_are_refused():
    network = own.awake(Remembering(*own.activation_based("s")))
    with pytest.raises(BadInput, match="answers otherwise when the same windows come again: it keeps a state between"):
        convert(network, CONTRACT, windows(), layout="step")


def test_windows_are_handed_over_as_a_loader_does_and_stay_as_they_are():
    inputs = windows()
    before = inputs.copy()
    network = own.awake(Altered(lambda x: x - 0.5))
    plain = convert(network, CONTRACT, inputs, layout="TN")
    network.alter = lambda x: x.view(-1).sub_(0.5).view(x.shape)
    found = convert(network, CONTRACT, inputs, layout="TN")
    with torch.no_grad():
        x = torch.from_numpy(inputs)
        assert torch.equal(found.model(x[:1]), plain.model(x[:1]))
    np.testing.assert_array_equal(inputs, before)


def holding(attribute: object) -> Altered:
    network = own.awake(Altered(lambda x: x))
    network.held = attribute
    return network


def masked() -> Altered:
    network = own.awake(Altered(lambda x: x * network.mask))
    network.mask = torch.linspace(0, 2, 64).view(8, 8)
    return network


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            lambda: own.awake(Altered(lambda x: x.float())),
            r"runs in float32 only, but the proof runs in float64 \(RuntimeError: .*; in place of a fixed type use "
            r"that of its weights: x.to\(self.conv.weight.dtype\) for x.float\(\)",
        ),
        (masked, r"a tensor of the network \('mask'\) stays on a device of its own; make what it holds a buffer"),
        (
            lambda: own.awake(Altered(lambda x: x + torch.ones(8, device="cpu"))),
            r"a tensor of the network \(made in its forward\) stays on .*, and what forward makes with device=x.device",
        ),
        (
            lambda: holding(threading.Lock()),
            "'held' of the network cannot be copied .*_thread.lock' object.; take it out",
        ),
        (
            lambda: holding(torch.ones(1, requires_grad=True) * 2),
            r"'held' of the network cannot be copied .*detach\(\)",
        ),
    ],
)
def test_what_a_network_must_not_hold_or_fix_is_named(network, message):
    with pytest.raises(BadInput, match=message):
        convert(network(), CONTRACT, windows(), layout="TN")


class Reading(Returning):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.lif.v


class Again(Returning):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lif(super().forward(x))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Reading,
            "the network uses more of its neurons than their spikes, which cannot be exported: .* attribute 'v'",
        ),
        (Again, "the neuron 'lif' is called 2 times in a window; give each call its own neuron"),
    ],
)
def test_neurons_that_are_used_otherwise_are_refused(network, message):
    with pytest.raises(BadInput, match=message):
        convert(own.awake(network(lambda s: s)), CONTRACT, windows(), layout="TN")


def test_a_neuron_alone_is_no_network():
    with pytest.raises(BadInput, match=r"the network is a neuron alone \(spikingjelly.IFNode\); put it into a network"):
        convert(spikingjelly_nodes()[0], CONTRACT, windows(), layout="TN")


def test_a_wrong_layout_is_not_taken_for_a_batch_that_matters():
    contract = InputContract.of((2, 2, 8, 8))
    network = own.awake(Returning(lambda s: s))
    with pytest.raises(BadInput, match="the neuron 'lif' runs for 3 time steps, not 2; see `layout`"):
        convert(network, contract, np.ones((2, 2, 2, 8, 8), np.float32), layout="NT")
    with pytest.raises(BadInput, match="layout XX is none of NT, TN, step"):
        convert(network, contract, np.ones((2, 2, 2, 8, 8), np.float32), layout="XX")


def test_images_in_whole_numbers_are_divided_and_it_is_said():
    class Image(Returning):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.expand(4, *x.shape)).mean(0)

    inputs = np.random.default_rng(0).uniform(size=(2, 2, 8, 8)).astype(np.float32)
    found = convert(own.awake(Image(lambda s: s)), InputContract.of((2, 8, 8)), inputs)
    assert "images are in [0, 1]: those in whole numbers are divided by 255" in found.evidence


class Dead(own.Window):
    """Two spiking heads, of which one is not used."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.n1(own.merged(self.conv1, x))
        x = self.n3(self.fc1(own.merged(self.conv2, x).flatten(2)))
        self.n2(self.fc2(x))
        return self.n4(self.fc2(x))


def test_a_spiking_layer_that_leads_nowhere_is_named(tmp_path):
    network = own.awake(Dead(*own.activation_based("m")))
    with pytest.raises(
        BadInput, match=r"the spiking layer 'net\.n2' has no part in the network's answer, so it is not in"
    ):
        pipeline.export(Request(model=network, shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx"))


def test_neurons_that_are_never_called_do_no_harm(tmp_path):
    network = own.awake(own.Window(*own.activation_based("m")))
    network.spare = own.activation_based("m")[0]
    request = Request(model=network, shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx")
    manifest, _ = pipeline.export(request)
    assert not any("spare" in layer.name for layer in manifest.layers)


class Layered(own.Window):
    """With a layer on each step's features."""

    def __init__(self, layer: nn.Module, fold: int) -> None:
        super().__init__(*own.activation_based("m"))
        self.layer, self.fold = layer, fold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = own.merged(self.layer, self.n1(own.merged(self.conv1, x)))
        x = self.n2(own.merged(self.conv2, x[..., : 8 * self.fold : self.fold, : 8 * self.fold : self.fold]))
        return self.n4(self.fc2(self.n3(self.fc1(x.flatten(2)))))


@pytest.mark.parametrize(
    ("layer", "fold"),
    [
        (nn.GroupNorm(2, 6), 1),
        (nn.GroupNorm(1, 6, affine=False), 1),
        (nn.Upsample(scale_factor=2), 2),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 2),
    ],
)
def test_layers_whose_models_have_untyped_parts(layer, fold, tmp_path):
    network = own.awake(Layered(layer, fold))
    request = Request(model=network, shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx")
    assert pipeline.export(request)[1].met


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
        found = convert(network, CONTRACT, windows(), layout="step")
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
        (Branching, "the network's forward depends on the values of tensors, which cannot be exported: "),
        (Exotic, "torch.onnx cannot export the network: .*linalg_eig"),
    ],
)
def test_what_torch_cannot_export_is_said_in_a_line(network, message, tmp_path):
    model = own.awake(network(*own.activation_based("m")))
    with pytest.raises(BadInput, match=message) as caught:
        pipeline.export(Request(model=model, shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx"))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
