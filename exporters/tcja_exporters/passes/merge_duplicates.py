"""Merges nodes that compute the same."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import PassResult, is_promised


def merge_duplicates(graph: gs.Graph) -> PassResult:
    """Merge nodes of the same operator, attributes and inputs, in topological order.

    Two constants of the same values count as the same input. Nodes with subgraphs, random nodes and nodes that make a
    promised tensor (`is_promised`) stay.
    """
    changes = 0
    alike: Counter[object] = Counter(
        _kind(tensor) for tensor in graph.tensors().values() if isinstance(tensor, gs.Constant)
    )
    seen: dict[object, gs.Node] = {}
    for node in graph.toposort().nodes:
        if node.op.startswith("Random") or any(isinstance(value, gs.Graph) for value in node.attrs.values()):
            continue
        key = (node.domain, node.op, _plain(node.attrs), tuple(_identity(tensor, alike) for tensor in node.inputs))
        first = seen.setdefault(key, node)
        if first is node or any(is_promised(graph, tensor) for tensor in node.outputs):
            continue
        for kept, dropped in zip(first.outputs, node.outputs, strict=True):
            for reader in list(dropped.outputs):
                reader.inputs = [kept if tensor is dropped else tensor for tensor in reader.inputs]
        changes += 1
    return PassResult(changes)


def _plain(attrs: dict[str, object]) -> str:
    return repr(sorted((name, str(value)) for name, value in attrs.items()))


def _identity(tensor: gs.Tensor, alike: Counter[object]) -> object:
    """What two inputs have in common if they are the same: the values of a constant, the name of any other tensor."""
    if (
        isinstance(tensor, gs.Constant) and alike[_kind(tensor)] > 1
    ):  # a constant of its own shape has no equal: do not read it
        return *_kind(tensor), hashlib.sha256(np.ascontiguousarray(tensor.values).data).digest()
    return tensor.name


def _kind(constant: gs.Constant) -> tuple[object, ...]:
    """The type and shape of a constant."""
    return constant.dtype, tuple(constant.shape)
