"""Chooses the modules whose weights are lowered, and those that the user keeps in float32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import onnx
from torch import nn

from tcja_exporters import custom_op
from tcja_exporters.graph.exported import Exported
from tcja_runtime.bundle.network_signature import Layer, Weight
from tcja_runtime.errors import BadInput

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
ADVISED, NOTHING = "advised", "nothing"
"""Two words that `keep` takes in place of names of layers: keep the layers of the advice, or keep no layer.

The advice is that of `tcja_exporters.precision.advice`.
"""


def keep_in_float32(
    names: Iterable[str], model: onnx.ModelProto, weights: Sequence[Weight], layers: Sequence[Layer]
) -> set[str]:
    """Return the names of the modules to keep in float32.

    Args:
        names: names of modules or of spiking layers. The name of a module keeps the module and all modules inside it.
            The name of a spiking layer keeps the modules between this layer and the spiking layers before it.
        model: the canonical model, with TcjaLif nodes.
        weights: the weights of the model's convolutions and matrix products.
        layers: the spiking layers of the model.

    Raises:
        BadInput: a name is neither the name of a module with weights nor that of a spiking layer.
    """
    leading = {layer.name: _leading_to(layer.name, model, weights) for layer in layers}
    kept: set[str] = set()
    for name in names:
        own = {weight.module for weight in weights if f"{weight.module}.".startswith(f"{name}.")}
        found = own | leading.get(name, set())
        if not found:
            choices = ", ".join([*(weight.module for weight in weights), *leading])
            raise BadInput(f"`keep` {name} names neither a layer with weights nor a spiking layer; there are {choices}")
        kept |= found
    return kept


def lowerable(network: nn.Module, exported: Exported) -> list[Weight]:
    """Return the weights that can be lowered.

    The same network in PyTorch must have the lowered weights too. So the parameter of a weight, that of its bias and
    its batch norm must be of one tensor only. And the weight must belong to a convolution or linear layer of torch that
    alone multiplies by it, and that has one name.

    Args:
        network: the network.
        exported: the models of the network.
    """
    uses = Counter(name for weight in exported.weights for name in _sources(weight))
    users: dict[str, set[str]] = {}
    for node in exported.model.graph.node:
        for tensor in node.input[1:]:
            users.setdefault(tensor, set()).add(node.name.rpartition("/")[0])
    names = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    return [
        weight
        for weight in exported.weights
        if all(uses[name] == 1 for name in _sources(weight))
        and isinstance(network.get_submodule(weight.module), _LAYERS)
        and names[id(network.get_submodule(weight.module))] == 1
        and users.get(weight.tensor) == {weight.module}
    ]


def _sources(weight: Weight) -> list[str]:
    """Return the names of the parameters and of the batch norm that a weight and its bias are computed from."""
    return [name for name in (weight.parameter, weight.bias_parameter, weight.norm) if name is not None]


def quantizable(model: onnx.ModelProto, weights: Sequence[Weight], attention: Iterable[str]) -> set[str]:
    """Return the names of the modules whose products should be quantised.

    Attention blocks are left out: they are small, and their errors change many spikes. Transposed convolutions are
    left out, because TensorRT has few kernels for them in 8 bits.

    Args:
        model: the canonical model, with TcjaLif nodes.
        weights: the weights of the model's convolutions and matrix products.
        attention: the names of the model's attention blocks.
    """
    kinds = {tensor: node.op_type for node in model.graph.node for tensor in node.input}
    within = tuple(f"{name}." for name in attention)
    return {
        weight.module
        for weight in weights
        if kinds.get(weight.tensor) in ("Conv", "Gemm", "MatMul") and not f"{weight.module}.".startswith(within)
    }


def _leading_to(layer: str, model: onnx.ModelProto, weights: Sequence[Weight]) -> set[str]:
    """Return the modules with weights between a spiking layer and the spiking layers before it."""
    makers = {tensor: node for node in model.graph.node for tensor in node.output}
    modules = {weight.tensor: weight.module for weight in weights}
    (fires,) = (node for node in model.graph.node if node.name == f"{layer}/{custom_op.NAME}")
    found, seen, waiting = set(), set(), list(fires.input)
    while waiting:
        tensor = waiting.pop()
        if tensor in modules:
            found.add(modules[tensor])
        node = makers.get(tensor)
        if node is None or tensor in seen or custom_op.fires(node):
            continue
        seen.add(tensor)
        waiting.extend(node.input)
    return found
