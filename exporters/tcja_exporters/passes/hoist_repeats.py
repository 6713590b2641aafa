"""Moves operations on an image to before its repetition at every time step, so that they run once."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import PassResult

_OF_AN_IMAGE = ("Conv", "MaxPool", "AveragePool", "BatchNormalization", "Relu")


def hoist_repeats(graph: gs.Graph) -> PassResult:
    """Exchange the repetition of images with the operation f that follows it.

        f(repeat(y)) = repeat(f(y))

    where f is a convolution, a pooling, a batch norm or a Relu, y is a batch of images [N, ...], and repeat copies it
    for T time steps to [T * N, ...] or [N * T, ...]. f treats each image independently, so its results keep their bits.
    A network that repeats a static image before its first layer then computes f once, not T times.
    """
    changes = 0
    while (found := next(filter(None, map(_repeated, graph.nodes)), None)) is not None:
        _exchange(graph, *found)
        graph.cleanup().toposort()
        changes += 1
    return PassResult(changes)


def _repeated(node: gs.Node) -> tuple[gs.Node, gs.Node, gs.Node] | None:
    """Find the repetition of the images that a node reads: an Unsqueeze, an Expand and a Reshape, one after the other.

    Returns:
        The Unsqueeze, the Expand and the node; None if the node does not read repeated images, or is not an operation
        that can be exchanged with the repetition.
    """
    if node.op not in _OF_AN_IMAGE or len(node.outputs) != 1 or not isinstance(node.outputs[0].shape, list | tuple):
        return None
    chain: list[gs.Node] = []
    tensor = node.inputs[0]
    for op in ("Reshape", "Expand", "Unsqueeze"):
        if len(tensor.inputs) != 1 or tensor.inputs[0].op != op:
            return None
        chain.insert(0, tensor.inputs[0])
        tensor = tensor.inputs[0].inputs[0]
    unsqueeze, expand, reshape = chain
    axis, target = unsqueeze.inputs[1], reshape.inputs[1]
    if not (isinstance(axis, gs.Constant) and isinstance(target, gs.Constant)) or axis.values.size != 1:
        return None
    shapes = (tensor.shape, expand.outputs[0].shape)
    if not all(isinstance(shape, list | tuple) for shape in shapes) or axis.values.item() not in (0, 1):
        return None
    # Time and batch become one axis, and the image's own axes stay as they are.
    images, repeated = shapes
    whole = len(repeated) == len(images) + 1 and [*repeated[2:]] == [*images[1:]]
    merges = target.values.tolist() == [-1, *images[1:]] and isinstance(repeated[axis.values.item()], int)
    return (unsqueeze, expand, node) if whole and merges else None


def _exchange(graph: gs.Graph, unsqueeze: gs.Node, expand: gs.Node, node: gs.Node) -> None:
    """Apply the node to the images [N, ...] before the repetition, and repeat the result of the node."""
    images, result = unsqueeze.inputs[0], node.outputs[0]
    axis, item = unsqueeze.inputs[1].values.item(), [*result.shape[1:]]
    steps, batch = expand.outputs[0].shape[axis], images.shape[0]
    once = gs.Variable(f"{node.name}/once", result.dtype, [batch, *item])
    node.inputs[0], node.outputs = images, [once]

    def op(kind: str, source: gs.Tensor, values: list[int], made: gs.Tensor) -> gs.Tensor:
        name = f"{node.name}/{kind}"
        constant = gs.Constant(f"{name}/target", np.array(values, np.int64))
        attributes = {"allowzero": 1} if kind == "Reshape" else {}
        graph.nodes.append(gs.Node(kind, name, attributes, [source, constant], [made]))
        return made

    def variable(kind: str, sizes: list[int | str]) -> gs.Variable:
        return gs.Variable(f"{node.name}/{kind}", result.dtype, sizes)

    axes: list[int | str] = [1, batch] if axis == 0 else [batch, 1]
    full: list[int | str] = [steps, batch] if axis == 0 else [batch, steps]
    open_axis = op("Unsqueeze", once, [axis], variable("Unsqueeze", [*axes, *item]))
    ones = [steps, 1] if axis == 0 else [1, steps]
    repeated = op("Expand", open_axis, [*ones, *(1 for _ in item)], variable("Expand", [*full, *item]))
    op("Reshape", repeated, [-1, *item], result)
