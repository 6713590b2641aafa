"""Replaces computed shapes by constants if only the batch size is unknown."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import PassResult


def resolve_shapes(graph: gs.Graph) -> PassResult:
    """Replace computed target shapes and known sizes by constants, and CastLike by Cast.

    The exporter computes the target shapes of Reshape and Expand from the batch size of the input. In the constant
    target shape of a Reshape, -1 stands for the unknown size. In that of an Expand, 1 stands for a size that the Expand
    does not change. A Shape node that returns only known sizes, such as the number of channels, becomes a constant.
    """
    changes = 0
    types = _types(graph)
    for node in graph.nodes:
        if node.op == "CastLike":
            to = types.get(node.inputs[1].name)
            if to is not None:
                node.op, node.attrs, node.inputs = "Cast", {"to": to}, node.inputs[:1]
                changes += 1
        elif node.op in ("Reshape", "Expand") and isinstance(node.inputs[1], gs.Variable):
            target = _target(node)
            if target is not None:
                node.inputs[1] = gs.Constant(f"{node.outputs[0].name}/target", np.array(target, np.int64))
                changes += 1
        elif node.op == "Shape" and (sizes := _known_sizes(node)):
            node.outputs[0].to_constant(np.array(sizes, np.int64))
            node.outputs.clear()
            changes += 1
    return PassResult(changes)


def _known_sizes(node: gs.Node) -> list[int]:
    """Return the sizes that a Shape node returns; an empty list if one of them is not known."""
    shape = node.inputs[0].shape
    if not isinstance(shape, list | tuple):
        return []
    sizes = [*shape][slice(node.attrs.get("start"), node.attrs.get("end"))]
    return sizes if all(isinstance(size, int) for size in sizes) else []


def _types(graph: gs.Graph) -> dict[str, int]:
    """Return the element types of the second inputs of all CastLike nodes, by tensor name.

    Shape inference finds the types that the exporter left out.
    """
    likes = [node.inputs[1] for node in graph.nodes if node.op == "CastLike"]
    types = {like.name: int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(like.dtype))) for like in likes if like.dtype}
    if all(like.name in types for like in likes):
        return types
    inferred = onnx.shape_inference.infer_shapes(gs.export_onnx(graph)).graph
    return {value.name: value.type.tensor_type.elem_type for value in inferred.value_info} | types


def _target(node: gs.Node) -> list[int] | None:
    """Return the constant target shape of a Reshape or Expand; None if it can only be computed when the model runs."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if after is None:
        return None
    unknown = [i for i, size in enumerate(after) if not isinstance(size, int)]
    if node.op == "Reshape":
        return [-1 if i in unknown else size for i, size in enumerate(after)] if len(unknown) <= 1 else None
    if before is None or any(before[i - len(after)] != after[i] for i in unknown if len(after) - i <= len(before)):
        return None
    return [1 if i in unknown else size for i, size in enumerate(after)]
