"""Merges nodes that compute the same result, and copies of constants."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import PassResult, is_promised
from tcja_exporters.passes.origins import origin_of


def merge_duplicates(graph: gs.Graph) -> PassResult:
    """Merge nodes of the same operator, attributes and inputs, in topological order.

    Two constants of the same values and the same origin (`tcja_exporters.passes.origins`) count as the same input. If
    they come from parameters of the network, they also become one constant, so that a weight that is computed at each
    time step is stored once. Parameters that only happen to be equal stay apart. Nodes with subgraphs, random nodes and
    nodes that make a promised tensor (`tcja_exporters.passes.base.is_promised`) stay.
    """
    _merge_copies(graph)
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


def _merge_copies(graph: gs.Graph) -> None:
    """Replace each constant that comes from parameters by the first one of the same values and origin."""
    ours = [t for t in graph.tensors().values() if isinstance(t, gs.Constant) and origin_of(t).parameters]
    alike: Counter[object] = Counter(map(_kind, ours))
    first: dict[object, gs.Constant] = {}
    for tensor in ours:
        kept = first.setdefault(_identity(tensor, alike), tensor)
        for reader in list(tensor.outputs) if kept is not tensor else ():
            reader.inputs = [kept if each is tensor else each for each in reader.inputs]


def _plain(attrs: dict[str, object]) -> str:
    """Return the attributes of a node as text that is equal for equal attributes."""
    return repr(sorted((name, str(value)) for name, value in attrs.items()))


def _identity(tensor: gs.Tensor, alike: Counter[object]) -> object:
    """Return a key that is equal for equal tensors: origin and hash of a constant, the name of any other tensor.

    Args:
        tensor: the tensor.
        alike: the number of constants of each kind (`_kind`).
    """
    if (
        isinstance(tensor, gs.Constant) and alike[_kind(tensor)] > 1
    ):  # the only constant of its kind has no equal: do not read its values
        return *_kind(tensor), hashlib.sha256(np.ascontiguousarray(tensor.values).data).digest()
    return tensor.name


def _kind(constant: gs.Constant) -> tuple[object, ...]:
    """Return the type, shape and origin of a constant."""
    return constant.dtype, tuple(constant.shape), origin_of(constant)
