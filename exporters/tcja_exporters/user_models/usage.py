"""Finds out from a run how a network uses its neurons: with windows or steps, and which of their results it reads."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from torch import Tensor

from tcja_exporters.libraries.recognition import Calls, Recognised
from tcja_exporters.modules.composed import SynapticNeuron
from tcja_exporters.modules.neurons import SteppedNeuron
from tcja_exporters.user_models.driven import Driven
from tcja_exporters.user_models.running import Use, run
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput


def settled(original: Driven, inputs: Floats, found: Mapping[str, Recognised]) -> dict[str, Recognised]:
    """Return the recognised neurons with what was not known: how they are called and what they return.

    Args:
        original: the user's network.
        inputs: windows [N, ...].
        found: the recognised neurons, by the name of their module.

    Raises:
        BadInput: the network fails, or uses a neuron in a way that cannot be exported.
    """
    unknown = [name for name, known in found.items() if None in (known.calls, known.time_axis, known.pairs)]
    if not unknown:
        return dict(found)
    n = 2 if original.steps != 2 else 3  # a batch of T windows could be taken for T steps
    # The copy is used up: a state that a neuron keeps must not reach the proof.
    # All neurons are watched, because those of some libraries return float32, which the next layer would refuse.
    uses = run(copy.deepcopy(original), np.resize(inputs, (n, *inputs.shape[1:])), found).uses
    return {
        **found,
        **{
            name: _Usage(name, original.steps, n, uses[name]).of(found[name]) if name in uses else _never(found[name])
            for name in unknown
        },
    }


def with_membranes(replaced: Driven, inputs: Floats, found: Mapping[str, Recognised]) -> dict[str, Recognised]:
    """Let the replaced neurons of a network return their membranes, where the network computes with them.

    The network runs with membranes that are NaN; if its output is NaN, too, it computes with them. A neuron without a
    reset whose spikes nothing reads becomes an integrator.

    Args:
        replaced: the network with replaced neurons, which is changed in place.
        inputs: windows [N, ...].
        found: the recognised neurons, by the name of their module.

    Returns:
        The recognised neurons; those that become integrators are changed.

    Raises:
        BadInput: the network computes with a membrane that cannot be exported.
    """
    known, trial = dict(found), copy.deepcopy(replaced)
    stepped = [name for name, each in _steps_with_state(replaced, found).items() if not each.spec.integrates]
    if not stepped or not _reads(trial, inputs, stepped, "membranes"):
        return known
    for name in stepped:
        if not _reads(trial, inputs, [name], "membranes"):
            continue
        neuron = _steps_with_state(replaced, found)[name]
        only_charged = neuron.spec.reset == "none" and neuron.spec.slope is None
        if only_charged and not _reads(trial, inputs, [name], "spikes"):
            neuron.spec = neuron.spec.integrator()
            module = replaced.net.get_submodule(name)
            last = module.states if isinstance(module, SynapticNeuron) else 1
            known[name] = dataclasses.replace(found[name], spec=neuron.spec, result=last)
            continue
        try:
            neuron.watch_membrane()
        except ValueError as error:
            raise BadInput(f"the network computes with the membrane of the neuron '{name}', and {error}") from error
    return known


def _steps_with_state(network: Driven, names: Iterable[str]) -> dict[str, SteppedNeuron]:
    """Return the neurons that run step by step and return their membrane, too, by the name of their module."""
    modules = {name: network.net.get_submodule(name) for name in names}
    neurons = {name: each.neuron if isinstance(each, SynapticNeuron) else each for name, each in modules.items()}
    return {name: each for name, each in neurons.items() if isinstance(each, SteppedNeuron) and each.pairs}


def _reads(network: Driven, inputs: Floats, names: Sequence[str], what: str) -> bool:
    """Whether the output depends on what some neurons return: their "spikes" or their "membranes"."""
    neurons = _steps_with_state(network, names)
    for neuron in neurons.values():
        neuron.lost = what
    try:
        return not np.isfinite(run(network, inputs[:1], ()).output).all()
    except BadInput:  # the proof will say what fails
        return False
    finally:
        for neuron in neurons.values():
            neuron.lost = ""


def _never(known: Recognised) -> Recognised:
    """Return a neuron as it is; what is not known of one that is never called does not matter."""
    return dataclasses.replace(
        known, calls=known.calls or "window", time_axis=known.time_axis or 0, pairs=bool(known.pairs)
    )


@dataclasses.dataclass(frozen=True)
class _Usage:
    """The calls of a neuron by a network.

    Attributes:
        name: the name of the neuron's module.
        steps: the number of time steps of a window, T; 0 if it is not known, as for images.
        n: the number of windows, which is not T.
        uses: the calls, at least one.
    """

    name: str
    steps: int
    n: int
    uses: Sequence[Use]

    def of(self, known: Recognised) -> Recognised:
        """Return the neuron with what was not known."""
        output = self.uses[0].output
        pairs = isinstance(output, tuple) if known.pairs is None else known.pairs
        if known.pairs is None and pairs and len(output) != 2:
            raise BadInput(
                f"the neuron '{self.name}' returns {len(output)} values; it must return its spikes, or the pair "
                "(spikes, state)"
            )
        spikes = output[0] if pairs else output
        if not known.spec.integrates:
            self._check_spikes(known, spikes, output)
        shape = tuple(spikes.shape)
        calls = known.calls or self._calls(shape)
        axis = known.time_axis
        if axis is None:
            axis = self._axis(shape) if calls == "window" and len(self.uses) == 1 else 0
        return dataclasses.replace(known, calls=calls, time_axis=axis, pairs=pairs)

    def _check_spikes(self, known: Recognised, spikes: Tensor, output: Tensor | tuple[Tensor, ...]) -> None:
        if known.fires(spikes):
            return
        other = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        swapped = isinstance(other, Tensor) and bool(((other == 0) | (other == 1)).all())
        wrong = "its spikes second" if swapped else f"other values than {known.values}"
        raise BadInput(
            f"the neuron '{self.name}' returns {wrong}; it must return its spikes, or the pair (spikes, state)"
        )

    def _calls(self, shape: tuple[int, ...]) -> Calls:
        """Return how the neuron is called: once with all time steps, or once a time step."""
        if len(self.uses) > 1 or (self._one_axis(shape) is None and (self.steps == 1 or shape[:1] == (self.n,))):
            return "step"
        return "window"

    def _one_axis(self, shape: tuple[int, ...]) -> int | None:
        """Return the axis of time in the spikes of one call; None if there is none."""
        if self.steps == 0:  # images: the batch is the second axis, if time is the first
            return 0 if len(shape) > 1 and shape[0] != self.n and shape[1] == self.n else None
        if len(shape) > 1 and shape[:2] == (self.steps, self.n):
            return 0
        if len(shape) > 1 and shape[:2] == (self.n, self.steps):
            return 1
        return -1 if len(shape) > 1 and (shape[0], shape[-1]) == (self.n, self.steps) else None

    def _axis(self, shape: tuple[int, ...]) -> int:
        axis = self._one_axis(shape)
        if axis is None:
            flat = "; time and batch are in one axis" if shape[0] == self.steps * self.n else ""
            raise BadInput(
                f"the neuron '{self.name}' returns {list(shape)} for {self.n} windows of {self.steps} time steps"
                f"{flat}; a registered neuron takes [T, N, ...], [N, T, ...], or one time step [N, ...] a call"
            )
        return axis
