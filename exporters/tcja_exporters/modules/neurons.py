"""The spiking neuron as torch modules. Its equations and constants are in `tcja_runtime.neuron`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tcja_exporters import custom_op
from tcja_exporters.modules.surrogates import Surrogate
from tcja_runtime.neuron import NeuronSpec


class Neuron(nn.Module):
    """A layer of neurons with the same equations. It has no parameters: its constants are in its `spec`.

    A layer of integrators (`NeuronSpec.integrates`) returns membranes where others return spikes.

    Networks may start their neurons themselves, by the methods `tcja_exporters.libraries.RESETS` and by those that
    return a first state (`init_leaky`). These methods do nothing here and return None, and a given state is ignored: a
    neuron of this class starts from rest, and keeps its own state.

    Attributes:
        spec: the constants of the neuron and the order of its operations.
        surrogate: the spike function for training; None for the Heaviside step.
        stand_in: a function that takes the currents and returns the spikes or membranes [steps, N, ...] in place of the
            neurons, so that a caller can choose them; None if the neurons themselves run.
    """

    def __init__(self, spec: NeuronSpec) -> None:
        super().__init__()
        self.spec = spec
        self.surrogate: Surrogate | None = None
        self.stand_in: Callable[[Tensor], Tensor] | None = None

    def _start(self, *_shape: Any, **_options: Any) -> None:
        """Do nothing, in place of a method of the original neuron that starts it or returns its first state."""

    reset = reset_state = reset_states = reset_mem = reset_hidden = _start
    init_leaky = init_mem = init_state = init_membrane = _start

    def fired(self, output: Any) -> Tensor:
        """Return the spikes or membranes [steps, N, ...] that are in the return value of one call of this module.

        Args:
            output: the return value: the spikes or membranes, or the pair of them and a state.
        """
        raise NotImplementedError

    def _step(self, v: Tensor, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return the membrane and the spikes after a time step, given those before it (v, s) and the current x.

        An integrator returns its membrane in place of the spikes, too.
        """
        h = self.spec.charge(v, x, s)
        if self.spec.integrates:
            return h, h
        if self.surrogate is None:
            s = self.spec.fires(h).to(h.dtype)
        else:
            s = self.surrogate(h - self.spec.constant("threshold", h), self.spec.strict)
        # The reset is not differentiated, as in the published training (detach_reset=True).
        return self.spec.after(h, s.detach()), s


class SpikingNeuron(Neuron):
    """A neuron that runs over a whole window; in a model it is one `custom_op` node.

    Every call starts from rest. No state is kept between calls, so an earlier run cannot influence an export.

    Shapes: currents -> spikes (0 or 1) of the same shape and dtype, with time at the axis `time_axis`.

    Attributes:
        time_axis: 0 for [T, N, ...], 1 for [N, T, ...], -1 for [N, ..., T].
        pairs: whether a call returns the pair (spikes, state), as neurons of some libraries do; the state is None if
            nothing computes with it.
        membrane: the integrator of the membranes that a call returns in place of None; None if nothing computes with
            them (`SteppedNeuron`). An integrator returns its membranes twice.
        joined_steps: T if the first axis holds time and batch, [T * N, ...]; `time_axis` is then not used. Otherwise 0.
    """

    def __init__(self, spec: NeuronSpec, *, time_axis: int = 0, pairs: bool = False, joined_steps: int = 0) -> None:
        super().__init__(spec)
        self.time_axis = time_axis
        self.pairs = pairs
        self.joined_steps = joined_steps
        self.membrane: SpikingNeuron | None = None

    def forward(self, current: Tensor, *_states: Any, **_named_states: Any) -> Any:  # as neurons of libraries take them
        fire = self._symbolic if torch.compiler.is_exporting() else self.stand_in or self._fire
        if self.joined_steps:
            spikes = fire(self._in_time(current)).flatten(0, 1)
        elif self.time_axis == 0:  # a transposition that changes nothing would stay in the model
            spikes = fire(current)
        else:
            spikes = fire(self._in_time(current)).movedim(0, self.time_axis)
        return (spikes, self._state(current, spikes)) if self.pairs else spikes

    def _state(self, current: Tensor, spikes: Tensor) -> Tensor | None:
        """Return the second item of the pair that a call returns."""
        if self.spec.integrates:
            return spikes
        return None if self.membrane is None else self.membrane(self._lowered(current, spikes))

    def _lowered(self, current: Tensor, spikes: Tensor) -> Tensor:
        """Return the currents of the integrator `membrane`, as `SteppedNeuron` does step by step."""
        if self.spec.reset == "late":
            in_time = self._in_time(spikes)
            spikes = torch.cat([torch.zeros_like(in_time[:1]), in_time[:-1]])
            spikes = spikes.flatten(0, 1) if self.joined_steps else spikes.movedim(0, self.time_axis)
        if self.spec.reset == "none":
            return current
        lowered: Tensor = current - self.spec.constant("threshold", current) * spikes
        return lowered

    def fired(self, output: Any) -> Tensor:
        return self._in_time(output[0] if self.pairs else output)

    def _in_time(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the network as [T, N, ...]."""
        if self.joined_steps:
            return tensor.reshape(self.joined_steps, -1, *tensor.shape[1:])
        return tensor.movedim(self.time_axis, 0)

    def _fire(self, current: Tensor) -> Tensor:
        v, s = self.spec.start(current[0]), torch.zeros_like(current[0])
        spikes = []
        for x in current.unbind(0):
            v, s = self._step(v, x, s)
            spikes.append(s)
        return torch.stack(spikes).to(current.dtype)

    def _symbolic(self, current: Tensor) -> Tensor:
        """Return the spikes of the custom operator that represents this layer in an exported model."""
        spikes: Tensor = torch.onnx.ops.symbolic(
            f"{custom_op.DOMAIN}::{custom_op.NAME}",
            (current,),
            custom_op.attributes(self.spec),
            dtype=current.dtype,
            shape=current.shape,
            version=custom_op.VERSION,
        )
        return spikes


class ParallelNeuron(SpikingNeuron):
    """A neuron whose membrane at each time step is a weighted sum of the currents of a window, without a loop.

    Equations, with the currents x [T, N, ...]:

        h = W x + b                      W [T, T] or a band of k weights; b [T, 1] or a scalar
        s = 1 if h >= threshold, else 0

    The sums are the currents of the layer in an exported model, and its neurons have a decay of 0.

    Source: Fang et al., "Parallel Spiking Neurons with High Efficiency and Ability to Learn Long-term Dependencies"
    (2023), arXiv:2304.12760.

    Args:
        spec: the constants of the neurons that fire.
        weight: the weights: [T, T] (PSN), or [k] (sliding PSN), where the last one is that of the current time step.
        bias: the bias.
    """

    def __init__(self, spec: NeuronSpec, weight: Tensor, bias: Tensor) -> None:
        super().__init__(spec)
        self.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, current: Tensor, *_states: Any, **_named_states: Any) -> Any:
        return super().forward(torch.addmm(self.bias, self._weights(len(current)), current.flatten(1)).view_as(current))

    def _weights(self, steps: int) -> Tensor:
        """Return the weights [T, T]: a row for each time step of the membranes."""
        if self.weight.ndim > 1:
            return self.weight
        # weight[k - 1 - d] is that of d steps before; the index k is that of the 0 behind the weights.
        k, t = len(self.weight), torch.arange(steps, device=self.weight.device)
        before = t[:, None] - t
        index = torch.where((before >= 0) & (before < k), k - 1 - before, k)
        return nn.functional.pad(self.weight, (0, 1))[index]


class SteppedNeuron(Neuron):
    """A neuron that is called once a time step, by a network that loops over time itself.

    In an exported model, each call is a step operator, which reads the membrane of the call before. So a step stays in
    the model if only a later step is used. `tcja_exporters.graph.step_joining` joins the step operators of a layer to
    one node.

    Shapes: currents [N, ...] -> spikes (0 or 1), same shape and dtype.

    A network may compute with the membrane of a neuron that fires, too. This membrane is then that of an integrator
    whose current the spikes of the neuron lower, as its reset does:

        v_t = charge of v_{t-1} and x_t                          no reset
        v_t = charge of v_{t-1} and x_t - threshold s_t          soft reset, v after the reset
        v_t = charge of v_{t-1} and x_t - threshold s_{t-1}      late reset, v before the next reset

    Attributes:
        pairs: whether a call returns the pair (spikes, membrane), as neurons of some libraries do.
        membrane: the integrator of the membranes that a call returns; None if nothing computes with them.
        lost: which of the returned values are NaN, to find out whether anything computes with them: "spikes",
            "membranes", or "" for neither.
    """

    def __init__(self, spec: NeuronSpec, *, pairs: bool = False) -> None:
        super().__init__(spec)
        self.pairs = pairs
        self.membrane: _Membrane | None = None
        self.lost = ""
        self._state: tuple[Tensor, Tensor] | None = None
        self._before: Tensor | None = None
        self._needed: tuple[Tensor, ...] = ()

    @property
    def rests(self) -> bool:
        """Whether the neuron was not called since it started from rest."""
        return self._state is None

    def restart(self) -> None:
        """Forget the state, so that the next call starts from rest."""
        self._state = self._before = None

    def watch_membrane(self) -> None:
        """Add the integrator of the membranes that a call returns.

        Raises:
            ValueError: they are not the membranes of an integrator.
        """
        spec = self.spec
        if spec.reset in ("hard", "refractory"):
            raise ValueError(
                f"it resets its membrane ({spec.reset_rule}) by more than a subtraction; only a membrane without a "
                "reset, or with reset by subtraction, can be an output of the neuron"
            )
        if spec.slope is not None or (spec.reset != "none" and (spec.charge_order != "linear" or spec.gain != 1.0)):
            raise ValueError(
                f"its charge is {spec.charge_rule}; a membrane that spikes lower can be an output of the neuron only "
                "if its charge is decay v + x + bias"
            )
        self.membrane = _Membrane(spec.integrator())

    def at_once(self, time_steps: int) -> SpikingNeuron:
        """Return a neuron of the same constants that one call gives all time steps, in one axis: [T * N, ...]."""
        return SpikingNeuron(self.spec, pairs=self.pairs, joined_steps=time_steps)

    def forward(self, current: Tensor, *_states: Any, **_named_states: Any) -> Any:  # as neurons of libraries take them
        if self.stand_in:
            v, s = current, self.stand_in(current[None])[0]
        else:
            v, s = self._symbolic(current) if torch.compiler.is_exporting() else self._fire(current)
        if self.spec.integrates:
            v = s
        if self.membrane is not None:
            v = self.membrane(self._lowered(current, s), s)
        if self.lost == "membranes":
            v = torch.full_like(v, torch.nan)
        elif self.lost:
            s = torch.full_like(s, torch.nan)
        return (s, v) if self.pairs else s

    def _lowered(self, current: Tensor, s: Tensor) -> Tensor:
        """Return the current of the integrator `membrane`, from the current and the spikes of a time step."""
        spikes = self._before if self.spec.reset == "late" else s
        self._before = s
        if spikes is None or self.spec.reset == "none":
            return current
        lowered: Tensor = current - self.spec.constant("threshold", current) * spikes
        return lowered

    def fired(self, output: Any) -> Tensor:
        spikes: Tensor = output[0] if self.pairs else output
        return spikes.unsqueeze(0)

    def _fire(self, current: Tensor) -> tuple[Tensor, Tensor]:
        v, s = self._state or (self.spec.start(current), torch.zeros_like(current))
        self._state = self._step(v, current, s)
        return self._state

    def _symbolic(self, current: Tensor) -> tuple[Tensor, Tensor]:
        before = () if self._state is None else self._state[:1]
        s, v = torch.onnx.ops.symbolic_multi_out(
            f"{custom_op.DOMAIN}::{custom_op.STEP}",
            (current, *before, *self._needed),
            custom_op.attributes(self.spec),
            dtypes=(current.dtype, current.dtype),
            shapes=(current.shape, current.shape),
            version=custom_op.VERSION,
        )
        self._state = v, s
        return self._state


class _Membrane(SteppedNeuron):
    """The integrator of the membranes of a neuron that fires.

    In an exported model, its step also needs the spikes of that step. Else the last step of a neuron with a late reset,
    whose spikes lower no membrane, would be left out of the model.
    """

    def forward(self, current: Tensor, spikes: Tensor, *_states: Any) -> Any:
        self._needed = (spikes,)
        return super().forward(current)

    def restart(self) -> None:
        super().restart()
        self._needed = ()


def set_surrogate(model: nn.Module, surrogate: Surrogate | None) -> None:
    """Set the spike function of every neuron of a model: a surrogate for training, None for the Heaviside step."""
    for neuron in spiking_neurons(model).values():
        neuron.surrogate = surrogate


def spiking_neurons(model: nn.Module) -> dict[str, Neuron]:
    """Return the spiking layers of a model by module name, in the order in which they were added to the model."""
    return {name: neuron for name, neuron in all_neurons(model).items() if not neuron.spec.integrates}


def all_neurons(model: nn.Module) -> dict[str, Neuron]:
    """Return the spiking layers and the integrators of a model, as `spiking_neurons` returns the spiking layers."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Neuron)}
