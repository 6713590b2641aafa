"""The synaptic operations of a graph, counted with the firing rates in golden vectors."""

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
"""The share of a product's input that is not zero, by the name of the product's node.

It has only the products whose input is spikes, graded or not.
"""

_Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SynapticCost:
    """The synaptic operations of a module's products, for one window.

    Attributes:
        module: the name of the PyTorch module.
        takes: the content of the products' input.
        rate: the share of the input that is not zero; 1 if the content is "values", whose zeros are not skipped.
        macs: the number of multiply-adds without skipping zeros.
        accumulates: the number of additions of a weight, one for each spike and target; 0 if the input is not spikes.
        multiply_accumulates: the number of multiply-adds, without those that zeros of graded spikes save; 0 if the
            input is spikes.
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
    """Return the synaptic operations of products that are of one module and whose inputs have the same content.

    Args:
        products: the costs of the products, at least one.
        batch: the number of windows that these costs are for.
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
    """Return the content of every tensor, by name; a tensor without an entry holds "values".

    Args:
        graph: the graph.
        spiking: whether the inputs of the graph are spikes.
    """
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
    """Yield the modules of the spiking layers, which are those with a tensor of currents and a tensor of spikes.

    These two tensors exist in every time form.
    """
    made = [tensor for node in graph.nodes for tensor in node.output]
    for tensor in made:
        module = tensor.rpartition("/")[0]
        if tensor == spikes_tensor(module) and current_tensor(module) in {*made, *graph.inputs}:
            yield module


def _gated(node: onnx.NodeProto, contents: Mapping[str, Content]) -> str:
    """Return the factor of an element-wise product that holds spikes; the first factor if no factor does."""
    factors: list[str] = list(node.input)
    return next((tensor for tensor in factors if contents[tensor] != "values"), factors[0])


def firing_rates(graph: SizedGraph, contents: Mapping[str, Content], golden: Golden) -> FiringRates:
    """Return the firing rates at the inputs of the products that take spikes, graded or not.

    Args:
        graph: the graph for one window.
        contents: the content of every tensor.
        golden: the golden vectors: windows and their spikes.

    Raises:
        BadInput: the golden vectors have no spikes of a layer, or the padding of an operator before a product has no
            rule.
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
    """Masks of tensors for one window of golden vectors: true where a tensor is not zero.

    Attributes:
        graph: the graph for one window.
        contents: the content of every tensor.
        layers: the names of the spiking layers, by the names of their tensors of spikes.
        golden: the golden vectors.
        window: the index of the window.
        known: the masks that are already computed, by the tensor's name.
    """

    graph: SizedGraph
    contents: Mapping[str, Content]
    layers: Mapping[str, str]
    golden: Golden
    window: int
    known: dict[str, _Mask] = dataclasses.field(default_factory=dict)

    def of(self, tensor: str) -> _Mask:
        """Return the mask of a tensor, in the shape of the tensor.

        Raises:
            BadInput: the golden vectors have no spikes of a layer, or the padding of an operator has no rule.
        """
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
        if node.op_type == "Mul":  # a gate is greater than zero; any other factor is assumed to be, too
            return np.broadcast_to(self.of(_gated(node, self.contents)), self.graph.shape(tensor))
        passes = _pooled if node.op_type in POOLS else _PASSES[node.op_type]
        passed = passes(node, self.of(node.input[0]), self.graph)
        if passed.shape != self.graph.shape(tensor):
            raise BadInput(f"the firing rate after {node.name} is not known: its padding has no rule")
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
    """Return the mask of a pool's result, which is not zero if any spike in the pooling window is not zero."""
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
"""The operators that do not change the values of spikes, each with the function that applies it to a mask."""
