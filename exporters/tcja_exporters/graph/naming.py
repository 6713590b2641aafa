"""Names the nodes and tensors of an exported graph after the PyTorch modules from which they come."""

from __future__ import annotations

import ast

import onnx
from onnx import helper

from tcja_exporters import custom_op
from tcja_runtime.errors import BadInput
from tcja_runtime.model_file.tensor_names import current_tensor, membranes_tensor, spikes_tensor


def name_after_modules(model: onnx.ModelProto) -> None:
    """Name each node MODULE/OPERATOR, for example "conv.0.0/Conv", and the outputs of a node like the node.

    The current and the result of a spiking layer or an integrator, which are spikes or membranes, get the names that
    `tcja_runtime.model_file.tensor_names` defines. If a runtime or an engine builder reports a node, the
    message then contains the name of the PyTorch module.

    Args:
        model: the model as `torch.onnx.export` returns it; it is changed in place.

    Raises:
        BadInput: a forward pass uses a neuron more than once.
    """
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    kept |= {tensor.name for tensor in model.graph.initializer}
    _separate_neurons(model, kept)
    renamed: dict[str, str] = {}
    used: dict[str, int] = {}
    for node in model.graph.node:
        module = module_of(node)
        name = f"{module}/{node.op_type}" if module else node.op_type
        used[name] = used.get(name, 0) + 1
        node.name = name if used[name] == 1 else f"{name}_{used[name]}"
        if node.op_type == custom_op.NAME:
            if used[name] > 1:
                raise BadInput(f"the neuron '{module}' is used more than once in a forward pass; give each use its own")
            renamed[node.input[0]] = current_tensor(module)
            result = spikes_tensor(module) if custom_op.fires(node) else membranes_tensor(module)
            renamed[node.output[0]] = result
            continue
        for i, tensor in enumerate(node.output):
            if tensor and tensor not in kept:
                renamed[tensor] = f"{node.name}:{i}" if i else node.name

    for node in model.graph.node:
        node.input[:] = [renamed.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [renamed.get(tensor, tensor) for tensor in node.output]
    for value in model.graph.value_info:
        value.name = renamed.get(value.name, value.name)


def module_of(node: onnx.NodeProto) -> str:
    """Return the dotted name of the PyTorch module from which a node comes; empty for the network itself.

    Args:
        node: a node of a model as `torch.onnx.export` returns it, with the names of its modules in its metadata.
    """
    scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
    modules: list[str] = ast.literal_eval(scopes)[:-1]  # the last is the operation itself
    return modules[-1] if modules else ""


def _separate_neurons(model: onnx.ModelProto, kept: set[str]) -> None:
    """Give each neuron its own tensors of current and spikes, which can be renamed.

    If another neuron reads the same current or returns it, or if the current or the spikes must keep their name, an
    Identity is added between.

    Args:
        model: the model, which is changed in place.
        kept: the names of tensors that must not be renamed: inputs, outputs and weights.
    """
    nodes: list[onnx.NodeProto] = []
    taken = set(kept)
    for node in model.graph.node:
        if node.op_type != custom_op.NAME:
            nodes.append(node)
            continue
        (current,), (spikes,) = node.input, node.output
        if current in taken:
            node.input[0] = f"{current} of {spikes}"
            nodes.append(helper.make_node("Identity", [current], [node.input[0]]))
        taken |= {current, spikes}
        nodes.append(node)
        if spikes in kept:
            node.output[0] = f"{spikes} fired"
            nodes.append(helper.make_node("Identity", [node.output[0]], [spikes]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
