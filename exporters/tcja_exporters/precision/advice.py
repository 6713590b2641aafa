r"""Predicts the spike flips that a lower precision would cause in each layer, before an engine is built.

Each layer gets the spikes of the reference as input (it is teacher-forced). Its weights and inputs are rounded to the
precision. The resets follow the reference's spikes, too, so the membranes h' of the sampled neurons differ from the
reference's membranes h only by the rounding:

    sigma         the root mean square of h' - h over the sampled neurons of the layer

A neuron with |h - threshold| = m flips if its error is larger than m and towards the threshold. The errors are taken as
normally distributed, and the distances m near 0 as uniformly distributed with density p. The mean flip rate over all
neurons and time steps is then

    flip rate     integral over m of p Q(m / sigma)  =  p sigma / sqrt(2 pi),        p = (share of m < d) / d

where Q is the tail of the normal distribution. d is the larger of 3 sigma and NEAR times the threshold, so that enough
sampled membranes are closer than d.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tcja_exporters.modules.neurons import spiking_neurons
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.trace import Reference, Witnesses
from tcja_runtime.neuron import membranes

FLIPS_PER_SPIKE = {"fp16": 1e-3, "int8": 1e-1}
"""The largest acceptable number of flips per spike of a layer, by precision.

The advice is to keep a layer with more flips in float32. Measured on the trained example: fp16 flips about 4e-4 of the
spikes in any layer; int8 flips about 1 of 100 spikes, and 1 of 20 in a layer whose input is not spikes. Neither of them
changed the accuracy.
"""
NEAR = 0.1
"""The smallest value of d (see the module's docstring), as a share of the threshold."""

_Rounding = Callable[[Tensor, int | None], Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Advice:
    """The predicted effect of a lower precision on a network.

    Attributes:
        precision: the precision, "fp16" or "int8".
        flips: the predicted flip rate of each layer, by the layer's name: the share of all its neurons and time steps
            that flip, from 0 to 0.5, if the layer is teacher-forced.
        per_spike: the predicted number of flips for each spike of the layer; infinite for a layer that flips and never
            fires.
    """

    precision: str
    flips: dict[str, float]
    per_spike: dict[str, float]

    @property
    def limit(self) -> float:
        """The largest acceptable number of flips for each spike of a layer."""
        return FLIPS_PER_SPIKE[self.precision]

    @property
    def keep(self) -> list[str]:
        """The names of the layers that should be kept in float32: those with more flips for each spike than `limit`."""
        return [layer for layer, flips in self.per_spike.items() if flips > self.limit]


def advise(network: nn.Module, inputs: Floats, reference: Reference, layers: Sequence[Layer]) -> list[Advice]:
    """Return the advice for each lower precision, fp16 and int8.

    Args:
        network: the trained network in eval mode; its weights are converted to float32 and stay so.
        inputs: the windows [N, ...] to predict from.
        reference: the recording of the trained network in float64 on these windows.
        layers: the spiking layers of the network.
    """
    network.to(torch.float32)
    found = []
    for precision, rounding in _ROUNDINGS.items():
        currents = _currents(_rounded(network, rounding), inputs, reference)
        flips = {layer.name: _flips(layer, reference, currents[layer.name].astype(np.float64)) for layer in layers}
        per_spike = {name: _per_spike(rate, float(reference.spikes[name].mean())) for name, rate in flips.items()}
        found.append(Advice(precision=precision, flips=flips, per_spike=per_spike))
    return found


def _per_spike(flips: float, rate: float) -> float:
    """Return the flips for each spike of a layer from its flip rate and its firing rate."""
    if rate:
        return flips / rate
    return math.inf if flips else 0.0


def _flips(layer: Layer, reference: Reference, rounded: npt.NDArray[Any]) -> float:
    """Return the predicted flip rate of a layer.

    Args:
        layer: the layer.
        reference: the recording of the trained network.
        rounded: the currents [T, K] of the layer's K witnesses (its recorded neurons) in the rounded network.
    """
    witnesses = reference.witnesses[layer.name]
    # The other witnesses are recorded because they are undecided; with them, small distances would seem too frequent.
    most = stimulus.most_places(layer.shape, len(witnesses.values), stimulus.WINDOW_PLACES)
    sampled = np.isin(witnesses.element, stimulus.places(layer.shape, most))
    neuron = layer.neurons(witnesses.element[sampled])
    threshold = array_of(neuron.threshold)
    fired = witnesses.of(reference.spikes[layer.name])[:, sampled]
    h = membranes(neuron, witnesses.values[:, sampled], fired)
    sigma = float(np.sqrt(np.mean((membranes(neuron, rounded[:, sampled], fired) - h) ** 2)))
    distance = max(NEAR * float(np.mean(neuron.unit)), 3 * sigma)
    density = float(np.mean(np.abs(h - threshold) < distance)) / distance
    return min(density * sigma / math.sqrt(2 * math.pi), 0.5)


def _currents(network: nn.Module, inputs: Floats, reference: Reference) -> dict[str, npt.NDArray[Any]]:
    """Run a network, each layer teacher-forced; return the currents [T, K] of the witnesses of each layer, by name."""
    found: dict[str, list[npt.NDArray[Any]]] = {}

    def forced(name: str, witnesses: Witnesses) -> Callable[[Tensor], Tensor]:
        def stand_in(current: Tensor) -> Tensor:
            parts = found.setdefault(name, [])
            done = sum(map(len, parts))
            parts.append(witnesses.of(current.numpy()))
            given = reference.spikes[name][done : done + len(current)]
            return torch.from_numpy(given).to(current.dtype)

        return stand_in

    neurons = spiking_neurons(network)
    for name in reference.spikes:  # a layer that is never called has no entry
        neurons[name].stand_in = forced(name, reference.witnesses[name])
    with torch.inference_mode():
        network(torch.from_numpy(inputs))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _rounded(network: nn.Module, rounding: _Rounding) -> nn.Module:
    """Return a copy of a network in which convolutions and linear layers have rounded weights and round their input."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
            module.weight.data = rounding(module.weight.data, axis)
            module.register_forward_pre_hook(lambda _module, args: (rounding(args[0], None), *args[1:]))
    return copied


def _half(values: Tensor, _axis: int | None) -> Tensor:
    """Return values rounded to float16."""
    return values.half().to(values.dtype)


def _int8(values: Tensor, axis: int | None) -> Tensor:
    """Return values rounded to symmetric int8.

    Args:
        values: the weight or the input. An input of integers, such as spikes, is returned unchanged.
        axis: the axis of a weight that has one scale for each of its indices; None for an input, which has one scale.
    """
    if axis is None and bool((values == values.round()).all()):
        return values
    axes = [i for i in range(values.ndim) if i != axis]
    largest = values.abs().amax(axes, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    scale = largest / 127
    return (values / scale).round() * scale


_ROUNDINGS: Mapping[str, _Rounding] = {"fp16": _half, "int8": _int8}
