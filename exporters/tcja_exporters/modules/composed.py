"""Neurons of libraries that are composed of ours: two states, readouts of membranes, and neurons that never fire.

A neuron with a synaptic current i beside its membrane v has two states. The current is an integrator in front of the
neuron, which takes i_t for its current:

    i_t = charge of i_{t-1} and x_t           synapse
    s_t = spike for the current i_t           neuron

Sources: Pehle and Pedersen, norse (2021), ``functional/lif.py`` and ``functional/leaky_integrator.py`` of norse 1.1;
Eshraghian et al., snnTorch, Proceedings of the IEEE (2023), ``_neurons/synaptic.py`` of 0.9.4 to 1.0; Fang et al.,
SpikingJelly, Science Advances 9 (2023), ``activation_based/neuron`` of 2.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tcja_exporters.modules.neurons import Neuron

_DECODED: dict[str, Callable[[Tensor], Tensor]] = {
    "last_mem": lambda v: v[-1],
    "max-mem": lambda v: v.amax(0),
    "mean-mem": lambda v: v.mean(0),
}
"""The readouts of SpikingJelly's NonSpikingBaseNode, from membranes [T, N, ...]."""


class SynapticNeuron(nn.Module):
    """A neuron with a synaptic current.

    Shapes: as those of its parts, which run over windows or single steps.

    Attributes:
        synapse: the integrator whose membranes are the synaptic current.
        neuron: the neuron that takes this current; a spiking layer, or another integrator.
        states: the number of states that a call returns after the result: 0 for the result alone, 1 for (result,
            state), 2 for (result, synaptic current, membrane).
    """

    def __init__(self, synapse: Neuron, neuron: Neuron, states: int = 0) -> None:
        super().__init__()
        self.synapse, self.neuron, self.states = synapse, neuron, states

    def forward(self, current: Tensor, *_states: Any, **_named_states: Any) -> Any:  # as neurons of libraries take them
        i = self.synapse(current)
        made = self.neuron(i)
        result, v = made if isinstance(made, tuple) else (made, None)
        return {0: result, 1: (result, v), 2: (result, i, v)}[self.states]

    def _start(self, *_shape: Any, **_options: Any) -> Any:
        """Return no states, in place of a method that starts the neuron and returns its first two states."""
        return (None, None) if self.states == 2 else None

    reset = reset_state = reset_mem = reset_hidden = init_synaptic = _start


class SilentNeuron(nn.Module):
    """A neuron of SpikingJelly whose threshold is infinite: it returns no spikes, and the network reads its membrane.

    Attributes:
        integrator: the integrator that computes the membranes.
        v: the membranes after the last time step, [N, ...]; 0.0 before the first.
    """

    def __init__(self, integrator: Neuron, *, window: bool) -> None:
        super().__init__()
        self.integrator, self._window = integrator, window
        self.v: Any = 0.0

    def forward(self, current: Tensor, *_states: Any) -> Tensor:
        v = self.integrator(current)
        self.v = v[-1] if self._window else v
        return torch.zeros_like(current)

    def reset(self) -> None:
        """Forget the membranes, as the original neuron does."""
        self.v = 0.0


class DecodedIntegrator(nn.Module):
    """An integrator over a window, of SpikingJelly, that may return one value for all time steps.

    Shapes: currents [T, N, ...] -> [N, ...]; without a decoding, a list of T membranes [N, ...].

    Attributes:
        integrator: the integrator that computes the membranes.
        decode: "last_mem", "max-mem" or "mean-mem"; None for the membranes of all time steps.
    """

    def __init__(self, integrator: Neuron, decode: str | None) -> None:
        super().__init__()
        self.integrator, self.decode = integrator, decode

    def forward(self, current: Tensor) -> Any:
        v = self.integrator(current)
        return _DECODED[self.decode](v) if self.decode else list(v.unbind(0))


def can_decode(decode: str | None) -> bool:
    """Whether a `DecodedIntegrator` has a decoding of SpikingJelly."""
    return decode is None or decode in _DECODED
