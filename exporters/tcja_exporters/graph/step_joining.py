"""Replaces the T step operators of a layer, one for each time step, by one TcjaLif operator over the whole window.

    s_t, v_t = TcjaLifStep(x_t, v_{t-1}), t = 1..T      becomes      S = TcjaLif(stack of x_t),  s_t = S[t]

Both compute the same if no current x_t depends on the spikes of the same layer. In a recurrent layer it does, so a
recurrent layer is refused.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tcja_exporters import custom_op
from tcja_exporters.graph.naming import module_of
from tcja_runtime.counting import counted
from tcja_runtime.errors import BadInput


def join(model: onnx.ModelProto) -> None:
    """Replace the step operators of a model, in place.

    Args:
        model: the model as `torch.onnx.export` returns it.

    Raises:
        BadInput: the neurons are not called equally often, the network reads a membrane, or a layer is recurrent.
    """
    calls: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type == custom_op.STEP:
            calls.setdefault(module_of(node), []).append(node)
    if not calls:
        return
    read = {name for node in model.graph.node for name in _read(node) if node.op_type != custom_op.STEP}
    read |= {out.name for out in model.graph.output} | {step.input[0] for steps in calls.values() for step in steps}
    joined: list[onnx.NodeProto] = []
    time_steps = min(map(len, calls.values()))
    made = {tuple(step.output[0] for step in steps): f"{layer}/fired" for layer, steps in calls.items()}
    for layer, steps in calls.items():
        if len(steps) != time_steps:
            raise BadInput(
                f"the neuron '{layer}' is called {counted(len(steps), 'time')} in a window, others "
                f"{counted(time_steps, 'time')}"
            )
        if any(membrane in read for step in steps for membrane in step.output[1:]):
            raise BadInput(f"the network uses the membrane of '{layer}' beside its spikes, which cannot be exported")
        joined += _joined(model, layer, steps, made.get(tuple(step.input[0] for step in steps)))
    kept = [node for node in model.graph.node if node.op_type != custom_op.STEP]
    ordered = _in_order([*kept, *joined])
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def _joined(
    model: onnx.ModelProto, layer: str, steps: list[onnx.NodeProto], window: str | None
) -> list[onnx.NodeProto]:
    """Return the nodes that replace the step operators of one layer; add their constants and shapes to the model.

    Args:
        model: the model.
        layer: the name of the layer.
        steps: its step operators.
        window: the tensor of the currents of all steps, if another layer returns them, as the synaptic current of a
            neuron with two states; None if they are joined here.
    """
    for value in [value for value in model.graph.value_info if value.name == steps[0].output[0]]:
        for name in (*([] if window else [f"{layer}/window"]), f"{layer}/fired"):
            whole = model.graph.value_info.add()
            whole.CopyFrom(value)
            whole.name = name
            whole.type.tensor_type.shape.ClearField("dim")
            whole.type.tensor_type.shape.dim.add(dim_value=len(steps))
            whole.type.tensor_type.shape.dim.extend(value.type.tensor_type.shape.dim)

    def constant(name: str, value: int | list[int]) -> str:
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), f"{layer}/{name}"))
        return f"{layer}/{name}"

    nodes: list[onnx.NodeProto] = []
    if window is None:
        first, window = constant("time_axis", [0]), f"{layer}/window"
        parts = [f"{layer}/x_{t}" for t in range(len(steps))]
        for step, part in zip(steps, parts, strict=True):
            nodes.append(helper.make_node("Unsqueeze", [step.input[0], first], [part]))
        nodes.append(helper.make_node("Concat", parts, [window], axis=0))
    neuron = helper.make_node(custom_op.NAME, [window], [f"{layer}/fired"], domain=custom_op.DOMAIN)
    neuron.attribute.extend(steps[0].attribute)
    nodes.append(neuron)
    for t, step in enumerate(steps):
        nodes.append(helper.make_node("Gather", [f"{layer}/fired", constant(f"t_{t}", t)], [step.output[0]], axis=0))
    for node in nodes:
        node.metadata_props.extend(steps[0].metadata_props)  # they hold the name of the module
    return nodes


def _in_order(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes in an order in which each node comes after the nodes whose results it reads.

    Raises:
        BadInput: there is no such order, because a layer is recurrent.
    """
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    waiting = [{producer[name] for name in _read(node) if name in producer} for node in nodes]
    readers: dict[int, list[int]] = {}
    for i, needed in enumerate(waiting):
        for j in needed:
            readers.setdefault(j, []).append(i)
    ready = [i for i, needed in enumerate(waiting) if not needed]
    ordered: list[onnx.NodeProto] = []
    for i in ready:  # the list grows in the loop
        ordered.append(nodes[i])
        for j in readers.get(i, ()):
            waiting[j].discard(i)
            if not waiting[j]:
                ready.append(j)
    if len(ordered) < len(nodes):
        raise BadInput("a spiking layer is recurrent: its current depends on its own spikes; that cannot be exported")
    return ordered


def _read(node: onnx.NodeProto) -> list[str]:
    """Return the names of the tensors that a node and its subgraphs read."""
    names = list(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names += [name for inner in graph.node for name in _read(inner)]
    return names
