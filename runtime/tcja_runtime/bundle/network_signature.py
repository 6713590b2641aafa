"""The network signature: the input and output of a network, its spiking layers, and the tensors that parity reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import InputContract
from tcja_runtime.model_file.tensor_names import current_tensor, membranes_tensor, spikes_tensor
from tcja_runtime.neuron import NeuronSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """A spiking layer, or an integrator: a layer of neurons that never fire, and return their membranes.

    Attributes:
        name: the name of its PyTorch module. Its tensors in the models are named after it
            (`tcja_runtime.model_file.tensor_names`).
        shape: the shape of its neurons, without time and batch.
        neuron: the equations and constants of its neurons.

    Raises:
        ValueError: a constant of the neurons does not fit the shape.
    """

    name: str
    shape: tuple[int, ...]
    neuron: NeuronSpec

    def __post_init__(self) -> None:
        try:
            self.neuron.check_fits(self.shape)
        except ValueError as error:
            raise ValueError(f"layer {self.name}: {error}") from error

    @property
    def result_tensor(self) -> str:
        """The name in the ONNX models of the tensor that the layer returns: its spikes, or its membranes."""
        return membranes_tensor(self.name) if self.neuron.integrates else spikes_tensor(self.name)

    def neurons(self, elements: npt.NDArray[np.integer[Any]]) -> NeuronSpec:
        """The equations and constants of some neurons, given their indices in the flattened layer."""
        return self.neuron.chosen(self.shape, elements)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnjudgedLayer:
    """A module that fires, but is not a known neuron, so that parity does not judge its spikes.

    It compares values with a threshold, and the network computes with the result.

    Attributes:
        name: the name of the PyTorch module; empty for the network itself.
        kind: the name of its class.
    """

    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})" if self.name else self.kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tap:
    """A tensor that parity reads besides the currents and spikes of the spiking layers.

    It is a part of an attention block, the membranes of an integrator, the output of a pooling, or the step output
    (`NetworkSignature.step_output`).

    Attributes:
        name: the name of the PyTorch module that returns the tensor.
        tensor: the name of the tensor in the ONNX models.
        unfold: the two sizes into which the first axis is split, (T, -1) or (-1, T), if time and batch are one axis in
            the models; empty if they are two axes.
        axes: the order of the axes, after `unfold`, that makes the tensor [T, N, ...]; an argument of `transpose`.
    """

    name: str
    tensor: str
    unfold: tuple[int, ...]
    axes: tuple[int, ...]

    @classmethod
    def of_integrator(cls, layer: Layer) -> Tap:
        """Returns the tap of the membranes of an integrator."""
        return cls(
            name=layer.name, tensor=membranes_tensor(layer.name), unfold=(), axes=tuple(range(2 + len(layer.shape)))
        )

    @property
    def on_windows(self) -> bool:
        """Whether parity reads the tap also on the windows: a part of an attention block, or of an integrator.

        All other taps are large tensors, so parity reads them only for the random and the exact stimulus.
        """
        return not self.unfold

    @property
    def is_gate(self) -> bool:
        """Whether the tap is the gate of an attention block: the factor by which the block multiplies its input."""
        of_integrator = self.tensor == membranes_tensor(self.name)
        return self.on_windows and self.name.rpartition(".")[2] == "gate" and not of_integrator

    def in_time(self, value: Any) -> Any:
        """Returns the tensor with the axes [T, N, ...], from a value with the axes of the models.

        Args:
            value: the tensor, a numpy array or a torch tensor.
        """
        unfolded = value.reshape(*self.unfold, *value.shape[1:]) if self.unfold else value
        return unfolded.transpose(self.axes) if isinstance(value, np.ndarray) else unfolded.permute(self.axes)

    def out_of_time(self, value: Any) -> Any:
        """Returns the tensor with the axes of the models, from a value [T, N, ...]; the inverse of `in_time`.

        It is for parts of attention blocks only.
        """
        inverse = tuple(map(self.axes.index, range(len(self.axes))))
        return value.transpose(inverse) if isinstance(value, np.ndarray) else value.permute(inverse)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weight:
    """The weight of convolutions or of matrix products, which is a parameter of the network.

    Attributes:
        module: the name of the PyTorch module that the weight belongs to.
        norm: the name of the batch norm that was folded into the weight; None if none was.
        tensor: the name of the weight in the ONNX models. A parameter has several tensors if it is used in several
            ways: transposed and not, or with several batch norms.
        bias: the name in the models of the bias that is added to the product; None if there is none.
        shape: the shape of the weight in PyTorch.
        transposed: whether the models hold the transpose of the weight.
        outputs: the number of output channels, which is the number of values in the bias.
        type: the type of the weight in the models, "fp32", "fp16" or "int8".
        scale: the scale of the input that is multiplied with the weight, if this input is quantised; else None.
        parameter: the name of the parameter. All its tensors have the same random values in the exact stimulus. None in
            bundles of older versions, in which each tensor has its own.
        bias_parameter: the name of the parameter from which the bias is computed; None if there is none.
        left: whether the weight is the left factor of a matrix product; its bias is then a column [outputs, 1].
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
    parameter: str | None = None
    bias_parameter: str | None = None
    left: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSignature:
    """The input and the output of a network, and its tensors that parity can read.

    Attributes:
        input: the input contract.
        output: the name of the output in the ONNX models.
        output_shape: the shape of the output without the batch axis: (classes,); (T, classes) if the output has a value
            for each time step; or the shape of an image.
        time_steps: T, the number of time steps in a window.
        layers: the spiking layers in the order in which they fire.
        integrators: the layers of neurons that never fire, in the order in which they run. Their membranes are taps.
        taps: the tensors that parity reads besides the currents and spikes of the spiking layers.
        step_output: the tensor [T, N, units] whose mean over time is the output. If it has more units than classes,
            consecutive units vote for the same class. None if no such tensor is known, or if the output itself has the
            time steps.
        weights: the weights of convolutions and matrix products that are parameters of the network and nothing else:
            no other values are computed from them.
        unjudged: the modules that fire and are not among `layers`, in the order in which they fire.
        spike_counts: whether model.plain.onnx also returns the number of spikes of each layer at each time step
            (`tcja_runtime.model_file.tensor_names.SPIKE_COUNTS`).
    """

    input: InputContract
    output: str
    output_shape: tuple[int, ...]
    time_steps: int
    layers: Sequence[Layer]
    taps: Sequence[Tap] = ()
    step_output: Tap | None = None
    weights: Sequence[Weight] = ()
    unjudged: Sequence[UnjudgedLayer] = ()
    spike_counts: bool = False
    integrators: Sequence[Layer] = ()

    @property
    def probed(self) -> set[str]:
        """The names of all tensors that parity reads in a model: currents and spikes of layers, taps, step output."""
        taps = [*self.taps, self.step_output] if self.step_output else self.taps
        layers = (*self.layers, *self.integrators)
        of_layers = {tensor for layer in layers for tensor in (current_tensor(layer.name), layer.result_tensor)}
        return of_layers | {tap.tensor for tap in taps}
