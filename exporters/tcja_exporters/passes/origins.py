"""The origins of a graph's constants: the parameters and buffers of the network that they are computed from.

Passes move, compute and rename constants. So each constant carries its origin with it, as the attribute `origin` of the
tensor. A pass that makes a constant from others stores the origin of the new one (`set_origin`).
"""

from __future__ import annotations

import dataclasses

import onnx_graphsurgeon as gs
from torch import nn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Norm:
    """A batch norm y = scale * (x - mean) / sqrt(variance + epsilon) + shift whose constants are parameters.

    Attributes:
        scale: the name of the parameter that holds `scale`; None if all its values are the constant 1.
        shift: the name of the parameter that holds `shift`; None if all its values are the constant 0.
        mean: the name of the buffer that holds `mean`.
        variance: the name of the buffer that holds `variance`.
        epsilon: epsilon, in float32.
    """

    scale: str | None
    shift: str | None
    mean: str
    variance: str
    epsilon: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """What a constant is computed from.

    Attributes:
        parameters: the names of all parameters and buffers that it depends on.
        copied: the name of the parameter whose values it has, before a batch norm was folded into it; None if it is
            computed in another way, or depends on no parameter.
        transposed: whether it is the transpose of that parameter, which is then a matrix.
        norm: the batch norm that was folded into it; None if none was.
    """

    parameters: frozenset[str] = frozenset()
    copied: str | None = None
    transposed: bool = False
    norm: Norm | None = None


NOTHING = Origin()
"""The origin of a constant that depends on no parameter, such as a shape."""


def origin_of(tensor: gs.Tensor) -> Origin:
    """Return the origin of a constant; `NOTHING` for any other tensor."""
    found: Origin = getattr(tensor, "origin", NOTHING) if isinstance(tensor, gs.Constant) else NOTHING
    return found


def set_origin(tensor: gs.Tensor, origin: Origin) -> gs.Tensor:
    """Store the origin of a constant, or of a tensor that will become one; return the tensor."""
    tensor.origin = origin
    return tensor


def first_names(network: nn.Module) -> dict[str, str]:
    """Return the first name of every parameter and buffer of a network, by each of its names.

    A parameter of a module that has two names, or that two modules share, has several names.
    """
    tensors = (*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False))
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in tensors}


def mark_parameters(graph: gs.Graph, names: dict[str, str]) -> None:
    """Store the origins of the constants of a graph that are parameters or buffers of the network.

    Args:
        graph: the graph, as torch.onnx exports it: a constant that is a parameter has the parameter's name.
        names: the result of `first_names`.
    """
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Constant) and tensor.name in names:
            name = names[tensor.name]
            set_origin(tensor, Origin(parameters=frozenset([name]), copied=name))


def follow(graph: gs.Graph) -> None:
    """Store the origins of all tensors that nodes compute from constants alone, before these nodes are folded.

    A transposed matrix is still a copy of its parameter. The result of any other node is computed.
    """
    origins = {tensor.name: origin_of(tensor) for tensor in graph.tensors().values() if isinstance(tensor, gs.Constant)}
    for node in graph.toposort().nodes:
        given = [tensor for tensor in node.inputs if not tensor.is_empty()]
        if not all(tensor.name in origins for tensor in given):
            continue
        parameters = frozenset[str]().union(*(origins[tensor.name].parameters for tensor in given))
        for made in node.outputs:
            origins[made.name] = _moved(node, origins[given[0].name]) if given else NOTHING
            if origins[made.name] is NOTHING:
                origins[made.name] = Origin(parameters=parameters)
            set_origin(made, origins[made.name])


def _moved(node: gs.Node, origin: Origin) -> Origin:
    """Return the origin of a copy or of a transposed matrix; `NOTHING` for the result of any other node."""
    if node.op == "Identity":
        return origin
    if node.op == "Transpose" and list(node.attrs.get("perm", (1, 0))) == [1, 0] and origin.copied:
        return dataclasses.replace(origin, transposed=not origin.transposed)
    return NOTHING
