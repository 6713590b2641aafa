"""How time is laid out in a model of standard operators: what takes the place of each TcjaLif node.

    scan        one Scan over the steps: as many nodes for any number of steps
    unrolled    the operations of every step one after the other: nothing that a backend could not fuse

    stepwise    one step alone, its membranes as input and output: what `tcja_exporters.streaming` runs frame by frame

In the first two the currents of all steps come from one convolution or matrix product over T * N. The steps of all
three are those of `tcja_exporters.fused_step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import onnx

from tcja_exporters import custom_op
from tcja_exporters.fused_step import FusedStep, Nodes

TimeForm: TypeAlias = Literal["scan", "unrolled"]
FORMS: tuple[TimeForm, ...] = get_args(TimeForm)


def lower(model: onnx.ModelProto, forms: Mapping[str, TimeForm] | None = None) -> onnx.ModelProto:
    """A copy of a model in standard operators only.

    Args:
        model: with TcjaLif nodes.
        forms: of spiking layers; the others are scans.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.functions[:], plain.graph.node[:], plain.opset_import[:]
    plain.opset_import.extend(opset for opset in model.opset_import if opset.domain != custom_op.DOMAIN)
    shapes = {value.name: value.type.tensor_type.shape for value in model.graph.value_info}
    for node in model.graph.node:
        if node.domain != custom_op.DOMAIN:
            plain.graph.node.append(node)
            continue
        layer = node.name.removesuffix(f"/{custom_op.NAME}")
        made = Nodes(f"{layer}/", f"{layer}/")
        if (forms or {}).get(layer, "scan") == "unrolled":
            _unrolled(made, node, shapes[node.input[0]].dim[0].dim_value)
        else:
            _scan(made, node)
        plain.graph.node.extend(made.nodes)
        plain.graph.initializer.extend(made.constants.values())
    return plain


def stepwise(node: onnx.NodeProto, v: str, v_next: str) -> Nodes:
    """What a TcjaLif node does at one step, its membranes in the open.

    The nodes read the node's current of that step alone, [N, ...], and its membranes `v`, and make its spikes and
    `v_next`, all of the same shape. A session starts from the neuron's v_reset; what it keeps are the membranes, or the
    membranes with their sign turned (`tcja_exporters.fused_step`), for it alone to read.
    """
    neuron, prefix = FusedStep(custom_op.spec_of(node)), node.name.removesuffix(custom_op.NAME)
    at = Nodes(prefix, prefix)
    h, s, last = neuron.step(at, v, node.input[0])
    names = {last: v_next, s or neuron.fire(at, h): node.output[0]}
    for each in at.nodes:
        each.input[:] = [names.get(name, name) for name in each.input]
        each.output[:] = [names.get(name, name) for name in each.output]
    return at


def _scan(at: Nodes, node: onnx.NodeProto) -> None:
    neuron, (current,), (spikes,) = FusedStep(custom_op.spec_of(node)), node.input, node.output
    v, x = at.prefix + "v", at.prefix + "x"
    body = Nodes(at.layer, at.prefix)
    h, s, v_next = neuron.step(body, v, x)
    made = v_next, s or neuron.fire(body, h)
    at.constants |= body.constants
    at.nodes += custom_op.scan_over(
        current, spikes, at.constant("v_reset", neuron.start), body.nodes, (v, x), made, at.prefix
    )


def _unrolled(at: Nodes, node: onnx.NodeProto, steps: int) -> None:
    neuron, (current,) = FusedStep(custom_op.spec_of(node)), node.input
    currents = at.out_of("Split", [current], [f"x_{t}" for t in range(steps)], axis=0, num_outputs=steps)
    v: str | None = None
    charged, fired = [], []
    for t, x in enumerate(currents):
        step = Nodes(at.layer, f"{at.prefix}{t}/")
        h, s, v = neuron.step(step, v, x, last=t == steps - 1)
        charged.append(h)
        fired.append(s)
        at.nodes += step.nodes
        at.constants |= step.constants
    if neuron.fires_apart:
        neuron.fire(at, at.op("Concat", charged, "h", axis=0), "spikes")
    else:
        at.op("Concat", fired, "spikes", axis=0)
