r"""What a network costs: operations, bytes and memory a layer, time and energy on a board, and synaptic operations.

Of a node with output y, weight W of n_W values and data of b bytes a value:

    convolution      n_y n_W / C_out          multiply-adds; a padded border counts as the inside does
    transposed       n_x n_W / C_in
    matrix product   n_y K                    K is the length of the sums
    neuron           o n_x                    operations, o those of a time step (5 of LIF with a hard reset)
    pool             n_y k                    k values a window; a mean or sum over axes: n_x
    any other        n_y

A multiply-add is two operations, a bias one a value. A node reads what it takes once, and weights once however large
the batch, and writes what it makes once. What only renames values (reshape) moves nothing. Quantised data moves in 8
bits: a DequantizeLinear is part of what reads it. TensorRT joins neighbouring nodes, and then moves less than this.

The roofline (Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009) is a lower bound of the time of
nodes that run one after the other, neither the peak nor the bandwidth of a board being exceeded:

    t = sum over nodes of max(operations / peak, bytes / bandwidth)        E = P t

Products use the peak of their type, all else that of float32; P is the budget of the power mode, so E is what the
module may draw in that time, not what it does. Memory is that of a runtime which joins nothing and frees each value
after its last use; weights come on top.

Synaptic operations, as the literature on spiking networks counts them: of a product whose input is not zero in a share
r of its values, measured over all T steps,

    spikes           r MACs accumulates, E_AC = 0.9 pJ each
    graded spikes    r MACs multiply-adds, E_MAC = 4.6 pJ each: gated by attention, or means of some spikes
    anything else    MACs multiply-adds: frames, means, what is not known to be spikes

with the energies of a 32-bit float addition and multiply-add at 45 nm: Horowitz, "Computing's energy problem", ISSCC
2014. So counts e.g. Rathi and Roy, "DIET-SNN", IEEE TNNLS (2021). Pools pass events on: r is measured behind them. As r
is a mean, spikes next to a padded border are counted with the targets of those inside. These are energies of arithmetic
in a chip that skips zeros, memory not included; a GPU is no such chip.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper, shape_inference
from torch.nn import functional

from tcja_exporters import custom_op
from tcja_runtime.boards import Board, Mode, Precision
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.model_file.scan_pooling import opened
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor

E_MAC, E_AC = 4.6e-12, 0.9e-12
"""Joules."""

Signal: TypeAlias = Literal["spikes", "graded", "values"]
"""Graded spikes are zero where nothing fired, and not all of the same size elsewhere: gated ones, and means of some."""
Mask: TypeAlias = npt.NDArray[np.bool_]
Rates: TypeAlias = Mapping[str, float]
"""By node of a product: the share of its input that is not zero."""

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "DequantizeLinear")
_FREE = ("Constant", "ConstantOfShape", "Shape")
_MOVES = ("Transpose", "Expand", "Slice", "Gather", "Split", "Concat", "Pad", "Cast", "Tile")
_PARTS = ("Slice", "Gather")
_POOLS = ("MaxPool", "AveragePool")
_WEIGHTS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """What a node costs.

    Attributes:
        name: MODULE/OPERATOR.
        operator: of ONNX.
        precision: it computes in.
        macs: multiply-adds, of products.
        operations: all, a multiply-add being two.
        parameters: values of weights that no node before reads.
        weight_bytes: of them, as they are stored.
        read: bytes of weights and data.
        written: bytes.
        live: bytes of data that are kept while it runs.
        takes: what its first input is.
    """

    name: str
    operator: str
    precision: Precision
    macs: int
    operations: int
    parameters: int
    weight_bytes: int
    read: int
    written: int
    live: int
    takes: Signal

    @property
    def module(self) -> str:
        """The PyTorch module it comes from; empty if it is of the whole network."""
        return self.name.rpartition("/")[0]

    @property
    def moved(self) -> int:
        """Bytes between memory and GPU."""
        return self.read + self.written

    def time(self, board: Board, mode: Mode) -> tuple[float, float]:
        """Seconds that its operations take at least, and its bytes."""
        computing = self.operations / board.peak(self.precision, mode)
        return computing, self.moved / board.bandwidth(mode)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """What a PyTorch module costs, for one batch.

    Attributes:
        module: its name.
        macs: multiply-adds.
        operations: all, a multiply-add being two.
        parameters: values of its weights, batch norms folded into them.
        bytes_moved: between memory and GPU, weights included.
        activation_bytes: data kept while it runs, at most.
        seconds: roofline time; None without a board.
        bound: what that time is of: "compute" or "memory".
        joules: in that time at the power of the mode.
    """

    module: str
    macs: int
    operations: int
    parameters: int
    bytes_moved: int
    activation_bytes: int
    seconds: float | None
    bound: Literal["compute", "memory"] | None
    joules: float | None


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


class Costs:
    """The costs of a model for one size of its batch.

    Args:
        model: with TcjaLif nodes, or in standard operators; its weights need not be loaded.
        batch: windows at a time.
        spiking: whether the model's input is spikes.

    Raises:
        BadInput: the model has operators, shapes or open axes whose costs cannot be told.
    """

    def __init__(self, model: onnx.ModelProto, batch: int = 1, *, spiking: bool = False) -> None:
        self.batch = batch
        self._model = model
        self._spiking = spiking
        graph = _Graph(model, batch)
        self.nodes = tuple(_nodes(graph, _signals(graph, spiking)))

    @property
    def peak_activation_bytes(self) -> int:
        """Data kept at a time, at most."""
        return max(node.live for node in self.nodes)

    @property
    def weight_bytes(self) -> int:
        """Of all weights."""
        return sum(node.weight_bytes for node in self.nodes)

    def layers(self, at: tuple[Board, Mode] | None = None) -> list[Layer]:
        """What each module costs, in the order that they run; time and energy if a board is given."""
        modules: dict[str, list[Node]] = {}
        for node in self.nodes:
            modules.setdefault(node.module, []).append(node)
        return [_layer(module, nodes, at) for module, nodes in modules.items()]

    def total(self, at: tuple[Board, Mode] | None = None) -> Layer:
        """What the network costs."""
        return _layer("", self.nodes, at)

    def rates(self, golden: Golden) -> dict[str, float]:
        """By node of a product, the share of what it takes that is not zero, in what a reference fired.

        Only of those that take spikes, graded or not; measured over the windows and steps of the golden vectors.

        Raises:
            BadInput: the golden vectors have no spikes of a layer of the model.
        """
        graph = _Graph(self._model, 1)
        return _rates(graph, _signals(graph, self._spiking), golden)

    def synapses(self, rates: Rates) -> list[Synapses]:
        """The synaptic operations of the products of each module, for one window."""
        modules: dict[tuple[str, Signal], list[Node]] = {}
        for node in self.nodes:
            if node.macs:
                modules.setdefault((node.module, node.takes), []).append(node)
        return [_synapses(*key, nodes, self.batch, rates) for key, nodes in modules.items()]


def _layer(module: str, nodes: tuple[Node, ...] | list[Node], at: tuple[Board, Mode] | None) -> Layer:
    seconds, joules = None, None
    bound: Literal["compute", "memory"] | None = None
    if at is not None:
        times = [node.time(*at) for node in nodes]
        seconds = math.fsum(map(max, times))
        computing = math.fsum(t for t, moving in times if t > moving)
        bound = "compute" if computing > seconds / 2 else "memory"
        joules = seconds * at[1].watts
    return Layer(
        module=module,
        macs=sum(node.macs for node in nodes),
        operations=sum(node.operations for node in nodes),
        parameters=sum(node.parameters for node in nodes),
        bytes_moved=sum(node.moved for node in nodes),
        activation_bytes=max(node.live for node in nodes),
        seconds=seconds,
        bound=bound,
        joules=joules,
    )


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


class _Graph:
    """A graph whose every tensor has a shape and a type."""

    def __init__(self, model: onnx.ModelProto, batch: int) -> None:
        inferred = _inferred(model, batch)
        self.nodes = list(inferred.graph.node)
        self.inputs = [value.name for value in inferred.graph.input]
        self.outputs = [value.name for value in inferred.graph.output]
        self.constants = {tensor.name: tensor for tensor in inferred.graph.initializer}
        self.constants |= {
            node.output[0]: attribute.t
            for node in self.nodes
            for attribute in node.attribute
            if node.op_type == "Constant" and attribute.name == "value"
        }
        self._types = {
            value.name: value.type.tensor_type
            for values in (inferred.graph.value_info, inferred.graph.input, inferred.graph.output)
            for value in values
        }
        self.makers = {tensor: node for node in self.nodes for tensor in node.output}

    def shape(self, tensor: str) -> tuple[int, ...]:
        if tensor in self.constants:
            return tuple(self.constants[tensor].dims)
        found = self._types.get(tensor)
        dims = found.shape.dim if found else ()
        if found is None or not found.HasField("shape") or not all(dim.HasField("dim_value") for dim in dims):
            raise BadInput(f"the costs of the model cannot be told: nothing tells the shape of its tensor '{tensor}'")
        return tuple(dim.dim_value for dim in dims)

    def size(self, tensor: str) -> int:
        return math.prod(self.shape(tensor))

    def type(self, tensor: str) -> int:
        return int(self.constants[tensor].data_type if tensor in self.constants else self._types[tensor].elem_type)

    def stored(self, tensor: str) -> str:
        """The tensor in memory that another one is a view of."""
        while tensor in self.makers and self.makers[tensor].op_type in _VIEWS:
            tensor = self.makers[tensor].input[0]
        return tensor

    def bytes(self, tensor: str) -> int:
        return self.size(tensor) * int(helper.tensor_dtype_to_np_dtype(self.type(tensor)).itemsize)

    def values(self, tensor: str) -> npt.NDArray[Any]:
        if tensor not in self.constants:
            raise BadInput(f"the firing rate behind '{tensor}' cannot be told: what it selects is not constant")
        return numpy_helper.to_array(self.constants[tensor])

    def is_weight(self, tensor: str) -> bool:
        """Whether it is a constant of numbers, not a shape or a lone scale."""
        constant = self.constants.get(tensor)
        return constant is not None and len(constant.dims) > 0 and constant.data_type in _WEIGHTS


def _inferred(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """The model with its batch fixed, all shapes that follow, and the spikes of every layer."""
    fixed = onnx.ModelProto.FromString(opened(model.SerializeToString()))
    axes = [dim for value in fixed.graph.input for dim in value.type.tensor_type.shape.dim if dim.dim_param]
    if len({dim.dim_param for dim in axes}) > 1:
        names = ", ".join(sorted({dim.dim_param for dim in axes}))
        raise BadInput(f"the costs of the model cannot be told: its inputs have more open axes than a batch ({names})")
    if not axes and batch != 1:
        raise BadInput(f"--batch {batch}: the model has a batch of its own, which is fixed")
    for dim in axes:
        dim.dim_value = batch
    # What is stored of shapes has the batch as a symbol.
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return shape_inference.infer_shapes(fixed, data_prop=True)
    except Exception as error:  # onnx's own, which share no base class
        text = str(error).strip().splitlines()[0]
        raise BadInput(f"the costs of the model cannot be told: its shapes do not follow ({text})") from error


def _nodes(graph: _Graph, signals: Mapping[str, Signal]) -> Iterator[Node]:
    held: set[str] = set()
    live = _live(graph)
    for node, kept in zip(graph.nodes, live, strict=True):
        if node.op_type in (*_VIEWS, *_FREE) or all(tensor in graph.constants for tensor in node.output):
            continue
        taken = list(dict.fromkeys(graph.stored(tensor) for tensor in node.input if tensor))
        weights = [tensor for tensor in taken if graph.is_weight(tensor)]
        new = [tensor for tensor in weights if tensor not in held]
        held.update(new)
        data = [tensor for tensor in taken if tensor not in graph.constants]
        written = sum(graph.bytes(tensor) for tensor in node.output if tensor)
        read = written if node.op_type in _PARTS else sum(map(graph.bytes, [*data, *weights]))
        macs = _macs(graph, node) if node.op_type in _PRODUCTS else 0
        yield Node(
            name=node.name,
            operator=node.op_type,
            precision=_precision(graph, node) if macs else "fp32",
            macs=macs,
            operations=2 * macs + _biases(graph, node) if macs else _operations(graph, node),
            parameters=sum(map(graph.size, new)),
            weight_bytes=sum(map(graph.bytes, new)),
            read=read,
            written=written,
            live=kept,
            takes=signals[node.input[0]] if node.input else "values",
        )


def _live(graph: _Graph) -> list[int]:
    """Bytes of data that are kept while each node runs: made before or by it, and read by it or later, or returned."""
    last = {graph.stored(tensor): i for i, node in enumerate(graph.nodes) for tensor in node.input if tensor}
    last |= {graph.stored(tensor): len(graph.nodes) for tensor in graph.outputs}
    sizes = {tensor: graph.bytes(tensor) for tensor in graph.inputs if tensor not in graph.constants}
    kept, found = dict(sizes), []
    for i, node in enumerate(graph.nodes):
        if node.op_type not in (*_VIEWS, *_FREE):
            made = [tensor for tensor in node.output if tensor and tensor not in graph.constants]
            kept |= {tensor: graph.bytes(tensor) for tensor in made}
        found.append(sum(kept.values()))
        kept = {tensor: size for tensor, size in kept.items() if last.get(tensor, -1) > i}
    return found


def _macs(graph: _Graph, node: onnx.NodeProto) -> int:
    data, weight = node.input[:2]
    if node.op_type == "Conv":
        return graph.size(node.output[0]) * graph.size(weight) // graph.shape(weight)[0]
    if node.op_type == "ConvTranspose":
        return graph.size(data) * graph.size(weight) // graph.shape(weight)[0]
    transposed = node.op_type == "Gemm" and _attribute(node, "transA", 0)
    return graph.size(node.output[0]) * graph.shape(data)[0 if transposed else -1]


def _biases(graph: _Graph, node: onnx.NodeProto) -> int:
    return graph.size(node.output[0]) if len(node.input) > 2 and node.input[2] else 0


def _operations(graph: _Graph, node: onnx.NodeProto) -> int:
    if node.domain == custom_op.DOMAIN and node.op_type == custom_op.NAME:
        return custom_op.operations(custom_op.step_of(node)) * graph.size(node.input[0])
    if node.op_type == "Scan":  # over a layer's neurons, each of which takes a value a step
        (body,) = (attribute.g for attribute in node.attribute if attribute.name == "body")
        return custom_op.operations(body.node) * graph.size(node.input[-1])
    if node.domain or any(attribute.HasField("g") for attribute in node.attribute):
        raise BadInput(f"the costs of the model cannot be told: those of {node.op_type} (node {node.name}) are unknown")
    if node.op_type in _MOVES:
        return 0
    if node.op_type in _POOLS:
        window: int = math.prod(_attribute(node, "kernel_shape", [1]))
        return graph.size(node.output[0]) * window
    if node.op_type.startswith(("Reduce", "Global")):
        return graph.size(node.input[0])
    return sum(graph.size(tensor) for tensor in node.output if tensor)


def _precision(graph: _Graph, node: onnx.NodeProto) -> Precision:
    """What a product computes in: int8 if both operands are, else what its input is."""
    types = {graph.type(graph.stored(tensor)) for tensor in node.input[:2]}
    if types == {onnx.TensorProto.INT8}:
        return "int8"
    return "fp16" if graph.type(node.input[0]) == onnx.TensorProto.FLOAT16 else "fp32"


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = [helper.get_attribute_value(each) for each in node.attribute if each.name == name]
    return found[0] if found else default


# What is spikes


def _signals(graph: _Graph, spiking: bool) -> dict[str, Signal]:
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


def _neurons(graph: _Graph) -> Iterator[str]:
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


def _rates(graph: _Graph, signals: Mapping[str, Signal], golden: Golden) -> dict[str, float]:
    products = [node for node in graph.nodes if node.op_type in _PRODUCTS and signals[node.input[0]] != "values"]
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

    def __init__(self, graph: _Graph, signals: Mapping[str, Signal], golden: Golden, window: int) -> None:
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
        passes = _pooled if node.op_type in _POOLS else _PASSES[node.op_type]
        passed = passes(node, self(node.input[0]), self._graph)
        if passed.shape != self._graph.shape(tensor):
            raise BadInput(f"the firing rate behind {node.name} cannot be told: its padding is unknown")
        return passed


def _as_it_is(_node: onnx.NodeProto, mask: Mask, _graph: _Graph) -> Mask:
    return mask


def _reshaped(node: onnx.NodeProto, mask: Mask, graph: _Graph) -> Mask:
    return mask.reshape(graph.shape(node.output[0]))


def _gathered(node: onnx.NodeProto, mask: Mask, graph: _Graph) -> Mask:
    return np.take(mask, graph.values(node.input[1]), axis=_attribute(node, "axis", 0))


def _sliced(node: onnx.NodeProto, mask: Mask, graph: _Graph) -> Mask:
    starts, ends, *rest = (graph.values(tensor) for tensor in node.input[1:])
    axes = rest[0] if rest else np.arange(len(starts))
    strides = rest[1] if len(rest) > 1 else np.ones_like(starts)
    part = [slice(None)] * mask.ndim
    for axis, *edges in zip(axes, starts, ends, strides, strict=True):
        part[axis] = slice(*map(int, edges))
    return mask[tuple(part)]


def _transposed(node: onnx.NodeProto, mask: Mask, _graph: _Graph) -> Mask:
    return mask.transpose(_attribute(node, "perm", None))


def _pooled(node: onnx.NodeProto, mask: Mask, _graph: _Graph) -> Mask:
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


_PASSES: Mapping[str, Callable[[onnx.NodeProto, Mask, _Graph], Mask]] = {
    **dict.fromkeys(("Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear"), _as_it_is),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshaped),
    "Transpose": _transposed,
    "Gather": _gathered,
    "Slice": _sliced,
    "MaxPool": _pooled,
}
"""What leaves spikes spikes, or as they are graded."""
