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

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Literal

import onnx

from tcja_exporters import custom_op
from tcja_exporters.costs.boards import Board, Mode
from tcja_exporters.costs.graph import (
    FREE,
    MOVES,
    PARTS,
    POOLS,
    PRODUCTS,
    VIEWS,
    Graph,
    Node,
    Signal,
    _attribute,
    _precision,
)
from tcja_exporters.costs.synapses import Rates, Synapses, _rates, _signals, _synapses
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.golden import Golden


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModuleCost:
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
        graph = Graph(model, batch)
        self.nodes = tuple(_nodes(graph, _signals(graph, spiking)))

    @property
    def weight_bytes(self) -> int:
        """Of all weights."""
        return sum(node.weight_bytes for node in self.nodes)

    def layers(self, at: tuple[Board, Mode] | None = None) -> list[ModuleCost]:
        """What each module costs, in the order that they run; time and energy if a board is given."""
        modules: dict[str, list[Node]] = {}
        for node in self.nodes:
            modules.setdefault(node.module, []).append(node)
        return [_layer(module, nodes, at) for module, nodes in modules.items()]

    def total(self, at: tuple[Board, Mode] | None = None) -> ModuleCost:
        """What the network costs."""
        return _layer("", self.nodes, at)

    def rates(self, golden: Golden) -> dict[str, float]:
        """By node of a product, the share of what it takes that is not zero, in what a reference fired.

        Only of those that take spikes, graded or not; measured over the windows and steps of the golden vectors.

        Raises:
            BadInput: the golden vectors have no spikes of a layer of the model.
        """
        graph = Graph(self._model, 1)
        return _rates(graph, _signals(graph, self._spiking), golden)

    def synapses(self, rates: Rates) -> list[Synapses]:
        """The synaptic operations of the products of each module, for one window."""
        modules: dict[tuple[str, Signal], list[Node]] = {}
        for node in self.nodes:
            if node.macs:
                modules.setdefault((node.module, node.takes), []).append(node)
        return [_synapses(*key, nodes, self.batch, rates) for key, nodes in modules.items()]


def _layer(module: str, nodes: tuple[Node, ...] | list[Node], at: tuple[Board, Mode] | None) -> ModuleCost:
    seconds, joules = None, None
    bound: Literal["compute", "memory"] | None = None
    if at is not None:
        times = [node.time(*at) for node in nodes]
        seconds = math.fsum(map(max, times))
        computing = math.fsum(t for t, moving in times if t > moving)
        bound = "compute" if computing > seconds / 2 else "memory"
        joules = seconds * at[1].watts
    return ModuleCost(
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


def _nodes(graph: Graph, signals: Mapping[str, Signal]) -> Iterator[Node]:
    held: set[str] = set()
    live = _live(graph)
    for node, kept in zip(graph.nodes, live, strict=True):
        if node.op_type in (*VIEWS, *FREE) or all(tensor in graph.constants for tensor in node.output):
            continue
        taken = list(dict.fromkeys(graph.stored(tensor) for tensor in node.input if tensor))
        weights = [tensor for tensor in taken if graph.is_weight(tensor)]
        new = [tensor for tensor in weights if tensor not in held]
        held.update(new)
        data = [tensor for tensor in taken if tensor not in graph.constants]
        written = sum(graph.bytes(tensor) for tensor in node.output if tensor)
        read = written if node.op_type in PARTS else sum(map(graph.bytes, [*data, *weights]))
        macs = _macs(graph, node) if node.op_type in PRODUCTS else 0
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


def _live(graph: Graph) -> list[int]:
    """Bytes of data that are kept while each node runs: made before or by it, and read by it or later, or returned."""
    last = {graph.stored(tensor): i for i, node in enumerate(graph.nodes) for tensor in node.input if tensor}
    last |= {graph.stored(tensor): len(graph.nodes) for tensor in graph.outputs}
    sizes = {tensor: graph.bytes(tensor) for tensor in graph.inputs if tensor not in graph.constants}
    kept, found = dict(sizes), []
    for i, node in enumerate(graph.nodes):
        if node.op_type not in (*VIEWS, *FREE):
            made = [tensor for tensor in node.output if tensor and tensor not in graph.constants]
            kept |= {tensor: graph.bytes(tensor) for tensor in made}
        found.append(sum(kept.values()))
        kept = {tensor: size for tensor, size in kept.items() if last.get(tensor, -1) > i}
    return found


def _macs(graph: Graph, node: onnx.NodeProto) -> int:
    data, weight = node.input[:2]
    if node.op_type == "Conv":
        return graph.size(node.output[0]) * graph.size(weight) // graph.shape(weight)[0]
    if node.op_type == "ConvTranspose":
        return graph.size(data) * graph.size(weight) // graph.shape(weight)[0]
    transposed = node.op_type == "Gemm" and _attribute(node, "transA", 0)
    return graph.size(node.output[0]) * graph.shape(data)[0 if transposed else -1]


def _biases(graph: Graph, node: onnx.NodeProto) -> int:
    return graph.size(node.output[0]) if len(node.input) > 2 and node.input[2] else 0


def _operations(graph: Graph, node: onnx.NodeProto) -> int:
    if node.domain == custom_op.DOMAIN and node.op_type == custom_op.NAME:
        return custom_op.operations(custom_op.step_of(node)) * graph.size(node.input[0])
    if node.op_type == "Scan":  # over a layer's neurons, each of which takes a value a step
        (body,) = (attribute.g for attribute in node.attribute if attribute.name == "body")
        return custom_op.operations(body.node) * graph.size(node.input[-1])
    if node.domain or any(attribute.HasField("g") for attribute in node.attribute):
        raise BadInput(f"the costs of the model cannot be told: those of {node.op_type} (node {node.name}) are unknown")
    if node.op_type in MOVES:
        return 0
    if node.op_type in POOLS:
        window: int = math.prod(_attribute(node, "kernel_shape", [1]))
        return graph.size(node.output[0]) * window
    if node.op_type.startswith(("Reduce", "Global")):
        return graph.size(node.input[0])
    return sum(graph.size(tensor) for tensor in node.output if tensor)
