"""Registered neurons as people write them: a run shows how they are called and what they return."""

import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tcja_exporters import libraries
from tcja_exporters.modules.integer import IntegerSpec
from tcja_exporters.modules.neurons import Neuron, SpikingNeuron, SteppedNeuron
from tcja_exporters.user_models.conversion import convert
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.neuron import NeuronSpec

from ..peers.own import awake

T = 4
CONTRACT = InputContract.of((T, 2, 4, 4))


def inputs(n: int) -> np.ndarray:
    return np.random.default_rng(n).poisson(1.0, (n, *CONTRACT.shape)).astype(np.float32)


class Constants(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.beta, self.theta = nn.Parameter(torch.tensor(0.5)), 1.0

    def after(self, v: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
        v = x if v is None else self.beta * v + x
        spikes = (v > self.theta).to(x.dtype)
        return spikes, v * (1 - spikes)


class Stateful(Constants):
    """Keeps its membrane until it is reset."""

    v: Tensor | None = None

    def reset(self) -> None:
        self.v = None

    def forward(self, x: Tensor) -> Tensor:
        spikes, self.v = self.after(self.v, x)
        return spikes


class MultiSpike4(nn.Module):
    """Integer neurons as in Spike-driven Transformer V3: 0 to 4 spikes, divided by 4."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(torch.clamp(x, 0, 4)) / 4


class Buffered(Constants):
    """Keeps its membrane as a buffer, whose reset keeps the shape of the last batch."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mem", torch.zeros(1))

    def reset_mem(self) -> None:
        self.mem = torch.zeros_like(self.mem)

    def forward(self, x: Tensor) -> Tensor:
        spikes, self.mem = self.after(self.mem, x)
        return spikes


class Functional(Constants):
    """Takes and returns its membrane."""

    def init_mem(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.beta.dtype)

    def forward(self, x: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
        return self.after(mem, x)


class Swapped(Functional):
    def forward(self, x: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x, mem)[::-1]


class Tripled(Functional):
    def forward(self, x: Tensor, mem: Tensor) -> tuple[Tensor, ...]:
        spikes, mem = super().forward(x, mem)
        return spikes, mem, mem


class OverTime(Constants):
    """Takes all time steps, at an axis."""

    axis = 0

    def forward(self, x: Tensor) -> Tensor:
        v, fired = None, []
        for step in x.unbind(self.axis):
            spikes, v = self.after(v, step)
            fired.append(spikes)
        return torch.stack(fired, self.axis)


class BatchFirst(OverTime):
    axis = 1


class TimeLast(OverTime):
    axis = -1


class Flat(OverTime):
    """Takes time and batch in one axis."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unflatten(0, (T, -1))).flatten(0, 1)


class Unreset(Stateful):
    reset = None


class Graded(Stateful):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Dictionary(Stateful):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"spikes": super().forward(x)}


class Network(nn.Module):
    def __init__(self, neuron: type[nn.Module]) -> None:
        super().__init__()
        self.a, self.b, self.n1, self.n2 = nn.Linear(32, 16), nn.Linear(16, 3), neuron(), neuron()


class Looping(Network):
    """Calls its neurons in a loop, on [T, N, ...]; it starts them itself."""

    def forward(self, x: Tensor) -> Tensor:
        for neuron in (self.n1, self.n2):
            if getattr(neuron, "reset", None):
                neuron.reset()
        return torch.stack([self.n2(self.b(self.n1(self.a(frame.flatten(1))))) for frame in x])


class OneStep(Network):
    def forward(self, x: Tensor) -> Tensor:
        return self.n2(self.b(self.n1(self.a(x.flatten(1)))))


class Holding(Network):
    """Holds the membranes, and gives one by position and one by name; only the first call gets another kind."""

    def forward(self, x: Tensor) -> Tensor:
        first, second, fired = self.n1.init_mem(x.shape[1], 16), None, []
        for frame in x:
            spikes, first, *_ = self.n1(self.a(frame.flatten(1)), first)
            spikes, second, *_ = self.n2(self.b(spikes), mem=second)
            fired.append(spikes)
        return torch.stack(fired).sum(0)


class Windows(Network):
    def forward(self, x: Tensor) -> Tensor:
        return self.n2(self.b(self.n1(self.a(x.flatten(2)))))


class ChannelsThenTime(Network):
    def forward(self, x: Tensor) -> Tensor:
        s = self.n1(self.a(x.flatten(2)).transpose(1, 2)).transpose(1, 2)
        return self.n2(self.b(s).transpose(1, 2)).transpose(1, 2)


class Merged(Network):
    def forward(self, x: Tensor) -> Tensor:
        return self.n2(self.b(self.n1(self.a(x.flatten(0, 1).flatten(1))))).unflatten(0, x.shape[:2])


class Shared(Network):
    def forward(self, x: Tensor) -> Tensor:
        first = second = None
        for frame in x:
            spikes, first = self.n1(self.a(frame.flatten(1)), first)
            spikes, second = self.n1(self.b(spikes), second)
        return spikes


class SharedAlike(Shared):
    def __init__(self, neuron: type[nn.Module]) -> None:
        super().__init__(neuron)
        self.b = nn.Linear(16, 16)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(libraries, "_registered", {})

    def network(structure: type[Network], neuron: type[nn.Module], **options: object) -> nn.Module:
        libraries.register(
            neuron, lambda lif: NeuronSpec.linear(decay=lif.beta, threshold=lif.theta, strict=True), **options
        )
        return awake(structure(neuron))

    return network


WAYS = [
    (Looping, Stateful, "TN", SteppedNeuron),
    (OneStep, Stateful, "step", SpikingNeuron),
    (Looping, Buffered, "TN", SteppedNeuron),
    (Holding, Functional, "TN", SteppedNeuron),
    (Windows, OverTime, "TN", SpikingNeuron),
    (Windows, BatchFirst, "NT", SpikingNeuron),
    (ChannelsThenTime, TimeLast, "NT", SpikingNeuron),
]


@pytest.mark.parametrize(("structure", "neuron", "layout", "ours"), WAYS)
def test_the_usual_ways_to_write_a_neuron_work_without_options(structure, neuron, layout, ours, registered):
    network = registered(structure, neuron)
    found = convert(network, CONTRACT, inputs(2), layout=layout)
    assert {type(module) for module in found.model.modules() if isinstance(module, Neuron)} == {ours}
    x = torch.from_numpy(inputs(5))
    with torch.no_grad():
        libraries.reset(network := awake(structure(neuron)))
        given = [x[:, t] for t in range(T)] if layout == "step" else [x.transpose(0, 1) if layout == "TN" else x]
        expected = [network(part) for part in given]
        expected = torch.stack(expected).mean(0) if layout == "step" else expected[0]
        expected = expected if expected.ndim == 2 else expected.mean(0 if layout == "TN" else 1)
        assert expected.unique().numel() > 2
        torch.testing.assert_close(found.model(x), expected)


@pytest.mark.parametrize("batch", [1, 2, T])
def test_a_batch_of_as_many_windows_as_steps_changes_nothing(batch, registered):
    convert(registered(Windows, BatchFirst), CONTRACT, inputs(batch), layout="NT")


@pytest.mark.parametrize(
    ("structure", "neuron", "message"),
    [
        (
            Merged,
            Flat,
            r"'n1' returns \[8, 16\] for 2 windows of 4 time steps; time and batch are in one axis; a registered "
            r"neuron takes \[T, N, ...\], \[N, T, ...\], or one time step \[N, ...\] a call",
        ),
        (Holding, Swapped, r"'n1' returns its spikes second; it must return its spikes, or the pair \(spikes, state\)"),
        (Holding, Tripled, r"'n1' returns 3 values; it must return its spikes, or the pair \(spikes, state\)"),
        (Shared, Functional, r"'n1' is used for layers of the shapes \[3, 3\] and \[3, 16\]; give each layer its own"),
        (
            SharedAlike,
            Functional,
            "'n1' runs for 8 time steps, not 4; if several layers use it, give each layer its own neuron",
        ),
        (
            Looping,
            Unreset,
            r"gives another output when the same windows run again, and its registered neurons \('n1', 'n2'\) have no "
            r"method reset\(\); write one that sets their state to rest",
        ),
        (Looping, Graded, "'n1' returns other values than 0 and 1; it must return its spikes, or the pair"),
        (Looping, Dictionary, "'n1' returns a dict; it must return its spikes"),
    ],
)
def test_other_ways_are_named(structure, neuron, message, registered):
    with pytest.raises(BadInput, match=message):
        convert(registered(structure, neuron), CONTRACT, inputs(2), layout="TN")


def test_options_are_taken_as_they_are_given(registered):
    with pytest.raises(BadInput, match="the neuron 'n1' is called 4 times in a window; give each call its own neuron"):
        convert(registered(Looping, Stateful, calls="window"), CONTRACT, inputs(2), layout="TN")
    with pytest.raises((BadInput, ParityNotMet)):
        convert(registered(Windows, OverTime, time_axis=1), CONTRACT, inputs(2), layout="TN")


def test_an_image_network_repeats_its_image(registered):
    class Repeating(Looping):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.expand(3, *x.shape)).mean(0)

    found = convert(registered(Repeating, Stateful), InputContract.of((2, 4, 4)), inputs(2)[:, 0])
    assert found.time_steps == 3


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        (
            lambda lif: NeuronSpec.linear(decay=lif.decay, strict=True),
            r"'n1' \(tests.Stateful\) cannot be exported: the function that returns its constants fails: Attri"
            r"buteError: .* no attribute 'decay' \(.*test_usage.py, line \d+\)",
        ),
        (
            lambda _: NeuronSpec.linear(decay=torch.tensor([0.5, 0.6, 0.7]), strict=True),
            r"'n1' cannot be exported: the neuron's decay has the shape \[3\], which does not broadcast to",
        ),
        (lambda _: 0.5, "'n1' .* cannot be exported: the function that returns its constants fails: "),
        (lambda _: sys.exit(5), "the function that returns its constants fails: SystemExit: 5"),
    ],
)
def test_constants_that_cannot_be_read_are_named(constants, message, monkeypatch):
    monkeypatch.setattr(libraries, "_registered", {})
    libraries.register(Stateful, constants)
    with pytest.raises(BadInput, match=message):
        convert(awake(Looping(Stateful)), CONTRACT, inputs(2), layout="TN")


def test_a_replaced_neuron_has_all_methods_that_start_one():
    assert all(callable(getattr(SteppedNeuron, name)) for name in libraries.RESETS)


class Counting(nn.Module):
    """Two layers of integer neurons, on [T, N, ...], or on one time step."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(32, 16), nn.Linear(16, 3)
        self.n1, self.n2 = MultiSpike4(), MultiSpike4()

    def forward(self, x: Tensor) -> Tensor:
        return self.n2(self.b(self.n1(self.a(x.flatten(-3)))))


@pytest.mark.parametrize(("steps", "layout"), [(T, "TN"), (T, "step"), (1, "TN")])
def test_integer_neurons_are_registered(steps, layout, monkeypatch):
    monkeypatch.setattr(libraries, "_registered", {})
    libraries.register(MultiSpike4, IntegerSpec(most=4, size=4.0))
    network, windows = awake(Counting()), inputs(3)[:, :steps]
    found = convert(network, InputContract.of((steps, 2, 4, 4)), windows, layout=layout)
    x = torch.from_numpy(windows)
    with torch.no_grad():
        torch.testing.assert_close(found.model(x), network(x.transpose(0, 1)).mean(0))
    layers = [f"n{n}.spike{d}" for n in (1, 2) for d in range(1, 5)]
    assert [name for name, module in found.model.named_modules() if isinstance(module, Neuron)] == layers


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            IntegerSpec(most=3, size=4.0),
            "'n1' returns other values than 0 to 3, divided by 4; it must return its spikes",
        ),
        (IntegerSpec(most=4), "returns other values than 0"),
        (IntegerSpec(most=4, size=4.0, gain=1.01), "'n1' does not follow the equations of its constants"),
        (IntegerSpec(most=4, size=4.0, rounds_up=True), "'n1' does not follow the equations of its constants"),
    ],
)
def test_wrong_constants_of_integer_neurons_are_found(wrong, message, monkeypatch):
    """Halves are rounded to even numbers; the data may have none, but the neurons also run alone."""
    monkeypatch.setattr(libraries, "_registered", {})
    libraries.register(MultiSpike4, wrong)
    with pytest.raises((BadInput, ParityNotMet), match=message):
        convert(awake(Counting()), CONTRACT, 3 * inputs(3), layout="TN")
