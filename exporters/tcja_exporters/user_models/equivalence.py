"""Proves that a converted network does what the user's network does: in float64, every spike must agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tcja_exporters.libraries import reset
from tcja_exporters.libraries.recognition import Recognised
from tcja_exporters.modules.neurons import SteppedNeuron, spiking_neurons
from tcja_exporters.user_models.readout import answer_of, check_other_tensors, choose_readout
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.evidence.trace import Spikes
from tcja_runtime.neuron import fire

OUTPUT = 1e-9
"""The largest difference of outputs in float64 that is allowed where every spike agrees."""


@dataclasses.dataclass(frozen=True)
class Proven:
    """What the proof found out about a network.

    Attributes:
        steps: T.
        readout: the module that turns what the network returns into one tensor a window [N, ...].
        returned: the number of things that its forward returns.
    """

    steps: int
    readout: nn.Module
    returned: int


@dataclasses.dataclass(frozen=True)
class _Run:
    """One run of a network.

    Attributes:
        output: its output, a numpy array.
        spikes: the spikes [T, N, ...] of each layer, by name.
        returned: all that its forward returned, in the last call.
    """

    output: Any
    spikes: dict[str, Spikes]
    returned: Any

    def agrees(self, other: _Run) -> bool:
        """Whether all spikes are equal, and the outputs up to OUTPUT."""
        return (
            self.output.shape == other.output.shape
            and np.allclose(self.output, other.output, rtol=0.0, atol=OUTPUT, equal_nan=True)
            and self.spikes.keys() == other.spikes.keys()
            and all(np.array_equal(fired, other.spikes[layer]) for layer, fired in self.spikes.items())
        )


def prove(
    original: Driven, replaced: Driven, inputs: Floats, found: Mapping[str, Recognised], contract: InputContract
) -> Proven:
    """Run both networks in float64 and compare every spike.

    Args:
        original: the user's network.
        replaced: the same network with replaced neurons.
        inputs: windows [N, *contract.shape], float32.
        found: the original neurons, by the name of their module.
        contract: the input.

    Raises:
        BadInput: the network fails, is not deterministic, or returns something that cannot be exported.
        ParityNotMet: a spike or the output differs.
    """
    batch = np.concatenate([inputs, _strange(inputs)])
    together = _observed(original, batch, found)
    steps = _time_steps(together.spikes, contract)
    _check_repeats(together, lambda seed: _observed(original, batch, found, seed))
    alone = _observed(original, inputs[:1], found)
    _time_steps(alone.spikes, contract)
    if not np.isfinite(alone.output).all():
        raise BadInput("the network's output holds NaN or infinite values; look for a division by zero in it")
    check_other_tensors(
        together.returned, {fired.shape[2:] for fired in together.spikes.values()}, by_step=original.by_step
    )
    readout = choose_readout(alone.output.shape, together.output.shape, steps)
    _check_batch_has_no_effect(alone, together, readout)

    ours = _observed(replaced, batch, found)
    _check_same(together.spikes, ours.spikes, found)
    for layer, fired in together.spikes.items():
        _check_neuron(layer, original.net.get_submodule(layer), found[layer], fired.shape)
    same = ours.output.shape == together.output.shape
    difference = float(np.abs(ours.output - together.output).max()) if same else np.inf
    if not difference <= OUTPUT:
        raise ParityNotMet(
            f"all spikes agree after the neurons were replaced, but the output differs by {difference:.2g}: the "
            "network answers from more than its spikes"
        )
    several = isinstance(together.returned, (tuple, list))
    return Proven(steps, readout, len(together.returned) if several else 1)


def _strange(inputs: Floats) -> Floats:
    """A window [1, ...] unlike the others: the last one mirrored, times three, plus 1/3.

    In a batch with it, the statistics of a batch norm in training mode change the other windows' results. Its fractions
    show random spikes that are drawn from intensities, which whole numbers can hide.
    """
    return np.asarray(3 * inputs[-1:, ..., ::-1] + 1 / 3, np.float32)


def _check_repeats(first: _Run, again: Callable[[int], _Run]) -> None:
    """Refuse a network whose second run differs from the first.

    Args:
        first: the first run, with seed 0.
        again: runs the network again on the same windows, with the given seed.
    """
    if first.agrees(again(1)):
        return
    if first.agrees(again(0)):
        raise BadInput(
            "the network draws random numbers, so no two runs agree; take that out of its forward (a random encoding "
            "belongs before the network; functional.dropout needs training=self.training)"
        )
    raise BadInput(
        "the network answers otherwise when the same windows come again: it keeps a state between windows besides its "
        "neurons' (or draws random numbers of its own); begin each window anew"
    )


def _check_batch_has_no_effect(alone: _Run, together: _Run, readout: nn.Module) -> None:
    """Refuse a network that treats a window in a batch differently from the same window alone."""
    for layer, fired in together.spikes.items():
        if not np.array_equal(fired[:, :1], alone.spikes[layer]):
            raise BadInput(f"'{layer}' fires otherwise in a window alone: windows must not change with their batch")
    one, several = (readout(torch.from_numpy(run.output))[0] for run in (alone, together))
    if not (one - several).abs().max() <= OUTPUT:
        raise BadInput("the network answers otherwise for a window alone: windows must not change with their batch")


class Driven(nn.Module):
    """A user's network behind a fixed input layout: it takes batches [N, T, ...] or images [N, C, H, W].

    Each call starts from rest.

    Attributes:
        net: the user's network.
        by_step: whether `net` is called once a time step.
        readout: what is applied to the output of `net`; set it once it is known.
    """

    def __init__(self, net: nn.Module, contract: InputContract, layout: str) -> None:
        super().__init__()
        self.net = net
        self._steps = contract.shape[0] if contract.name == "frames" else 0
        self._layout = layout
        self.by_step = self._steps > 0 and layout == "step"
        self.readout: nn.Module = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        answer: Tensor = self.readout(self._run(inputs))
        return answer

    def _run(self, inputs: Tensor) -> Tensor:
        for module in self.net.modules():
            if isinstance(module, SteppedNeuron):
                module.restart()
        # Contiguous, as a data loader returns them, and a copy, because forward may write into it.
        inputs = (inputs.transpose(0, 1) if self._layout == "TN" else inputs).clone(
            memory_format=torch.contiguous_format
        )
        if self.by_step:
            return torch.stack([answer_of(self.net(inputs[:, t].contiguous())) for t in range(self._steps)])
        return answer_of(self.net(inputs))


def _observed(driven: Driven, inputs: Floats, found: Mapping[str, Recognised], seed: int = 0) -> _Run:
    """Run a network in float64, from rest, and record its spikes.

    Args:
        driven: the network.
        inputs: windows [N, ...].
        found: the neurons to record, by the name of their module.
        seed: the seed of torch's random numbers.
    """
    network = driven.double()
    reset(network)
    fired: dict[str, list[Tensor]] = {}
    returned: list[Any] = []

    def hook(name: str) -> Any:
        def observe(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            known = found[name]
            # Some libraries return float32 spikes for float64 inputs; the next layer would refuse them.
            spikes = (output[0] if known.pairs else output).double()
            window = spikes.movedim(known.time_axis, 0) if known.calls == "window" else spikes.unsqueeze(0)
            fired.setdefault(name, []).append(window)
            return (spikes, *output[1:]) if known.pairs else spikes

        return observe

    handles = [network.net.get_submodule(name).register_forward_hook(hook(name)) for name in found]
    handles.append(network.net.register_forward_hook(lambda _module, _inputs, output: returned.append(output)))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            output = network(torch.from_numpy(inputs).double())
    except BadInput:
        raise
    except Exception as error:  # a user's code can fail in any way
        failure: Exception | None = error
    else:
        failure = None
    finally:
        for handle in handles:
            handle.remove()
    if failure is not None:
        raise _failed(driven, inputs, failure) from failure
    for name, calls in fired.items():
        if found[name].calls == "window" and len(calls) > 1:
            raise BadInput(
                f"the neuron '{name}' is called {len(calls)} times in a window; give each call its own neuron"
            )
    return _Run(output.numpy(), {name: torch.cat(calls).bool().numpy() for name, calls in fired.items()}, returned[-1])


def _failed(driven: Driven, inputs: Floats, error: Exception) -> BadInput:
    """The error of a network that failed in float64: is it the type, the shape or the neurons?"""
    line = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    if spiking_neurons(driven):
        return BadInput(f"the network uses more of its neurons than their spikes, which cannot be exported: {line}")
    reset(driven)
    try:
        with torch.no_grad():
            driven.float()(torch.from_numpy(inputs))
    except Exception:  # it fails in float32 too
        return BadInput(f"the network fails on windows of shape {inputs.shape[1:]}: {line}; see `shape` and `layout`")
    return BadInput(
        f"the network runs in float32 only, but the proof runs in float64 ({line}); in place of a fixed type use "
        "that of its weights: x.to(self.conv.weight.dtype) for x.float(). Make tensors that it holds buffers"
    )


def _time_steps(spikes: Mapping[str, Spikes], contract: InputContract) -> int:
    """T, which all layers must have run for.

    Raises:
        BadInput: a layer ran for another number of steps.
    """
    counts = {name: len(fired) for name, fired in spikes.items()}
    steps = contract.shape[0] if contract.name == "frames" else next(iter(counts.values()), 0)
    for name, count in counts.items():
        if count != steps:
            raise BadInput(f"the neuron '{name}' runs for {count} time steps, not {steps}; see `layout`")
    return steps


def _check_same(theirs: Mapping[str, Spikes], ours: Mapping[str, Spikes], found: Mapping[str, Recognised]) -> None:
    """Compare the spikes of all layers, in the order in which the layers run.

    Raises:
        ParityNotMet: a layer differs; the message names the layer and the first step.
    """
    for name, expected in theirs.items():
        fired = ours.get(name)
        if fired is None or fired.shape != expected.shape:
            raise ParityNotMet(f"'{name}' runs otherwise once its neurons are replaced")
        differs = (fired != expected).reshape(len(expected), -1)
        if differs.any():
            step = int(differs.any(axis=1).argmax())
            raise ParityNotMet(
                f"'{name}' does not do what its constants say ({found[name].library}): in float64 "
                f"it first fires otherwise at time step {step + 1}, in {int(differs[step].sum())} of "
                f"{differs.shape[1]} neurons; register a neuron of its own"
            )


def _check_neuron(name: str, module: Any, known: Recognised, shape: tuple[int, ...]) -> None:
    """Compare one neuron of a library, alone, with the neuron of the same constants.

    The currents are multiples of half its threshold, so that the membrane often equals the threshold.

    Args:
        name: the name of its module.
        module: the library's neuron.
        known: what it was recognised as.
        shape: the shape of the currents [T, N, ...].

    Raises:
        ParityNotMet: a spike differs.
    """
    spec = known.spec
    halves = np.random.default_rng(0).integers(-4, 9, shape)
    current = torch.from_numpy(halves * (spec.threshold / 2 / (spec.gain or 1.0)))
    reset(module)
    with torch.no_grad():
        if known.calls == "window":
            output = module(current.movedim(0, known.time_axis))
            fired = (output[0] if known.pairs else output).movedim(known.time_axis, 0)
        else:
            steps, state = [], ()
            for x in current:
                output = module(x, *state)
                steps.append(output[0] if known.pairs else output)
                state = output[1:] if known.pairs and getattr(module, "init_hidden", False) is False else ()
            fired = torch.stack(steps)
    reset(module)
    wrong = (fired.bool().numpy() != fire(spec, current.numpy())).reshape(len(current), -1).any(axis=1)
    if wrong.any():
        raise ParityNotMet(
            f"'{name}' does not do what its constants say ({known.library}: {spec.charge_rule}, {spec.fire_rule}, "
            f"reset {spec.reset_rule}): alone, in float64, it first fires otherwise at step {int(wrong.argmax()) + 1}"
        )
