"""Names the nodes and tensors of an exported graph after the PyTorch modules that they come from."""

from __future__ import annotations

import ast

import onnx
from onnx import helper

from tcja_exporters import custom_op
from tcja_runtime.errors import BadInput
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor


def name_after_modules(model: onnx.ModelProto) -> None:
    """Name each node MODULE/OPERATOR and its outputs after it, for example "conv.0.0/Conv".

    The tensors of a spiking layer get the names of `tcja_runtime.model_file.tensor_names`. A message of a runtime or of
    an engine builder about a node then contains the name of its PyTorch module.

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
            renamed[node.output[0]] = spikes_tensor(module)
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
    """The dotted name of the PyTorch module that a node comes from; empty for the network itself.

    Args:
        node: a node of a model as `torch.onnx.export` returns it, with its scopes in the node's metadata.
    """
    scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
    modules: list[str] = ast.literal_eval(scopes)[:-1]  # the last is the operation itself
    return modules[-1] if modules else ""


def _separate_neurons(model: onnx.ModelProto, kept: set[str]) -> None:
    """Give each neuron its own current and spikes, by an Identity where others use these tensors.

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
        taken.add(current)
        nodes.append(node)
        if spikes in kept:
            node.output[0] = f"{spikes} fired"
            nodes.append(helper.make_node("Identity", [node.output[0]], [spikes]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
