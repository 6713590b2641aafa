"""Finds the weights of an exported graph that are parameters of the network.

The exact stimulus gives each of these parameters other values, in the network and in the models. Both compute the same
only if every constant of the graph that depends on the parameter is known to follow it. So a parameter is left out if
it is used in another way too: as a scale, in a computed weight, or in a batch norm that was not folded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from torch import nn

from tcja_exporters.passes.origins import NOTHING, Norm, first_names, origin_of
from tcja_runtime.bundle.network_signature import Weight

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_WEIGHT, _ZERO, _ONE, _VARIANCE = "weight", "zero", "one", "variance"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Found:
    """A weight of the graph, and what the exact stimulus makes of the parameters that it depends on.

    Attributes:
        weight: the weight.
        roles: by the name of a parameter or buffer, its role: the weight itself, or what becomes 0, 1 or 1 - epsilon.
        depends: the names of all parameters and buffers that its tensor and its bias depend on.
    """

    weight: Weight
    roles: Mapping[str, str]
    depends: frozenset[str]


def find_weights(network: nn.Module, graph: gs.Graph) -> list[Weight]:
    """Return the weights of convolutions and matrix products that are parameters and nothing else.

    Args:
        network: the network.
        graph: its graph after all passes. Its constants have their origins (`tcja_exporters.passes.origins`).
    """
    names = first_names(network)
    found: dict[str, _Found] = {}
    for node in graph.nodes:
        tensor = _stored(node)
        if tensor is not None and tensor.name not in found:
            one = _weight(network, node, tensor, names)
            if one is not None:
                found[one.weight.tensor] = one
    graphs = (graph, *graph.subgraphs(recursive=True))
    constants = [t for each in graphs for t in each.tensors().values() if isinstance(t, gs.Constant)]
    while True:
        strange = _strange(list(found.values()), constants)
        kept = {name: each for name, each in found.items() if strange.isdisjoint(each.depends)}
        if len(kept) == len(found):
            return [each.weight for each in kept.values()]
        found = kept


def _strange(found: list[_Found], constants: list[gs.Constant]) -> set[str]:
    """Return the parameters that have several roles, or on which a constant depends that is not one of the weights."""
    roles: dict[str, set[str]] = {}
    for each in found:
        for name in each.depends:
            roles.setdefault(name, set()).add(each.roles.get(name, ""))
    strange = {name for name, has in roles.items() if len(has) > 1 or "" in has}
    known = {name for each in found for name in (each.weight.tensor, each.weight.bias)}
    return strange.union(*(origin_of(tensor).parameters for tensor in constants if tensor.name not in known))


def _stored(node: gs.Node) -> gs.Constant | None:
    """Return the stored factor of a product, the right one or the left one; None if the node has none."""
    factors = (node.inputs[1], node.inputs[0]) if node.op in _PRODUCTS else ()
    return next((tensor for tensor in factors if isinstance(tensor, gs.Constant)), None)


def _weight(network: nn.Module, node: gs.Node, tensor: gs.Constant, names: Mapping[str, str]) -> _Found | None:
    """Return the weight of a product; None if it is not a parameter, or if the product has further factors."""
    biases = node.inputs[2:]
    bias = biases[0] if biases and not biases[0].is_empty() else None
    origin, added = origin_of(tensor), NOTHING if bias is None else origin_of(bias)
    if origin.copied is None or (bias is not None and not isinstance(bias, gs.Constant)):
        return None
    if bias is not None and not added.parameters and bias.values.any():
        return None
    roles = {origin.copied: _WEIGHT}
    if added.copied:
        roles[added.copied] = _ZERO
    norm = None
    if origin.norm:
        norm = _module_of(network, origin.norm, names)
        if norm is None:
            return None
        roles |= {origin.norm.mean: _ZERO, origin.norm.variance: _VARIANCE}
        roles |= {name: role for name, role in ((origin.norm.scale, _ONE), (origin.norm.shift, _ZERO)) if name}
    shape = tuple(tensor.shape)
    weight = Weight(
        module=origin.copied.rpartition(".")[0],
        norm=norm,
        tensor=tensor.name,
        bias=None if bias is None else bias.name,
        shape=shape[::-1] if origin.transposed else shape,
        transposed=origin.transposed,
        outputs=0 if bias is None else int(np.prod(bias.shape)),
        parameter=origin.copied,
        bias_parameter=added.copied,
        left=tensor is node.inputs[0],
    )
    return _Found(weight=weight, roles=roles, depends=origin.parameters | added.parameters)


def _module_of(network: nn.Module, norm: Norm, names: Mapping[str, str]) -> str | None:
    """Return the name of the module that holds the constants of a batch norm; None if they are not of one module.

    The module must have the names of torch's batch norms (weight, bias, running_mean, running_var, eps).
    """
    name = norm.variance.rpartition(".")[0]
    module: Any = network.get_submodule(name)
    held = {"weight": norm.scale, "bias": norm.shift, "running_mean": norm.mean, "running_var": norm.variance}
    for attribute, expected in held.items():
        has = getattr(module, attribute, None) is not None
        if (names.get(f"{name}.{attribute}") if has else None) != expected:
            return None
    epsilon = getattr(module, "eps", None)
    return name if epsilon is not None and np.float32(epsilon) == np.float32(norm.epsilon) else None
