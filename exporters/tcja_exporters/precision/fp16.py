"""FP16: which nodes of a graph compute in half, and the casts between them and the others.

In half are products with weights that are lowered, and element-wise operations. In float32 stay spiking neurons, what
is kept by name, means and sums of many values, which half can neither hold nor add up, and everything that is not known
to be safe. What only moves values, or selects some, is in half where what makes its input, or all that reads its
result, is: casts then come where the fewest bytes pass.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from tcja_exporters import custom_op
from tcja_exporters.passes.base import Done

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ELEMENTWISE = ("Add", "Sub", "Mul", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "AveragePool", "GlobalAveragePool")
_MOVES = (
    *("Reshape", "Transpose", "Identity", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Concat", "Expand"),
    *("Tile", "Gather", "DepthToSpace", "SpaceToDepth", "MaxPool", "GlobalMaxPool", "Neg", "Abs"),
)
_FLOAT, _HALF = np.dtype(np.float32), np.dtype(np.float16)
_ONNX = {_FLOAT: onnx.TensorProto.FLOAT, _HALF: onnx.TensorProto.FLOAT16}
_KIND = {_FLOAT: "float", _HALF: "half"}


def to_half(graph: gs.Graph, weights: Iterable[str]) -> Done:
    """Let products with some weights, given by tensor, and what lies between them, compute in half."""
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
    return Done(len(chosen), exact=False, note=f"products and activations in half, {len(casts)} casts")


def _complete_types(graph: gs.Graph) -> None:
    """Say the type of results that an earlier rewriting left open: of a network in float32, floats make floats."""
    for node in graph.nodes:
        makes_floats = node.op in (*_PRODUCTS, *_ELEMENTWISE, custom_op.NAME) or (
            node.op in _MOVES and all(tensor.dtype == _FLOAT for tensor in node.inputs[:1])
        )
        for tensor in node.outputs if makes_floats else ():
            tensor.dtype = tensor.dtype or _FLOAT


def _keep_name(tensor: gs.Variable) -> gs.Variable:
    """Give a tensor that was cast the name of what it was cast from: others look it up by it, in float32."""
    suffix = f"/{_KIND[_FLOAT]}"
    if tensor.name.endswith(suffix):
        source = tensor.inputs[0].inputs[0]
        source.name, tensor.name = f"{source.name}/{_KIND[_HALF]}", tensor.name.removesuffix(suffix)
    return tensor


def _chosen(graph: gs.Graph, weights: set[str]) -> set[str]:
    """Names of the nodes that compute in half."""
    chosen = {node.name for node in graph.nodes if node.op in _PRODUCTS and node.inputs[1].name in weights}
    able = {node.name for node in graph.nodes if node.op in _ELEMENTWISE and all(map(_holds, node.inputs))}
    movers = {node.name for node in graph.nodes if node.op in _MOVES}
    # What is computed from results in half, then what is computed for operands in half alone.
    for node in graph.nodes:
        made = [tensor.inputs[0].name in chosen if tensor.inputs else False for tensor in _data(node)]
        if (node.name in able and any(made)) or (node.name in movers and made and all(made)):
            chosen.add(node.name)
    for node in reversed(graph.nodes):
        readers = [reader.name for tensor in node.outputs for reader in tensor.outputs]
        if node.name in able | movers and readers and chosen.issuperset(readers):
            chosen.add(node.name)
    return chosen


def _data(node: gs.Node) -> list[gs.Variable]:
    """The inputs of a node that are floats and no constants."""
    return [tensor for tensor in node.inputs if isinstance(tensor, gs.Variable) and tensor.dtype == _FLOAT]


def _holds(tensor: gs.Tensor) -> bool:
    """Whether half holds a constant as it is; what is computed is rounded."""
    if not isinstance(tensor, gs.Constant) or tensor.values.dtype != _FLOAT:
        return True
    with np.errstate(over="ignore"):
        return bool((tensor.values.astype(np.float16).astype(np.float32) == tensor.values).all())
