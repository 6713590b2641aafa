"""Synaptic operations of a graph, counted with the firing rates of its layers."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch.nn import functional

from tcja_exporters.costs.graph import POOLS, PRODUCTS, Graph, Node, Signal, _attribute
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor

E_MAC, E_AC = 4.6e-12, 0.9e-12
"""Joules."""


Mask: TypeAlias = npt.NDArray[np.bool_]


Rates: TypeAlias = Mapping[str, float]
"""By node of a product: the share of its input that is not zero."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synapses:
    """Synaptic operations of a module's products, for one window.

    Attributes:
        module: the PyTorch module.
        takes: what its input is.
        rate: share of its input that is not zero; 1 where zeros are not skipped.
        macs: multiply-adds of the same product in a network that does not spike.
        accumulates: additions of a weight.
        multiply_accumulates: multiply-adds that are left.
        joules: of both.
    """

    module: str
    takes: Signal
    rate: float
    macs: int
    accumulates: float
    multiply_accumulates: float
    joules: float


def _synapses(module: str, takes: Signal, nodes: list[Node], batch: int, rates: Rates) -> Synapses:
    macs = sum(node.macs for node in nodes) // batch
    events = macs if takes == "values" else math.fsum(rates[node.name] * node.macs for node in nodes) / batch
    accumulates, multiplies = (events, 0.0) if takes == "spikes" else (0.0, float(events))
    return Synapses(
        module=module,
        takes=takes,
        rate=events / macs,
        macs=macs,
        accumulates=accumulates,
        multiply_accumulates=multiplies,
        joules=accumulates * E_AC + multiplies * E_MAC,
    )


def _signals(graph: Graph, spiking: bool) -> dict[str, Signal]:
    """What each tensor holds."""
    found: dict[str, Signal] = collections.defaultdict(lambda: "values")
    found |= {tensor: "spikes" for tensor in graph.inputs if spiking}
    neurons = {spikes_tensor(module) for module in _neurons(graph)}
    for node in graph.nodes:
        if not node.input:
            continue
        first = found[node.input[0]]
        if node.output[0] in neurons:
            found[node.output[0]] = "spikes"
        elif node.op_type in _PASSES:
            found[node.output[0]] = first
        elif {"AveragePool": first, "Mul": _gated(node, found)[0]}.get(node.op_type, "values") != "values":
            found[node.output[0]] = "graded"
    return found


def _neurons(graph: Graph) -> Iterator[str]:
    """The modules of the spiking layers, whatever the form of time: they have a current and make spikes of it."""
    made = [tensor for node in graph.nodes for tensor in node.output]
    for tensor in made:
        module = tensor.rpartition("/")[0]
        if tensor == spikes_tensor(module) and current_tensor(module) in {*made, *graph.inputs}:
            yield module


def _gated(node: onnx.NodeProto, signals: Mapping[str, Signal]) -> tuple[Signal, str]:
    """What of the factors of a product is spikes, and its tensor."""
    for tensor in node.input:
        if signals[tensor] != "values":
            return signals[tensor], tensor
    return "values", node.input[0]


def _rates(graph: Graph, signals: Mapping[str, Signal], golden: Golden) -> dict[str, float]:
    products = [node for node in graph.nodes if node.op_type in PRODUCTS and signals[node.input[0]] != "values"]
    windows = len(golden.samples)
    events: dict[str, int] = collections.Counter()
    sizes = {node.name: 0 for node in products}
    for i in range(windows):
        masks = _Masks(graph, signals, golden, i)
        for node in products:
            mask = masks(node.input[0])
            events[node.name] += int(np.count_nonzero(mask))
            sizes[node.name] += mask.size
    return {name: events[name] / size for name, size in sizes.items()}


class _Masks:
    """Where the tensors of a graph are not zero, in one window of golden vectors."""

    def __init__(self, graph: Graph, signals: Mapping[str, Signal], golden: Golden, window: int) -> None:
        self._graph, self._signals, self._golden, self._window = graph, signals, golden, window
        self._layers = {spikes_tensor(module): module for module in _neurons(graph)}
        self._known: dict[str, Mask] = {}

    def __call__(self, tensor: str) -> Mask:
        if tensor not in self._known:
            self._known[tensor] = self._made(tensor)
        return self._known[tensor]

    def _made(self, tensor: str) -> Mask:
        part = slice(self._window, self._window + 1)
        if tensor in self._graph.inputs:
            return np.asarray(self._golden.samples.inputs[part] != 0)
        if tensor in self._layers:
            layer = self._layers[tensor]
            if layer not in self._golden.spikes:
                raise BadInput(f"the golden vectors have no spikes of {layer}; export the bundle again")
            return self._golden.spikes[layer].unpack(part)
        node = self._graph.makers[tensor]
        if node.op_type == "Mul":  # a gate is greater than zero, and what else a network may multiply by is taken so
            source = self(_gated(node, self._signals)[1])
            return np.broadcast_to(source, self._graph.shape(tensor))
        passes = _pooled if node.op_type in POOLS else _PASSES[node.op_type]
        passed = passes(node, self(node.input[0]), self._graph)
        if passed.shape != self._graph.shape(tensor):
            raise BadInput(f"the firing rate behind {node.name} cannot be told: its padding is unknown")
        return passed


def _as_it_is(_node: onnx.NodeProto, mask: Mask, _graph: Graph) -> Mask:
    return mask


def _reshaped(node: onnx.NodeProto, mask: Mask, graph: Graph) -> Mask:
    return mask.reshape(graph.shape(node.output[0]))


def _gathered(node: onnx.NodeProto, mask: Mask, graph: Graph) -> Mask:
    return np.take(mask, graph.values(node.input[1]), axis=_attribute(node, "axis", 0))


def _sliced(node: onnx.NodeProto, mask: Mask, graph: Graph) -> Mask:
    starts, ends, *rest = (graph.values(tensor) for tensor in node.input[1:])
    axes = rest[0] if rest else np.arange(len(starts))
    strides = rest[1] if len(rest) > 1 else np.ones_like(starts)
    part = [slice(None)] * mask.ndim
    for axis, *edges in zip(axes, starts, ends, strides, strict=True):
        part[axis] = slice(*map(int, edges))
    return mask[tuple(part)]


def _transposed(node: onnx.NodeProto, mask: Mask, _graph: Graph) -> Mask:
    return mask.transpose(_attribute(node, "perm", None))


def _pooled(node: onnx.NodeProto, mask: Mask, _graph: Graph) -> Mask:
    """Where a window has any that is not zero: so for the largest, and for the mean of what is not negative."""
    kernel = _attribute(node, "kernel_shape", None)
    pads = _attribute(node, "pads", [0] * 2 * len(kernel))
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(kernel) - 1]
    around = [pads[axis + side] for axis in reversed(range(len(kernel))) for side in (0, len(kernel))]
    padded = functional.pad(torch.from_numpy(mask.astype(np.float32)), around)
    return np.asarray(
        pool(
            padded,
            kernel,
            _attribute(node, "strides", [1] * len(kernel)),
            dilation=_attribute(node, "dilations", 1),
            ceil_mode=bool(_attribute(node, "ceil_mode", 0)),
        ).numpy()
        != 0
    )


_PASSES: Mapping[str, Callable[[onnx.NodeProto, Mask, Graph], Mask]] = {
    **dict.fromkeys(("Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear"), _as_it_is),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshaped),
    "Transpose": _transposed,
    "Gather": _gathered,
    "Slice": _sliced,
    "MaxPool": _pooled,
}
"""What leaves spikes spikes, or as they are graded."""
