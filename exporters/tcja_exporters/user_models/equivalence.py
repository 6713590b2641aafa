"""Proves that a converted network fires the same spikes as the user's network, in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tcja_exporters.libraries import reset
from tcja_exporters.libraries.recognition import Recognised
from tcja_exporters.modules.neurons import spiking_neurons
from tcja_exporters.user_models.driven import Driven
from tcja_exporters.user_models.readout import check_other_tensors, choose_readout
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.evidence.trace import Spikes
from tcja_runtime.neuron import fire

OUTPUT = 1e-9
"""The largest allowed difference of the outputs in float64. (Spikes may not differ at all.)"""


@dataclasses.dataclass(frozen=True)
class Proven:
    """Facts about a user's network that the proof found.

    Attributes:
        steps: the number of time steps, T.
        readout: the module that turns the output of the network into one tensor a window, [N, ...]; it averages over
            time where the output has a time axis.
        returned: the number of values that the network's forward returns: 2 for the pair (output, state).
    """

    steps: int
    readout: nn.Module
    returned: int


@dataclasses.dataclass(frozen=True)
class _Run:
    """One run of a network.

    Attributes:
        output: the output of the network, a numpy array.
        spikes: the spikes [T, N, ...] of each layer, by the layer's name.
        returned: the whole return value of the last call of the network's forward.
    """

    output: Any
    spikes: dict[str, Spikes]
    returned: Any

    def agrees(self, other: _Run) -> bool:
        """Whether all spikes are equal, and the outputs differ by at most OUTPUT."""
        return (
            self.output.shape == other.output.shape
            and np.allclose(self.output, other.output, rtol=0.0, atol=OUTPUT, equal_nan=True)
            and self.spikes.keys() == other.spikes.keys()
            and all(np.array_equal(fired, other.spikes[layer]) for layer, fired in self.spikes.items())
        )


def prove(
    original: Driven, replaced: Driven, inputs: Floats, found: Mapping[str, Recognised], contract: InputContract
) -> Proven:
    """Run both networks in float64, compare every spike, and return what was found out about the network.

    Args:
        original: the user's network.
        replaced: the same network with replaced neurons.
        inputs: windows [N, *contract.shape], float32.
        found: the recognised original neurons, by the name of their module.
        contract: the input of the network.

    Raises:
        BadInput: the network fails, is not deterministic, gives a window another output in another batch, or returns a
            value that cannot be exported.
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
            "output depends on more than the spikes"
        )
    several = isinstance(together.returned, (tuple, list))
    return Proven(steps, readout, len(together.returned) if several else 1)


def _strange(inputs: Floats) -> Floats:
    """Return a window [1, ...] unlike all inputs: the last input mirrored, times three, plus 1/3.

    It is added to the batch to find two faults. If a batch norm is in training mode, this window changes the results
    of the other windows. If the network draws random spikes from intensities, the fractions of this window show it;
    whole numbers can hide it.
    """
    return np.asarray(3 * inputs[-1:, ..., ::-1] + 1 / 3, np.float32)


def _check_repeats(first: _Run, again: Callable[[int], _Run]) -> None:
    """Check that a second run of the network equals the first.

    Args:
        first: the first run, with seed 0.
        again: a function that runs the network again on the same windows, with the given seed.

    Raises:
        BadInput: the runs differ.
    """
    if first.agrees(again(1)):
        return
    if first.agrees(again(0)):
        raise BadInput(
            "the network draws random numbers, so no two runs agree; remove the random numbers from its forward (put a "
            "random encoding before the network; give functional.dropout training=self.training)"
        )
    raise BadInput(
        "the network gives another output when the same windows run again: besides the state of its neurons it keeps a "
        "state between windows (or has its own random numbers); reset that state at the start of each window"
    )


def _check_batch_has_no_effect(alone: _Run, together: _Run, readout: nn.Module) -> None:
    """Check that the first window has the same spikes and output in a batch as alone.

    Raises:
        BadInput: the spikes or the output differ.
    """
    for layer, fired in together.spikes.items():
        if not np.array_equal(fired[:, :1], alone.spikes[layer]):
            raise BadInput(
                f"'{layer}' fires differently for a window alone and in a batch; "
                "the windows of a batch must be independent"
            )
    one, several = (readout(torch.from_numpy(run.output))[0] for run in (alone, together))
    if not (one - several).abs().max() <= OUTPUT:
        raise BadInput(
            "the output for a window alone differs from that in a batch: windows of a batch must be independent"
        )


def _observed(driven: Driven, inputs: Floats, found: Mapping[str, Recognised], seed: int = 0) -> _Run:
    """Run a network in float64, from rest; return its output and spikes.

    Args:
        driven: the network.
        inputs: windows [N, ...].
        found: the recognised neurons, whose spikes are recorded, by the name of their module.
        seed: the seed of torch's random numbers.

    Raises:
        BadInput: the network fails, or calls a neuron that takes whole windows more than once.
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
    """Return the error to raise for a network that failed in float64; it says if the type or the shape is the cause."""
    line = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    if spiking_neurons(driven):
        return BadInput(f"the network uses more than the spikes of its neurons, which cannot be exported: {line}")
    reset(driven)
    try:
        with torch.no_grad():
            driven.float()(torch.from_numpy(inputs))
    except Exception:  # it fails in float32 too
        return BadInput(f"the network fails on windows of shape {inputs.shape[1:]}: {line}; see `shape` and `layout`")
    return BadInput(
        f"the network runs in float32 only, but the proof runs in float64 ({line}); convert to the type of the "
        "weights, not to a fixed type: x.to(self.conv.weight.dtype), not x.float(). Register stored tensors as buffers"
    )


def _time_steps(spikes: Mapping[str, Spikes], contract: InputContract) -> int:
    """Return the number of time steps T, for which every layer must have run.

    Raises:
        BadInput: a layer ran for another number of time steps.
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
        ParityNotMet: a spike differs; the message names the first such layer and its first such time step.
    """
    for name, expected in theirs.items():
        fired = ours.get(name)
        if fired is None or fired.shape != expected.shape:
            raise ParityNotMet(f"'{name}' has spikes of another shape, or none, after the neurons were replaced")
        differs = (fired != expected).reshape(len(expected), -1)
        if differs.any():
            step = int(differs.any(axis=1).argmax())
            raise ParityNotMet(
                f"'{name}' does not follow the equations of its constants ({found[name].library}): in float64 "
                f"the first other spikes are at time step {step + 1}, in {int(differs[step].sum())} of "
                f"{differs.shape[1]} neurons; register the neuron yourself"
            )


def _check_neuron(name: str, module: Any, known: Recognised, shape: tuple[int, ...]) -> None:
    """Compare a library's neuron with our neuron of the same constants, without the rest of the network.

    The currents are multiples of half the threshold, so that the membrane often equals the threshold exactly.

    Args:
        name: the name of the neuron's module.
        module: the library's neuron.
        known: the constants that were read from it.
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
            f"'{name}' does not follow the equations of its constants ({known.library}: {spec.charge_rule}, "
            f"{spec.fire_rule}, reset {spec.reset_rule}): run without the network, in float64, its first other spikes "
            f"are at time step {int(wrong.argmax()) + 1}"
        )
