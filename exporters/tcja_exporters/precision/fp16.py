"""FP16: chooses the nodes of a graph that compute in float16 ("half"), and adds casts to and from float16.

In float16: convolutions and matrix products with lowered weights, and element-wise operations next to them. In float32:
spiking neurons, the modules that the user keeps, means and sums of many values (whose range and rounding exceed
float16), and all operators that are not known to be safe. An operator that only moves or selects values is in float16
if the node before it is, or, unless it is a transpose, if all nodes after it are. With this rule, the casts are where
the tensors are small.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from tcja_exporters import custom_op
from tcja_exporters.passes.base import PassResult

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ELEMENTWISE = ("Add", "Sub", "Mul", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "AveragePool", "GlobalAveragePool")
_MOVES = (
    *("Reshape", "Transpose", "Identity", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Concat", "Expand"),
    *("Tile", "Gather", "DepthToSpace", "SpaceToDepth", "MaxPool", "GlobalMaxPool", "Neg", "Abs"),
)
_FLOAT, _HALF = np.dtype(np.float32), np.dtype(np.float16)
_ONNX = {_FLOAT: onnx.TensorProto.FLOAT, _HALF: onnx.TensorProto.FLOAT16}
_KIND = {_FLOAT: "float", _HALF: "half"}


def to_half(graph: gs.Graph, weights: Iterable[str]) -> PassResult:
    """Change a graph so that products, and the operators between them, compute in float16.

    Args:
        graph: the graph, which is changed in place.
        weights: the names of the tensors of the weights that are lowered.
    """
    _complete_types(graph)
    chosen = _chosen(graph, set(weights))
    casts: dict[tuple[str, str], gs.Variable] = {}

    def cast(tensor: gs.Variable, kind: np.dtype[np.generic]) -> gs.Variable:
        key = tensor.name, _KIND[kind]
        if key not in casts:
            casts[key] = gs.Variable("/".join(key), kind, tensor.shape)
            graph.nodes.append(gs.Node("Cast", "/".join(key), {"to": _ONNX[kind]}, [tensor], [casts[key]]))
        return casts[key]

    nodes = list(graph.nodes)
    for node in nodes:
        for tensor in node.outputs if node.name in chosen else ():
            tensor.dtype = _HALF if tensor.dtype == _FLOAT else tensor.dtype
    for node in nodes:
        kind = _HALF if node.name in chosen else _FLOAT
        for i, tensor in enumerate(node.inputs):
            if not isinstance(tensor, gs.Constant):
                if tensor.dtype in _ONNX and tensor.dtype != kind:
                    node.inputs[i] = cast(tensor, kind)
            elif kind == _HALF and tensor.values.dtype == _FLOAT:
                node.inputs[i] = gs.Constant(tensor.name, tensor.values.astype(np.float16))
        if node.op == custom_op.NAME:
            _keep_name(node.inputs[0])
    for i, tensor in enumerate(graph.outputs):
        if tensor.dtype == _HALF:
            graph.outputs[i] = _keep_name(cast(tensor, _FLOAT))
    return PassResult(len(chosen), exact=False, note=f"products and activations in half, {len(casts)} casts")


def _complete_types(graph: gs.Graph) -> None:
    """Set the type of results to float32 where an earlier pass left the type open."""
    for node in graph.nodes:
        makes_floats = node.op in (*_PRODUCTS, *_ELEMENTWISE, custom_op.NAME) or (
            node.op in _MOVES and all(tensor.dtype == _FLOAT for tensor in node.inputs[:1])
        )
        for tensor in node.outputs if makes_floats else ():
            tensor.dtype = tensor.dtype or _FLOAT


def _keep_name(tensor: gs.Variable) -> gs.Variable:
    """Give the float32 result of a cast the name of the tensor that was cast; return the given tensor.

    Other code looks the tensor up by this name and expects float32. The tensor that was cast gets the suffix "/half".
    """
    suffix = f"/{_KIND[_FLOAT]}"
    if tensor.name.endswith(suffix):
        source = tensor.inputs[0].inputs[0]
        source.name, tensor.name = f"{source.name}/{_KIND[_HALF]}", tensor.name.removesuffix(suffix)
    return tensor


def _chosen(graph: gs.Graph, weights: set[str]) -> set[str]:
    """Return the names of the nodes that compute in float16; `weights` are the tensors of the lowered weights."""
    chosen = {node.name for node in graph.nodes if node.op in _PRODUCTS and node.inputs[1].name in weights}
    able = {node.name for node in graph.nodes if node.op in _ELEMENTWISE and all(map(_holds, node.inputs))}
    movers = {node.name for node in graph.nodes if node.op in _MOVES}
    # First add the nodes whose inputs are in float16, then those whose readers are all in float16.
    for node in graph.nodes:
        made = [tensor.inputs[0].name in chosen if tensor.inputs else False for tensor in _data(node)]
        if (node.name in able and any(made)) or (node.name in movers and made and all(made)):
            chosen.add(node.name)
    # A transpose stays before the cast: ONNX Runtime 1.32 crashes as it loads a cast, a transpose and a product.
    kept = {node.name for node in graph.nodes if node.op == "Transpose"}
    for node in reversed(graph.nodes):
        readers = [reader.name for tensor in node.outputs for reader in tensor.outputs]
        if node.name in (able | movers) - kept and readers and chosen.issuperset(readers):
            chosen.add(node.name)
    return chosen


def _data(node: gs.Node) -> list[gs.Variable]:
    """Return the inputs of a node that are float32 and not constant."""
    return [tensor for tensor in node.inputs if isinstance(tensor, gs.Variable) and tensor.dtype == _FLOAT]


def _holds(tensor: gs.Tensor) -> bool:
    """Whether float16 holds the values of a constant without rounding; true for every tensor that is not constant."""
    if not isinstance(tensor, gs.Constant) or tensor.values.dtype != _FLOAT:
        return True
    with np.errstate(over="ignore"):
        return bool((tensor.values.astype(np.float16).astype(np.float32) == tensor.values).all())
