"""The model that an engine with the plugin is built from: model.onnx, whose TcjaLif nodes become nodes of the plugin.

    functions      The model's functions are removed. If a function and a plugin have the same name, TensorRT up to 10.6
                   takes the function. TensorRT from 10.15 on also takes the function, unless the node names the
                   plugin's namespace. Without the functions, every version takes the plugin, or reports that it is
                   missing.
    attributes     Each node gets plugin_namespace, plugin_version, aot (to take the form that is compiled ahead of
                   time), and `kernel`, the neuron's constants in one text.
    casts          A Cast of a current from half to float, and the Cast of the spikes back to half, are removed, because
                   the kernel can compute with half.
    pooling        A MaxPool k x k after a neuron becomes part of the neuron's node, if no other node reads the spikes.

The model is read and written without the onnx package, which is not installed on a board.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tcja_runtime.bundle.conformance import spec_of
from tcja_runtime.errors import Unavailable
from tcja_runtime.model_file import protobuf
from tcja_runtime.tensorrt.plugin.node import FIELD, NAME, NAMESPACE, VERSION, described

_FLOAT, _HALF = 1, 10
"""The numbers of float32 and float16 in TensorProto.DataType."""
_Types = dict[str, tuple[int, list[int]]]
"""By the name of a tensor, the type of its elements and the sizes of its axes; 0 for an axis of any size."""
_LARGEST_POOL = 8
"""The largest k of a pooling: a thread keeps the membranes of k x k neurons in its registers."""


@dataclasses.dataclass(eq=False)
class _Node:
    """A NodeProto.

    Attributes:
        kind: the type of its operator.
        inputs: the names of its inputs.
        outputs: the names of its outputs.
        others: its other fields, serialised.
    """

    kind: str
    inputs: list[str]
    outputs: list[str]
    others: bytes

    @classmethod
    def read(cls, message: bytes) -> _Node:
        fields = list(protobuf.fields(message))
        names: dict[int, list[str]] = {protobuf.NODE_INPUT: [], protobuf.NODE_OUTPUT: [], protobuf.NODE_TYPE: []}
        for number, _, content in fields:
            if number in names:
                names[number].append(content.decode())
        rest = b"".join(
            field for number, field, _ in fields if number not in (protobuf.NODE_INPUT, protobuf.NODE_OUTPUT)
        )
        return cls(names[protobuf.NODE_TYPE][0], names[protobuf.NODE_INPUT], names[protobuf.NODE_OUTPUT], rest)

    def written(self) -> bytes:
        named = [(protobuf.NODE_INPUT, name) for name in self.inputs] + [
            (protobuf.NODE_OUTPUT, name) for name in self.outputs
        ]
        return b"".join(protobuf.embedded(number, name.encode()) for number, name in named) + self.others

    @property
    def attributes(self) -> dict[str, protobuf.Value]:
        return protobuf.attributes(self.others)


@dataclasses.dataclass(frozen=True)
class Fused:
    """The numbers of the plugin's nodes in a model.

    Attributes:
        nodes: the number of nodes.
        halves: the number of nodes whose currents and spikes are float16.
        pools: the number of nodes with a maximum pooling.
    """

    nodes: int
    halves: int
    pools: int


def with_plugin(model: bytes, ahead_of_time: bool) -> tuple[bytes, Fused]:
    """Change the TcjaLif nodes of a model to nodes of the plugin.

    Args:
        model: the content of model.onnx.
        ahead_of_time: whether the plugin has the form `AHEAD_OF_TIME`; else it has the form `AT_RUN_TIME`.

    Returns:
        The changed model, serialised, and the numbers of the plugin's nodes in it.

    Raises:
        Unavailable: a constant of a layer's neurons is an array, and the kernel has one value of each constant.
        ValueError: the content is not a model.
    """
    parts = [
        (number, field, content)
        for number, field, content in protobuf.fields(model)
        if number != protobuf.MODEL_FUNCTION
    ]
    graph = b"".join(content for number, _, content in parts if number == protobuf.MODEL_GRAPH)
    changed, fused = _changed(graph, ahead_of_time)
    rest = b"".join(field for number, field, _ in parts if number != protobuf.MODEL_GRAPH)
    return rest + protobuf.embedded(protobuf.MODEL_GRAPH, changed), fused


def _changed(graph: bytes, ahead_of_time: bool) -> tuple[bytes, Fused]:
    fields = list(protobuf.fields(graph))
    shapes = _types(fields)
    results = {name for number, _, content in fields if number == protobuf.GRAPH_OUTPUT for name in _name(content)}
    nodes = [_Node.read(content) for number, _, content in fields if number == protobuf.GRAPH_NODE]
    neurons = [node for node in nodes if node.kind == NAME]
    halves = pools = 0
    for node in neurons:
        spec = spec_of(node.attributes)
        for name, values in spec.arrays.items():
            raise Unavailable(
                f"the plugin's kernel has one {name} for all neurons of a layer, and those of "
                f"{node.outputs[0].rpartition('/')[0]} have {values}; build without the plugin"
            )
        # The membranes of an integrator are no spikes: they are stored in float32, and pooled behind the kernel.
        halves += not spec.integrates and _take_half(nodes, node, shapes, results)
        pool = 1 if spec.integrates else _take_pool(nodes, node, shapes, results)
        pools += pool > 1
        said: dict[str, int | str] = {"plugin_namespace": NAMESPACE, "plugin_version": VERSION}
        said |= {FIELD: described(spec, pool)} | ({"aot": 1} if ahead_of_time else {})
        own = (
            field
            for number, field, _ in protobuf.fields(node.others)
            if number in (protobuf.NODE_NAME, protobuf.NODE_TYPE)
        )
        node.others = b"".join([*own, *(protobuf.attribute(name, value) for name, value in said.items())])
        node.others += protobuf.embedded(protobuf.NODE_DOMAIN, NAMESPACE.encode())
    made = b"".join(protobuf.embedded(protobuf.GRAPH_NODE, node.written()) for node in nodes)
    # The stored types of inner tensors are left out: some are wrong after the change, and TensorRT infers all of them.
    kept = b"".join(field for number, field, _ in fields if number not in (protobuf.GRAPH_NODE, protobuf.GRAPH_VALUE))
    return made + kept, Fused(len(neurons), halves, pools)


def _take_half(nodes: list[_Node], neuron: _Node, shapes: _Types, results: set[str]) -> bool:
    """If the current of a neuron is cast from half to float, let the neuron read the half and return spikes in half.

    Returns whether the neuron was changed.
    """
    (current,), (spikes,) = neuron.inputs, neuron.outputs
    cast = next((node for node in nodes if node.kind == "Cast" and node.outputs == [current]), None)
    if cast is None or shapes.get(cast.inputs[0], (0, []))[0] != _HALF or cast.attributes["to"] != _FLOAT:
        return False
    neuron.inputs = list(cast.inputs)
    if not _readers(nodes, current) and current not in results:
        nodes.remove(cast)
    readers = _readers(nodes, spikes)
    to_half = [
        node
        for node in readers
        if node.kind == "Cast" and node.attributes["to"] == _HALF and results.isdisjoint(node.outputs)
    ]
    fired = to_half[0].outputs[0] if to_half else f"{spikes}/half"
    for node in to_half:
        nodes.remove(node)
        _rename(nodes, node.outputs[0], fired)
    neuron.outputs = [fired]
    shapes[fired] = _HALF, shapes.get(spikes, (0, []))[1]
    if len(readers) > len(to_half) or spikes in results:
        back = protobuf.embedded(protobuf.NODE_NAME, f"{spikes}/Cast".encode()) + protobuf.embedded(
            protobuf.NODE_TYPE, b"Cast"
        )
        back += protobuf.attribute("to", _FLOAT)
        nodes.insert(nodes.index(neuron) + 1, _Node("Cast", [fired], [spikes], back))
    return True


def _take_pool(nodes: list[_Node], neuron: _Node, shapes: _Types, results: set[str]) -> int:
    """Join a neuron with the k x k pooling after it, if no other node reads its spikes [T, N, C, H, W].

    Returns k; 1 if there is no such pooling.
    """
    (spikes,) = neuron.outputs
    readers = _readers(nodes, spikes)
    if [node.kind for node in readers] != ["Reshape"] or readers[0].inputs[0] != spikes or spikes in results:
        return 1
    (reshape,) = readers
    (joined,) = reshape.outputs
    readers = _readers(nodes, joined)
    if [node.kind for node in readers] != ["MaxPool"] or len(readers[0].outputs) > 1 or joined in results:
        return 1
    (pool,) = readers
    before, after = shapes.get(spikes, (0, []))[1], shapes.get(joined, (0, []))[1]
    steps_and_batch_joined = len(before) == 5 and len(after) == 4 and all(before[2:]) and before[2:] == after[1:]
    k = _side(pool)
    if not steps_and_batch_joined or k is None:
        return 1
    neuron.outputs = list(pool.outputs)
    nodes.remove(reshape)
    nodes.remove(pool)
    return k


def _side(pool: _Node) -> int | None:
    """Returns the k of a MaxPool over k x k squares that do not overlap; None for any other MaxPool."""
    said = pool.attributes
    kernel = said["kernel_shape"]
    if not isinstance(kernel, list) or len(kernel) != 2 or kernel[0] != kernel[1]:
        return None
    plain = {"pads": [0] * 4, "dilations": [1, 1], "ceil_mode": 0, "storage_order": 0, "auto_pad": "NOTSET"}
    if said.get("strides") != kernel or any(said.get(name, value) != value for name, value in plain.items()):
        return None
    return int(kernel[0]) if 1 < kernel[0] <= _LARGEST_POOL else None


def _readers(nodes: Iterable[_Node], tensor: str) -> list[_Node]:
    return [node for node in nodes if tensor in node.inputs]


def _rename(nodes: Iterable[_Node], old: str, new: str) -> None:
    for node in nodes:
        node.inputs = [new if name == old else name for name in node.inputs]


def _types(fields: Iterable[tuple[int, bytes, bytes]]) -> _Types:
    found: _Types = {}
    for number, _, content in fields:
        if number in (protobuf.GRAPH_VALUE, protobuf.GRAPH_INPUT, protobuf.GRAPH_OUTPUT):
            tensor = protobuf.inside(protobuf.inside(content, protobuf.VALUE_TYPE), protobuf.TYPE_TENSOR)
            shape = protobuf.inside(tensor, protobuf.TENSOR_SHAPE)
            sizes = [
                protobuf.number(size, protobuf.DIM_VALUE)
                for dim, _, size in protobuf.fields(shape)
                if dim == protobuf.SHAPE_DIM
            ]
            found |= dict.fromkeys(_name(content), (protobuf.number(tensor, protobuf.TENSOR_ELEMENT), sizes))
    return found


def _name(value: bytes) -> set[str]:
    return protobuf.texts(value, protobuf.VALUE_NAME)
