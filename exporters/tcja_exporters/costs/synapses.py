"""The synaptic operations of a graph, counted with the firing rates that golden vectors have."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch.nn import functional

from tcja_exporters.costs.graph import POOLS, PRODUCTS, Content, SizedGraph, attribute
from tcja_exporters.costs.nodes import NodeCost
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor

E_MAC, E_AC = 4.6e-12, 0.9e-12
"""The energies of a multiply-accumulate and of an accumulate, in joules."""

FiringRates: TypeAlias = Mapping[str, float]
"""The share of a product's input that is not zero, by the name of the product's node; only where that is spikes."""

_Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SynapticCost:
    """The synaptic operations of a module's products, for one window.

    Attributes:
        module: the name of the PyTorch module.
        takes: the content of the products' input.
        rate: the share of the input that is not zero; 1 where zeros are not skipped.
        macs: the multiply-adds of the same products if their input were dense.
        accumulates: the number of additions of a weight.
        multiply_accumulates: the number of multiply-adds that remain.
        joules: the energy of the additions and multiply-adds.
    """

    module: str
    takes: Content
    rate: float
    macs: int
    accumulates: float
    multiply_accumulates: float
    joules: float


def synaptic_cost(products: Sequence[NodeCost], batch: int, rates: FiringRates) -> SynapticCost:
    """The synaptic operations of products of one module with one content of their inputs.

    Args:
        products: the products, one at least.
        batch: the number of windows at a time of their costs.
        rates: the firing rates at the inputs of products that take spikes.
    """
    takes = products[0].takes
    macs = sum(node.macs for node in products) // batch
    events = macs if takes == "values" else math.fsum(rates[node.name] * node.macs for node in products) / batch
    accumulates, multiplies = (events, 0.0) if takes == "spikes" else (0.0, float(events))
    return SynapticCost(
        module=products[0].module,
        takes=takes,
        rate=events / macs,
        macs=macs,
        accumulates=accumulates,
        multiply_accumulates=multiplies,
        joules=accumulates * E_AC + multiplies * E_MAC,
    )


def contents(graph: SizedGraph, *, spiking: bool) -> Mapping[str, Content]:
    """The content of every tensor; `spiking` says whether the graph's inputs are spikes."""
    found: dict[str, Content] = collections.defaultdict(lambda: "values")
    found |= {tensor: "spikes" for tensor in graph.inputs if spiking}
    layers = {spikes_tensor(module) for module in _spiking_layers(graph)}
    for node in graph.nodes:
        if not node.input:
            continue
        first = found[node.input[0]]
        if node.output[0] in layers:
            found[node.output[0]] = "spikes"
        elif node.op_type in _PASSES:
            found[node.output[0]] = first
        elif {"AveragePool": first, "Mul": found[_gated(node, found)]}.get(node.op_type, "values") != "values":
            found[node.output[0]] = "graded"
    return found


def _spiking_layers(graph: SizedGraph) -> Iterator[str]:
    """The modules of the spiking layers, in any time form: those with a tensor of currents and a tensor of spikes."""
    made = [tensor for node in graph.nodes for tensor in node.output]
    for tensor in made:
        module = tensor.rpartition("/")[0]
        if tensor == spikes_tensor(module) and current_tensor(module) in {*made, *graph.inputs}:
            yield module


def _gated(node: onnx.NodeProto, contents: Mapping[str, Content]) -> str:
    """The factor of an element-wise product that holds spikes; the first factor where none does."""
    factors: list[str] = list(node.input)
    return next((tensor for tensor in factors if contents[tensor] != "values"), factors[0])


def firing_rates(graph: SizedGraph, contents: Mapping[str, Content], golden: Golden) -> FiringRates:
    """The firing rates at the inputs of the products that take spikes, graded or not.

    Args:
        graph: the graph for one window.
        contents: the content of every tensor.
        golden: the windows and their spikes.

    Raises:
        BadInput: the golden vectors have no spikes of a layer, or an operator before a product has no rule.
    """
    products = [node for node in graph.nodes if node.op_type in PRODUCTS and contents[node.input[0]] != "values"]
    layers = {spikes_tensor(module): module for module in _spiking_layers(graph)}
    events: dict[str, int] = collections.Counter()
    sizes = {node.name: 0 for node in products}
    for window in range(len(golden.samples)):
        masks = _Masks(graph, contents, layers, golden, window)
        for node in products:
            mask = masks.of(node.input[0])
            events[node.name] += int(np.count_nonzero(mask))
            sizes[node.name] += mask.size
    return {name: events[name] / size for name, size in sizes.items()}


@dataclasses.dataclass(frozen=True)
class _Masks:
    """The places where tensors are not zero, in one window of golden vectors.

    Attributes:
        graph: the graph for one window.
        contents: the content of every tensor.
        layers: the name of a spiking layer by its tensor of spikes.
        golden: the golden vectors.
        window: the index of the window.
        known: the masks that were already made, by tensor.
    """

    graph: SizedGraph
    contents: Mapping[str, Content]
    layers: Mapping[str, str]
    golden: Golden
    window: int
    known: dict[str, _Mask] = dataclasses.field(default_factory=dict)

    def of(self, tensor: str) -> _Mask:
        """The mask of a tensor, in its shape."""
        if tensor not in self.known:
            self.known[tensor] = self._made(tensor)
        return self.known[tensor]

    def _made(self, tensor: str) -> _Mask:
        part = slice(self.window, self.window + 1)
        if tensor in self.graph.inputs:
            return np.asarray(self.golden.samples.inputs[part] != 0)
        if tensor in self.layers:
            layer = self.layers[tensor]
            if layer not in self.golden.spikes:
                raise BadInput(f"the golden vectors have no spikes of {layer}; export the bundle again")
            return self.golden.spikes[layer].unpack(part)
        node = self.graph.makers[tensor]
        if node.op_type == "Mul":  # a gate is greater than zero; any other factor is taken to be so, too
            return np.broadcast_to(self.of(_gated(node, self.contents)), self.graph.shape(tensor))
        passes = _pooled if node.op_type in POOLS else _PASSES[node.op_type]
        passed = passes(node, self.of(node.input[0]), self.graph)
        if passed.shape != self.graph.shape(tensor):
            raise BadInput(f"the firing rate behind {node.name} is not known: its padding has no rule")
        return passed


def _as_it_is(_node: onnx.NodeProto, mask: _Mask, _graph: SizedGraph) -> _Mask:
    return mask


def _reshaped(node: onnx.NodeProto, mask: _Mask, graph: SizedGraph) -> _Mask:
    return mask.reshape(graph.shape(node.output[0]))


def _gathered(node: onnx.NodeProto, mask: _Mask, graph: SizedGraph) -> _Mask:
    return np.take(mask, graph.values(node.input[1]), axis=attribute(node, "axis", 0))


def _sliced(node: onnx.NodeProto, mask: _Mask, graph: SizedGraph) -> _Mask:
    starts, ends, *rest = (graph.values(tensor) for tensor in node.input[1:])
    axes = rest[0] if rest else np.arange(len(starts))
    strides = rest[1] if len(rest) > 1 else np.ones_like(starts)
    part = [slice(None)] * mask.ndim
    for axis, *edges in zip(axes, starts, ends, strides, strict=True):
        part[axis] = slice(*map(int, edges))
    return mask[tuple(part)]


def _transposed(node: onnx.NodeProto, mask: _Mask, _graph: SizedGraph) -> _Mask:
    return mask.transpose(attribute(node, "perm", None))


def _pooled(node: onnx.NodeProto, mask: _Mask, _graph: SizedGraph) -> _Mask:
    """The mask behind a pool: a maximum or mean is not zero where any spike of its pooling window is not zero."""
    kernel = attribute(node, "kernel_shape", None)
    pads = attribute(node, "pads", [0] * 2 * len(kernel))
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(kernel) - 1]
    around = [pads[axis + side] for axis in reversed(range(len(kernel))) for side in (0, len(kernel))]
    padded = functional.pad(torch.from_numpy(mask.astype(np.float32)), around)
    return np.asarray(
        pool(
            padded,
            kernel,
            attribute(node, "strides", [1] * len(kernel)),
            dilation=attribute(node, "dilations", 1),
            ceil_mode=bool(attribute(node, "ceil_mode", 0)),
        ).numpy()
        != 0
    )


_PASSES: Mapping[str, Callable[[onnx.NodeProto, _Mask, SizedGraph], _Mask]] = {
    **dict.fromkeys(("Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear"), _as_it_is),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshaped),
    "Transpose": _transposed,
    "Gather": _gathered,
    "Slice": _sliced,
    "MaxPool": _pooled,
}
"""The operators that pass spikes on unchanged, each with the function that passes a mask on."""
