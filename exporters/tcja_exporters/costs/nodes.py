"""The costs of every node of a graph: operations, parameters and bytes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

import onnx

from tcja_exporters import custom_op
from tcja_exporters.costs.boards import Device
from tcja_exporters.costs.graph import FREE, MOVES, PARTS, POOLS, PRODUCTS, VIEWS, Content, SizedGraph, attribute
from tcja_runtime.errors import BadInput


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeCost:
    """The costs of a node for one batch.

    Attributes:
        name: the name of the node, MODULE/OPERATOR.
        operator: the ONNX operator.
        precision: the precision that the node computes in, one of `tcja_runtime.choices.PRECISIONS`.
        macs: the number of multiply-adds; 0 if the node is not a product.
        operations: the number of all operations; a multiply-add is two operations.
        parameters: the number of weights that the node reads and that no earlier node reads.
        weight_bytes: the stored size of these weights, in bytes.
        read: the size of the weights and data that the node reads, in bytes.
        written: the size of the data that the node writes, in bytes.
        live: the size of all data in memory while the node runs, without weights, in bytes.
        takes: the content of the node's first input: "spikes", "graded" or "values"
            (`tcja_exporters.costs.graph.Content`).
    """

    name: str
    operator: str
    precision: str
    macs: int
    operations: int
    parameters: int
    weight_bytes: int
    read: int
    written: int
    live: int
    takes: Content

    @property
    def module(self) -> str:
        """The name of the PyTorch module that the node comes from; empty for a node of the whole network."""
        return self.name.rpartition("/")[0]

    @property
    def moved(self) -> int:
        """The number of bytes that move between memory and GPU."""
        return self.read + self.written

    def compute_seconds(self, device: Device) -> float:
        """Return the shortest possible time of the operations, in seconds."""
        return self.operations / device.peak(self.precision)

    def memory_seconds(self, device: Device) -> float:
        """Return the shortest possible time to move the bytes, in seconds."""
        return self.moved / device.bandwidth


def node_costs(graph: SizedGraph, contents: Mapping[str, Content]) -> Iterator[NodeCost]:
    """Yield the costs of the nodes that compute or move data, in the order in which they run.

    Args:
        graph: the graph.
        contents: the content of every tensor, by name.

    Raises:
        BadInput: the costs of an operator are not known.
    """
    counted: set[str] = set()
    for node, live in zip(graph.nodes, _live_bytes(graph), strict=True):
        if node.op_type in (*VIEWS, *FREE) or all(tensor in graph.constants for tensor in node.output):
            continue
        taken = list(dict.fromkeys(graph.stored(tensor) for tensor in node.input if tensor))
        weights = [tensor for tensor in taken if graph.is_weight(tensor)]
        new = [tensor for tensor in weights if tensor not in counted]
        counted.update(new)
        data = [tensor for tensor in taken if tensor not in graph.constants]
        written = sum(graph.bytes(tensor) for tensor in node.output if tensor)
        read = written if node.op_type in PARTS else sum(map(graph.bytes, [*data, *weights]))
        macs = _macs(graph, node) if node.op_type in PRODUCTS else 0
        yield NodeCost(
            name=node.name,
            operator=node.op_type,
            precision=_precision(graph, node) if macs else "fp32",
            macs=macs,
            operations=2 * macs + _biases(graph, node) if macs else _operations(graph, node),
            parameters=sum(map(graph.size, new)),
            weight_bytes=sum(map(graph.bytes, new)),
            read=read,
            written=written,
            live=live,
            takes=contents[node.input[0]] if node.input else "values",
        )


def _live_bytes(graph: SizedGraph) -> list[int]:
    """Return the number of bytes of data in memory while each node runs, in the order of the nodes.

    A tensor is in memory from the node that makes it to the last node that reads it. An output of the graph stays to
    the end.
    """
    last = {graph.stored(tensor): i for i, node in enumerate(graph.nodes) for tensor in node.input if tensor}
    last |= {graph.stored(tensor): len(graph.nodes) for tensor in graph.outputs}
    kept = {tensor: graph.bytes(tensor) for tensor in graph.inputs if tensor not in graph.constants}
    found = []
    for i, node in enumerate(graph.nodes):
        if node.op_type not in (*VIEWS, *FREE):
            made = [tensor for tensor in node.output if tensor and tensor not in graph.constants]
            kept |= {tensor: graph.bytes(tensor) for tensor in made}
        found.append(sum(kept.values()))
        kept = {tensor: size for tensor, size in kept.items() if last.get(tensor, -1) > i}
    return found


def _precision(graph: SizedGraph, node: onnx.NodeProto) -> str:
    """Return the precision of a product: int8 if both operands are int8, otherwise the precision of the first input."""
    types = {graph.type(graph.stored(tensor)) for tensor in node.input[:2]}
    if types == {onnx.TensorProto.INT8}:
        return "int8"
    return "fp16" if graph.type(node.input[0]) == onnx.TensorProto.FLOAT16 else "fp32"


def _macs(graph: SizedGraph, node: onnx.NodeProto) -> int:
    data, weight = node.input[:2]
    if node.op_type == "Conv":
        return graph.size(node.output[0]) * graph.size(weight) // graph.shape(weight)[0]
    if node.op_type == "ConvTranspose":
        return graph.size(data) * graph.size(weight) // graph.shape(weight)[0]
    transposed = node.op_type == "Gemm" and attribute(node, "transA", 0)
    return graph.size(node.output[0]) * graph.shape(data)[0 if transposed else -1]


def _biases(graph: SizedGraph, node: onnx.NodeProto) -> int:
    return graph.size(node.output[0]) if len(node.input) > 2 and node.input[2] else 0


def _operations(graph: SizedGraph, node: onnx.NodeProto) -> int:
    if custom_op.is_neuron(node):
        return custom_op.operations(custom_op.step_of(node)) * graph.size(node.input[0])
    if node.op_type == "Scan":  # a layer of neurons; each takes one value a time step
        body = attribute(node, "body", None)
        return custom_op.operations(body.node) * graph.size(node.input[-1])
    if node.domain or any(each.HasField("g") for each in node.attribute):
        raise BadInput(f"the costs of the model are not known: {node.op_type} (node {node.name}) has no rule")
    if node.op_type in MOVES:
        return 0
    if node.op_type in POOLS:
        window: int = math.prod(attribute(node, "kernel_shape", [1]))
        return graph.size(node.output[0]) * window
    if node.op_type.startswith(("Reduce", "Global")):
        return graph.size(node.input[0])
    return sum(graph.size(tensor) for tensor in node.output if tensor)
