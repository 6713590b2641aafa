"""Moves the multiplication by an attention gate to after the maximum pooling that follows it.

    max over i of fl(x_i * g)  =  fl(g * max over i of x_i)

to the bit, for a gate g >= 0 that is constant over the pooled values, because rounding (fl) and casts are monotone.
The pass is not in `PASSES`. It is for networks that run stepwise: there the pooling runs at each time step, and the
gate is known only at the end of the window (`tcja_exporters.graph.stepwise`).
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import PassResult

_ON_THE_WAY = ("Reshape", "Cast")
_FROM_SIGMOID = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Cast")


def pool_before_gates(graph: gs.Graph) -> PassResult:
    """Exchange each multiplication by a gate with the maximum pooling after it, if nothing else reads the product."""
    changes = 0
    for pool in [node for node in graph.nodes if node.op == "MaxPool" and len(node.outputs) == 1]:
        product = pool.inputs[0]
        way: list[gs.Node] = []
        while _only_read(graph, product) and product.inputs[0].op in _ON_THE_WAY:
            way.insert(0, product.inputs[0])
            product = way[0].inputs[0]
        if _only_read(graph, product) and product.inputs[0].op == "Mul":
            changes += _exchange(graph, product.inputs[0], way, pool)
    graph.cleanup().toposort()
    return PassResult(changes, exact=True, note="gates applied after maximum pooling")


def _exchange(graph: gs.Graph, product: gs.Node, way: list[gs.Node], pool: gs.Node) -> bool:
    """Exchange a multiplication and a pooling, in place; return whether it was possible.

    Args:
        graph: the graph.
        product: the multiplication.
        way: the nodes between the multiplication and the pooling: reshapes and casts.
        pool: the maximum pooling.
    """
    images = pool.inputs[0].shape
    operands = [(product.inputs[i], product.inputs[1 - i]) for i in (0, 1)]
    found = [(x, gate) for x, gate in operands if _is_gate(gate, x) and x.shape[-3:] == images[-3:]]
    if len(images) != 4 or len(found) != 1:
        return False
    ((x, gate),) = found
    if any(node.op == "Reshape" for node in way):
        x = _joined(graph, x, images, f"{pool.name}/ungated/joined")
        gate = _joined(graph, gate, [*images[:2], 1, 1], f"{pool.name}/gate")
    result = pool.outputs[0]
    pooled = gs.Variable(f"{pool.name}/ungated", x.dtype, result.shape)
    pool.inputs[0], pool.outputs = x, [pooled]
    product.inputs, way = [pooled, gate], [node for node in way if node.op == "Cast"]
    for node in (product, *way):
        node.outputs = [gs.Variable(f"{pool.name}/{node.name}", node.outputs[0].dtype, result.shape)]
    for before, after in zip((product, *way), way, strict=False):
        after.inputs = list(before.outputs)
    (product, *way)[-1].outputs = [result]
    return True


def _is_gate(tensor: gs.Tensor, of: gs.Tensor) -> bool:
    """Whether a tensor is the result of a sigmoid, and constant over the last two axes of `of`, the other factor."""
    if not tensor.shape or not of.shape or [*tensor.shape] != [*of.shape[:-2], 1, 1]:
        return False
    while tensor.inputs and tensor.inputs[0].op in _FROM_SIGMOID:
        tensor = tensor.inputs[0].inputs[0]
    return bool(tensor.inputs) and tensor.inputs[0].op == "Sigmoid"


def _only_read(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    """Whether a node makes this tensor, exactly one node reads it, and it is not an output of the graph."""
    return len(tensor.inputs) == 1 and len(tensor.outputs) == 1 and all(tensor is not out for out in graph.outputs)


def _joined(graph: gs.Graph, tensor: gs.Tensor, shape: list[int | str], name: str) -> gs.Variable:
    """Add a Reshape that joins the first two axes of a tensor; return its result.

    Args:
        graph: the graph.
        tensor: the tensor.
        shape: the shape of the result.
        name: the name of the result.
    """
    target = gs.Constant(f"{name}/target", np.array([-1, *shape[1:]], np.int64))
    made = gs.Variable(name, tensor.dtype, shape)
    graph.nodes.append(gs.Node("Reshape", name, {"allowzero": 1}, [tensor, target], [made]))
    return made
