"""An exported network in a lower precision: its models, and the same network in PyTorch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from torch import Tensor, nn

from tcja_exporters.graph.export import with_pass
from tcja_exporters.graph.exported import Exported
from tcja_exporters.modules.quantizer import quantized
from tcja_exporters.precision.fp16 import to_half
from tcja_exporters.precision.int8 import to_int8
from tcja_exporters.precision.selection import lowerable
from tcja_exporters.reference import recorder
from tcja_runtime.bundle.network_signature import Weight
from tcja_runtime.data.contract import Floats


@dataclasses.dataclass(frozen=True)
class Lowered:
    """A network in one precision.

    Attributes:
        exported: the exported models of the network.
        network: the network in PyTorch, with the same constants as the models.
        precision: the precision, one of `tcja_runtime.choices.PRECISIONS`.
    """

    exported: Exported
    network: nn.Module
    precision: str


def lowered(
    network: nn.Module, exported: Exported, precision: str, kept: set[str], scales: Mapping[str, float]
) -> Lowered:
    """Return an exported network in a lower precision.

    Args:
        network: the trained network; it is copied.
        exported: the models of the network in float32.
        precision: the precision, "fp16" or "int8".
        kept: the names of the modules whose weights stay in float32.
        scales: the scales of the modules' inputs, by module, for "int8"; a module without a scale stays in float32.
    """
    chosen = [
        weight
        for weight in lowerable(network, exported)
        if weight.module not in kept and (precision == "fp16" or weight.module in scales)
    ]
    tensors = {weight.tensor for weight in chosen}
    change: Callable[..., Any]
    if precision == "fp16":
        change = functools.partial(to_half, weights=tensors)
    else:
        change = functools.partial(to_int8, scales={weight.tensor: scales[weight.module] for weight in chosen})
    weights = [
        dataclasses.replace(weight, type=precision, scale=scales.get(weight.module)) if weight in chosen else weight
        for weight in exported.weights
    ]
    changed = with_pass(exported, f"to_{precision}", change, weights)
    twin = recorder.with_weights(network, chosen, _constants(changed.model, chosen))
    for weight in chosen if precision == "int8" else ():
        twin.get_submodule(weight.module).register_forward_pre_hook(
            functools.partial(_quantized_input, scale=scales[weight.module])
        )
    return Lowered(changed, twin, precision)


def _quantized_input(_module: nn.Module, args: tuple[Tensor, ...], *, scale: float) -> tuple[Tensor, ...]:
    """Return the arguments of a module's forward with the input quantised; used as a hook before the forward."""
    return (quantized(args[0], scale), *args[1:])


def _constants(model: onnx.ModelProto, weights: list[Weight]) -> dict[str, Floats]:
    """Return the values of a model's weights and biases in float32, by the names of their tensors."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}

    def value(name: str) -> Floats:
        if name in stored:
            return stored[name].astype(np.float32)
        node = makers[name]
        axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis")
        integers, scales = (stored[tensor] for tensor in node.input[:2])
        along = [-1 if i == axis else 1 for i in range(integers.ndim)]
        floats: Floats = integers.astype(np.float32) * scales.reshape(along)
        return floats

    return {name: value(name) for weight in weights for name in (weight.tensor, weight.bias) if name is not None}
