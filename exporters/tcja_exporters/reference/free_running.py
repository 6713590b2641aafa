r"""Finds the open neurons: those that may fire otherwise in a correct network that runs on its own.

`tcja_exporters.reference.recorder` bounds what rounding does to layers that are given the reference's spikes and gates.
A deployed network is given nothing: a spike that rounding flips changes the currents behind it, and so does the
rounding of a gate. So here the error of a spike is 1 where it is open, gates keep their errors, and the rules of
`tcja_exporters.reference.propagation` and of `Integration` carry both on. With the error e_h of the membrane h before
firing (`tcja_runtime.evidence.rounding`):

    open          |h - threshold| <= e_h + u |threshold|
    e_v           as there; where the neuron is open, the larger one of both cases, and |v after a spike - v without|
    e_h           where the step before is open, + |h after a spike - h without|, with a late or refractory reset

These bounds are of the worst case, so behind many open neurons all neurons are open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from tcja_exporters.modules.neurons import all_neurons
from tcja_exporters.reference.bounds import OWN_ROUNDING, Bound, Bounds
from tcja_exporters.reference.layer_recorder import Integration
from tcja_exporters.reference.propagation import Propagation
from tcja_exporters.reference.recorder import replaced
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.rounding import Arithmetic, fires_within, membrane_error, reset_error
from tcja_runtime.evidence.spike_counts import FreeRunningBounds


def free_running_bounds(
    network: nn.Module, inputs: Floats, layers: Sequence[Layer], arithmetic: Arithmetic
) -> FreeRunningBounds | None:
    """Return how far a backend can be from the reference, if it runs the network on its own.

    Args:
        network: a network in eval mode. Its weights are converted to float64 and stay so.
        inputs: the windows [N, ...], float32.
        layers: the spiking layers of the network, in the order in which they fire.
        arithmetic: the arithmetic of the backend.

    Returns:
        The bounds; None if the network has an operation for which no bound is known.
    """
    network.to(torch.float64)
    bounds = Bounds(arithmetic)
    frames = torch.from_numpy(inputs).to(torch.float64)
    bounds.mark_input(frames)
    found = {layer.name: _OpenLayer(layer, bounds) for layer in layers}

    specs = {name: neuron.spec for name, neuron in all_neurons(network).items()}

    def stand_in(layer: str) -> Callable[[Tensor], Tensor]:
        return Integration(specs[layer], bounds).integrate if specs[layer].integrates else found[layer].fire

    with torch.no_grad(), replaced(network, stand_in), Propagation(bounds):
        output = network(frames)
        error = bounds.error(output) * OWN_ROUNDING
    if bounds.estimated:
        return None
    counts = [np.concatenate(found[layer.name].open) for layer in layers]
    return FreeRunningBounds(open=np.stack(counts).transpose(2, 0, 1), output=error.numpy())


class _OpenLayer:
    """Fires in place of a layer's neurons, and finds the open ones.

    Args:
        layer: the layer.
        bounds: the error bounds of the network's tensors.

    Attributes:
        open: the number of open neurons, for each call of the layer [steps, N].
    """

    def __init__(self, layer: Layer, bounds: Bounds) -> None:
        self._neuron, self._bounds = layer.neuron, bounds
        self.open: list[np.ndarray] = []
        self._state: tuple[Tensor, ...] | None = None

    def fire(self, current: Tensor) -> Tensor:
        """Return the spikes of the next time steps, [steps, N, ...], from the currents in the same shape."""
        error = self._bounds.error(current)
        with _disable_current_modes():
            spikes, is_open = torch.empty_like(current), torch.empty(current.shape, dtype=torch.bool)
            for t, x in enumerate(current):
                spikes[t], is_open[t] = self._step(x, error[t].to(x.dtype) * OWN_ROUNDING)
            self.open.append(is_open.flatten(2).sum(2).numpy())
            any_open = bool(is_open.any())
            self._bounds[spikes] = Bound(is_open.to(torch.float32) if any_open else None, None if any_open else 0)
            return spikes

    def _step(self, x: Tensor, e_x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spikes of one time step, and which neurons are open, from the currents and their errors."""
        neuron, unit = self._neuron, self._bounds.arithmetic.membrane
        if self._state is None:
            v, nothing = neuron.start(x), torch.zeros_like(x)
            self._state = v, unit * v.abs(), nothing, nothing.bool()
        v, e_v, s, was_open = self._state
        h = neuron.charge(v, x, s)
        e_h = membrane_error(neuron, unit, v, e_v, x, e_x)
        threshold, silent, fired = neuron.constant("threshold", h), torch.zeros_like(s), torch.ones_like(s)
        if neuron.delayed:
            e_h = e_h + was_open * (neuron.charge(v, x, fired) - neuron.charge(v, x, silent)).abs()
        is_open = ~((h - threshold).abs() > fires_within(neuron, unit, e_h))
        s = neuron.fires(h).to(h.dtype)
        either = torch.maximum(*(reset_error(neuron, unit, h, e_h, each) for each in (silent, fired)))
        jump = (neuron.after(h, fired) - neuron.after(h, silent)).abs()
        e_v = torch.where(is_open, either + jump, reset_error(neuron, unit, h, e_h, s))
        self._state = neuron.after(h, s), e_v, s, is_open
        return s, is_open
