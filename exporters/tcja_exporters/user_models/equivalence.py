"""Proves that a converted network fires the same spikes as the user's network, in float64."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from tcja_exporters.libraries import recognise, without_reset
from tcja_exporters.libraries.recognition import Recognised
from tcja_exporters.user_code import kind_and_line, where
from tcja_exporters.user_models.diagnosis import changed_states, quoted, step_mode_hint
from tcja_exporters.user_models.driven import Driven
from tcja_exporters.user_models.readout import check_other_tensors, choose_readout
from tcja_exporters.user_models.running import Use, alone, run, where_random
from tcja_exporters.user_models.usage import settled
from tcja_runtime.choices import LAYOUTS
from tcja_runtime.counting import counted
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.evidence.trace import Spikes

OUTPUT = 1e-9
"""The largest allowed difference of the outputs in float64. (Spikes may not differ at all.)"""


_REMEDY = "register the neuron yourself; a state that forward itself sets or changes cannot be exported"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a network.

    Attributes:
        output: the output of the network, a numpy array.
        spikes: the spikes [T, N, ...] of each spiking layer, by its name; numbers if a layer is of integer neurons.
        membranes: what each integrator returned [T, N, ...], by its name.
        returned: the whole return value of the last call of the network's forward.
        first: the first call of each layer, by the layer's name.
    """

    output: Any
    spikes: dict[str, Spikes]
    membranes: dict[str, Any]
    returned: Any
    first: dict[str, Use]

    def agrees(self, other: Run) -> bool:
        """Whether all spikes are equal, and the outputs differ by at most OUTPUT."""
        return (
            self.output.shape == other.output.shape
            and np.allclose(self.output, other.output, rtol=0.0, atol=OUTPUT, equal_nan=True)
            and self.spikes.keys() == other.spikes.keys()
            and all(np.array_equal(fired, other.spikes[layer]) for layer, fired in self.spikes.items())
            and self.membranes.keys() == other.membranes.keys()
            and all(_close(values, other.membranes[layer]) for layer, values in self.membranes.items())
        )


@dataclasses.dataclass(frozen=True)
class Proven:
    """Facts about a user's network that the proof found.

    Attributes:
        steps: the number of time steps, T.
        readout: the module that turns the output of the network into one tensor a window, [N, ...]; it averages over
            time where the output has a time axis.
        returned: the number of values that the network's forward returns: 2 for the pair (output, state).
        batch: the windows on which it ran.
        run: the run of the user's network on these windows.
    """

    steps: int
    readout: nn.Module
    returned: int
    batch: Floats
    run: Run


class NeuronsDiffer(ParityNotMet):
    """Neurons of a user's network that do not follow the equations of their constants.

    Args:
        reasons: what is wrong with each of them, by the name of its module. The text of the error is the first reason.

    Attributes:
        reasons: as given.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = reasons


def prove(original: Driven, replaced: Driven, inputs: Floats, found: Mapping[str, Recognised]) -> Proven:
    """Run both networks in float64, compare every spike, and return what was found out about the network.

    Args:
        original: the user's network.
        replaced: the same network with replaced neurons.
        inputs: windows [N, *contract.shape], float32.
        found: the recognised original neurons, by the name of their module.

    Raises:
        BadInput: the network fails, is not deterministic, gives a window another output in another batch, or returns a
            value that cannot be exported.
        NeuronsDiffer: neurons do not follow the equations of their constants.
        ParityNotMet: the output differs.
    """
    batch = np.concatenate([inputs, _strange(inputs)])
    fresh = copy.deepcopy(original)  # its neurons have no state yet, which could have the shape of a batch
    together = observed(original, batch, found)
    steps = _time_steps(together.spikes, original, batch)
    if not together.agrees(observed(original, batch, found, seed=1)):
        random = together.agrees(observed(original, batch, found))
        raise _random(original, batch, found) if random else _remembers(fresh, original, found)
    alone = observed(fresh, inputs[:1], found)
    _time_steps(alone.spikes, original, inputs[:1])
    if not np.isfinite(alone.output).all():
        raise BadInput("the network's output holds NaN or infinite values; look for a division by zero in it")
    if not original.output:
        check_other_tensors(
            together.returned, {fired.shape[2:] for fired in together.spikes.values()}, by_step=original.by_step
        )
    readout = choose_readout(alone.output.shape, together.output.shape, steps)
    _check_batch_has_no_effect(alone, together, readout)

    ours = observed(replaced, batch, found)
    reasons = _differing(original, together, ours, found)
    if reasons:
        raise NeuronsDiffer(reasons)
    same = ours.output.shape == together.output.shape
    difference = float(np.abs(ours.output - together.output).max()) if same else np.inf
    if not difference <= OUTPUT:
        raise ParityNotMet(
            f"all spikes agree after the neurons were replaced, but the output differs by {difference:.2g}: the "
            "output depends on more than the spikes"
        )
    several = isinstance(together.returned, (tuple, list))
    return Proven(steps, readout, len(together.returned) if several else 1, batch, together)


def _strange(inputs: Floats) -> Floats:
    """Return a window [1, ...] unlike all inputs: the last input mirrored, times three, plus 1/3.

    It is added to the batch to find two faults. If a batch norm is in training mode, this window changes the results
    of the other windows. If the network draws random spikes from intensities, the fractions of this window show it;
    whole numbers can hide it.
    """
    return np.asarray(3 * inputs[-1:, ..., ::-1] + 1 / 3, np.float32)


def _random(original: Driven, inputs: Floats, found: Mapping[str, Recognised]) -> BadInput:
    """Return the error to raise for a network that draws random numbers."""
    return BadInput(
        f"the network draws random numbers{where_random(original, inputs, found)}, so no two runs agree; remove the "
        "random numbers from its forward (put a random encoding before the network; give functional.dropout "
        "training=self.training)"
    )


def _remembers(fresh: Driven, original: Driven, found: Mapping[str, Recognised]) -> BadInput:
    """Return the error to raise for a network whose output depends on the windows before.

    Args:
        fresh: a copy of the network from before all runs.
        original: the network, after several runs.
        found: the recognised neurons, by the name of their module.
    """
    unreset = without_reset(original.net)
    if unreset:
        return BadInput(
            "the network gives another output when the same windows run again, and its registered neurons "
            f"({quoted(unreset)}) have no method reset(); write one that sets their state to rest"
        )
    changed = changed_states(fresh.net, original.net, found)
    kept = f" ({quoted(changed)})" if changed else " (or has its own random numbers)"
    return BadInput(
        "the network gives another output when the same windows run again: besides the state of its neurons it keeps a "
        f"state between windows{kept}; reset that state at the start of each window"
    )


def _check_batch_has_no_effect(alone: Run, together: Run, readout: nn.Module) -> None:
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


def observed(driven: Driven, inputs: Floats, found: Mapping[str, Recognised], seed: int = 0) -> Run:
    """Run a network in float64, from rest; return its output and spikes.

    Args:
        driven: the network.
        inputs: windows [N, ...].
        found: the recognised neurons, whose spikes are recorded, by the name of their module.
        seed: the seed of torch's random numbers.

    Raises:
        BadInput: the network fails, uses one neuron for several layers, a neuron returns no spikes, or the constants of
            a neuron do not fit its layer.
    """
    ran = run(driven, inputs, found, seed)
    spikes, membranes = {}, {}
    for name, uses in ran.uses.items():
        known = found[name]
        if known.calls == "window" and len(uses) > 1:
            raise BadInput(
                f"the neuron '{name}' is called {len(uses)} times in a window; give each call its own neuron"
            )
        parts = [known.result_of(use.output) for use in uses]
        shapes = {part.shape[1:] for part in parts}
        if len(shapes) > 1:
            shown = " and ".join(str(list(shape)) for shape in sorted(shapes))
            raise BadInput(
                f"the neuron '{name}' is used for layers of the shapes {shown}; give each layer its own neuron"
            )
        fired = torch.cat(parts)
        if driven.joined:  # the one call had all steps, in the axis of the windows
            fired = fired.reshape(driven.steps, -1, *fired.shape[2:])
        try:
            known.spec.check_fits(tuple(fired.shape[2:]))
        except ValueError as error:
            raise BadInput(f"the neuron '{name}' cannot be exported: {error}") from error
        if known.spec.integrates:
            membranes[name] = fired.numpy()
            continue
        if not known.fires(fired):
            raise BadInput(f"the neuron '{name}' returns other values than {known.values}, which are no spikes")
        spikes[name] = (fired.bool() if known.most == 1 else fired).numpy()
    return Run(ran.output, spikes, membranes, ran.returned, {name: uses[0] for name, uses in ran.uses.items()})


def _time_steps(spikes: Mapping[str, Spikes], driven: Driven, inputs: Floats) -> int:
    """Return the number of time steps T, for which every layer must have run.

    Args:
        spikes: the spikes [steps, N, ...] of each layer.
        driven: the network.
        inputs: the windows on which it ran.

    Raises:
        BadInput: a layer ran for another number of time steps.
    """
    counts = {name: len(fired) for name, fired in spikes.items()}
    steps = driven.steps or next(iter(counts.values()), 0)
    for name, count in counts.items():
        if count == steps:
            continue
        if driven.steps and (layout := _other_layout(driven, inputs)):
            hint = f"this looks like layout {layout}; give `layout` {layout}"
        else:
            hint = step_mode_hint(driven)
        if not hint and count % steps == 0:
            hint = "if several layers use it, give each layer its own neuron"
        raise BadInput(
            f"the neuron '{name}' runs for {counted(count, 'time step')}, not {steps}; {hint or 'see `layout`'}"
        )
    return steps


def _other_layout(driven: Driven, inputs: Floats) -> str:
    """Return the layout with which all layers of a network run for T time steps; empty if there is none."""
    others = [layout for layout in LAYOUTS if layout != driven.layout]
    return next((layout for layout in others if _runs_all_steps(driven.relaid(layout), inputs)), "")


def _runs_all_steps(driven: Driven, inputs: Floats) -> bool:
    """Whether a network runs, and all its layers run for T time steps."""
    try:
        known = {name: recognise(name, module) for name, module in driven.net.named_modules()}
        found = settled(driven, inputs, {name: neuron for name, neuron in known.items() if neuron})
        spikes = observed(driven, inputs, found).spikes
    except Exception:  # a user's code can fail in any way
        return False
    return all(len(fired) == driven.steps for fired in spikes.values())


def _differing(original: Driven, theirs: Run, ours: Run, found: Mapping[str, Recognised]) -> dict[str, str]:
    """Return what is wrong with each neuron that does not follow the equations of its constants, by its name.

    The first is the first in the network whose spikes differ. The others are those that differ when they run alone.

    Raises:
        BadInput: a neuron fails when it runs alone, and no spike differs before.
    """
    reasons = _first_difference(theirs.spikes, ours.spikes, found)
    reasons |= _other_membranes(theirs.membranes, ours.membranes, found)
    for layer, fired in {**theirs.spikes, **theirs.membranes}.items():
        try:
            wrong = _wrong_alone(
                layer, original.net.get_submodule(layer), found[layer], fired.shape, theirs.first[layer]
            )
        except BadInput as error:
            if not reasons:
                raise
            wrong = str(error)
        if wrong:
            reasons.setdefault(layer, wrong)
    return reasons


def _first_difference(
    theirs: Mapping[str, Spikes], ours: Mapping[str, Spikes], found: Mapping[str, Recognised]
) -> dict[str, str]:
    """Return the first layer with other spikes, and its first such time step, as a text; empty if all are equal.

    The layers are compared in the order in which they run.
    """
    for name, expected in theirs.items():
        fired = ours.get(name)
        if fired is None or fired.shape != expected.shape:
            return {name: f"'{name}' has spikes of another shape, or none, after the neurons were replaced"}
        differs = (fired != expected).reshape(len(expected), -1)
        if differs.any():
            step = int(differs.any(axis=1).argmax())
            return {
                name: f"'{name}' does not follow the equations of its constants ({found[name].library}): in float64 "
                f"the first other spikes are at time step {step + 1}, in {int(differs[step].sum())} of "
                f"{differs.shape[1]} neurons; {_REMEDY}"
            }
    return {}


def _other_membranes(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], found: Mapping[str, Recognised]
) -> dict[str, str]:
    """Return the integrators whose membranes differ, with a text that says so."""
    return {
        name: f"'{name}' does not follow the equations of its constants ({found[name].library}): in float64 its "
        f"membranes differ; {_REMEDY}"
        for name, expected in theirs.items()
        if name not in ours or not _close(ours[name], expected)
    }


def _close(ours: Any, theirs: Any) -> bool:
    """Whether values in float64 differ by no more than OUTPUT, or by this share of large values."""
    return ours.shape == theirs.shape and bool(np.allclose(ours, theirs, rtol=OUTPUT, atol=OUTPUT, equal_nan=True))


def _wrong_alone(name: str, module: Any, known: Recognised, shape: tuple[int, ...], first: Use) -> str:
    """Compare a library's neuron with the module that replaces it, without the rest of the network.

    The currents are multiples of half the threshold, so that the membrane often equals the threshold exactly.

    Args:
        name: the name of the neuron's module.
        module: the library's neuron.
        known: the constants that were read from it.
        shape: the shape of the currents [T, N, ...].
        first: the first call of the neuron by the network, which shows the state that it starts with.

    Returns:
        What is wrong with the neuron; empty if no spike differs.

    Raises:
        BadInput: the neuron fails.
    """
    spec = known.spec
    halves = np.random.default_rng(0).integers(-4, 4 * known.most + 5, shape)
    current = torch.from_numpy(halves * (spec.current_unit / 2))
    try:
        fired = alone(module, known, current, first)
    except Exception as error:  # a user's neuron can fail in any way
        raise BadInput(
            f"the neuron '{name}' fails when it runs without the network, in float64: "
            f"{kind_and_line(error)}{where(error)}"
        ) from error
    ours = alone(known.replacement().double(), known, current, first)
    if spec.integrates:
        differs = [not _close(mine.numpy(), own.numpy()) for mine, own in zip(ours, fired, strict=True)]
    else:
        differs = (fired != ours).reshape(len(fired), -1).any(dim=1).tolist()
    if not any(differs):
        return ""
    what = "membranes" if spec.integrates else "spikes"
    return (
        f"'{name}' does not follow the equations of its constants ({known.library}: {spec.rules}): "
        f"run without the network, in float64, its first other {what} are at time step {differs.index(True) + 1}"
    )
