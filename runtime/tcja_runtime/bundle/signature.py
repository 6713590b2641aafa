"""The signature of a network: what it takes and returns, its spiking layers, and the tensors that parity probes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tcja_runtime.data.contract import InputContract
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor
from tcja_runtime.neuron import NeuronSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """A spiking layer.

    Attributes:
        name: the name of its PyTorch module. Its tensors in the models are named after it
            (`tcja_runtime.model_file.tensor_names`).
        shape: the shape of its neurons, without time and batch.
        neuron: the equations and constants of its neurons.
    """

    name: str
    shape: tuple[int, ...]
    neuron: NeuronSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tap:
    """A tensor that is probed besides the spiking layers: a part of an attention block, a pool, or the step output.

    Attributes:
        name: the name of the PyTorch module that returns it.
        tensor: its name in the models.
        unfold: the sizes that the first axis splits into, (T, -1) or (-1, T); empty where time and batch are two axes.
        axes: the order of the axes that makes it [T, N, ...], for `transpose`.
    """

    name: str
    tensor: str
    unfold: tuple[int, ...]
    axes: tuple[int, ...]

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Tap:
        """The inverse of `dataclasses.asdict`, also from JSON."""
        return cls(**{**fields, "unfold": tuple(fields["unfold"]), "axes": tuple(fields["axes"])})

    @property
    def attends(self) -> bool:
        """Whether it is part of an attention block. All other taps are large: only random stimuli probe them."""
        return not self.unfold

    @property
    def is_gate(self) -> bool:
        """Whether it is the gate of an attention block: the factor that the block multiplies its input by."""
        return self.attends and self.name.rpartition(".")[2] == "gate"

    def in_time(self, value: Any) -> Any:
        """The tensor, a numpy array or a torch tensor, as [T, N, ...]."""
        unfolded = value.reshape(*self.unfold, *value.shape[1:]) if self.unfold else value
        return unfolded.transpose(self.axes) if isinstance(value, np.ndarray) else unfolded.permute(self.axes)

    def out_of_time(self, value: Any) -> Any:
        """The inverse of `in_time`, for parts of attention blocks only."""
        inverse = tuple(map(self.axes.index, range(len(self.axes))))
        return value.transpose(inverse) if isinstance(value, np.ndarray) else value.permute(inverse)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weight:
    """The weight of a convolution or of a matrix product.

    Attributes:
        module: the name of its PyTorch module.
        norm: the name of the batch norm that was folded into it; None where there is none.
        tensor: its name in the models.
        bias: the name of the tensor that is added to the product; None where there is none.
        shape: its shape in PyTorch.
        transposed: whether the models hold its transpose.
        outputs: the number of values in the bias.
        type: "fp32", "fp16" or "int8".
        scale: the scale of the input that it multiplies, where that is quantised; else None.
    """

    module: str
    norm: str | None
    tensor: str
    bias: str | None
    shape: tuple[int, ...]
    transposed: bool
    outputs: int
    type: str = "fp32"
    scale: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSignature:
    """What a network takes and returns, and which of its tensors can be probed.

    Attributes:
        input: the input contract.
        output: the name of the output in the models.
        output_shape: the shape of the output without the batch: (classes,), (T, classes) where it has the time steps,
            or the shape of an image.
        time_steps: T, the number of time steps in a window.
        layers: the spiking layers in the order they fire.
        taps: the tensors that are probed besides the spiking layers.
        step_output: the tensor [T, N, units] whose mean over time gives the output. Where it has more units than
            classes, consecutive units vote for one class. None where no such tensor is known, or the output itself has
            the time steps.
        weights: the weights of all convolutions and matrix products.
    """

    input: InputContract
    output: str
    output_shape: tuple[int, ...]
    time_steps: int
    layers: Sequence[Layer]
    taps: Sequence[Tap] = ()
    step_output: Tap | None = None
    weights: Sequence[Weight] = ()

    @property
    def probed(self) -> set[str]:
        """The names of all tensors that parity reads in a model: currents and spikes of layers, taps, step output."""
        taps = [*self.taps, self.step_output] if self.step_output else self.taps
        of_layers = {tensor(layer.name) for layer in self.layers for tensor in (current_tensor, spikes_tensor)}
        return of_layers | {tap.tensor for tap in taps}
