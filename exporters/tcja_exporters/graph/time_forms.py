"""How time is laid out in a model of standard operators: what takes the place of each TcjaLif node.

    scan        one Scan over the steps: as many nodes for any number of steps
    unrolled    the operations of every step one after the other: nothing that a backend could not fuse

    stepwise    one step alone, its membranes as input and output: what `tcja_exporters.graph.stepwise` runs frame by
    frame

In the first two the currents of all steps come from one convolution or matrix product over T * N. The steps of all
three are those of `tcja_exporters.graph.neuron_step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import onnx
from onnx import helper

from tcja_exporters import custom_op
from tcja_exporters.graph.neuron_step import FusedStep, Nodes
from tcja_runtime.errors import BadInput

Shapes: TypeAlias = Mapping[str, onnx.TensorShapeProto]
"""Of tensors, as far as a model notes them; a size that is not known is 0."""


def lower(model: onnx.ModelProto, forms: Mapping[str, str] | None = None, *, pooled: bool = False) -> onnx.ModelProto:
    """A copy of a model in standard operators only.

    Args:
        model: with TcjaLif nodes.
        forms: the time form by spiking layer (`tcja_runtime.choices.TIME_FORMS`); the others are scans.
        pooled: whether a Scan does the maximum pooling of its spikes that alone reads them, step by step: a quarter of
            the memory is written (`tcja_runtime.model_file.scan_pooling`).

    Raises:
        BadInput: the model does not tell how many steps are to be unrolled.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.functions[:], plain.graph.node[:], plain.opset_import[:]
    plain.opset_import.extend(opset for opset in model.opset_import if opset.domain != custom_op.DOMAIN)
    shapes = {value.name: value.type.tensor_type.shape for value in model.graph.value_info}
    inside: set[str] = set()
    for node in model.graph.node:
        if node.domain != custom_op.DOMAIN:
            if node.name not in inside:
                plain.graph.node.append(node)
            continue
        layer = node.name.removesuffix(f"/{custom_op.NAME}")
        made = Nodes(f"{layer}/", f"{layer}/")
        behind = _pooling(model.graph, node.output[0], shapes) if pooled else None
        if (forms or {}).get(layer, "scan") == "unrolled":
            _unrolled(made, node, _time_steps(model, node.input[0], shapes))
        elif behind:
            inside |= {each.name for each in behind}
            _pooled_scan(made, node, behind[1], shapes)
        else:
            _scan(made, node)
        plain.graph.node.extend(made.nodes)
        plain.graph.initializer.extend(made.constants.values())
    return plain


def stepwise(node: onnx.NodeProto, v: str, v_next: str) -> Nodes:
    """What a TcjaLif node does at one step, its membranes in the open.

    The nodes read the node's current of that step alone, [N, ...], and its membranes `v`, and make its spikes and
    `v_next`, all of the same shape. A session starts from the neuron's v_reset; what it keeps are the membranes, or the
    membranes with their sign turned (`tcja_exporters.graph.neuron_step`), for it alone to read.
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
    neuron, body = FusedStep(custom_op.spec_of(node)), Nodes(at.layer, at.prefix)
    takes, makes = _step(neuron, body)
    at.constants |= body.constants
    start = at.constant("v_reset", neuron.start)
    step = custom_op.body(body.nodes, takes, makes, at.prefix)
    at.nodes += custom_op.scan(node.input[0], node.output[0], start, step, at.prefix)


def _pooled_scan(at: Nodes, node: onnx.NodeProto, pool: onnx.NodeProto, shapes: Shapes) -> None:
    """A Scan that pools maps [C, H, W], each channel as an image [1, H, W] of its own."""
    neuron, body = FusedStep(custom_op.spec_of(node)), Nodes(at.layer, at.prefix)
    takes, (v_next, s) = _step(neuron, body)
    rows = _sizes(shapes[node.input[0]])[-2:]
    planes = body.op("Reshape", [s, body.constant("planes", [-1, 1, *rows], np.int64)], "split")
    pooled = onnx.NodeProto()
    pooled.CopyFrom(pool)
    pooled.input[0], pooled.output[0] = planes, at.prefix + "pooled"
    body.nodes.append(pooled)
    at.constants |= body.constants
    start, made = at.constant("v_reset", neuron.start), at.prefix + "scanned"
    step = custom_op.body(body.nodes, takes, (v_next, pooled.output[0]), at.prefix, rank=4)
    at.nodes += custom_op.scan(node.input[0], made, start, step, at.prefix, flat=True)
    shape = at.constant("maps", [-1, *_sizes(shapes[pool.output[0]])[-3:]], np.int64)
    at.nodes.append(helper.make_node("Reshape", [made, shape], [pool.output[0]], name=at.prefix + "maps"))


def _step(neuron: FusedStep, body: Nodes) -> tuple[tuple[str, str], tuple[str, str]]:
    """Add a step: what it takes, a membrane and a current, and what it makes, a membrane and spikes."""
    v, x = body.prefix + "v", body.prefix + "x"
    h, s, v_next = neuron.step(body, v, x)
    return (v, x), (v_next, s or neuron.fire(body, h))


def _time_steps(model: onnx.ModelProto, current: str, shapes: Shapes) -> int:
    """T, from a current's shape, or where that is not noted (networks that loop over time), from the metadata."""
    sizes = _sizes(shapes[current]) if current in shapes else []
    said = next((prop.value for prop in model.metadata_props if prop.key == "T"), "0")
    steps = sizes[0] if sizes and sizes[0] else int(said)
    if not steps:
        raise BadInput(f"nothing tells the number of time steps of '{current}'; export with `time_form` scan")
    return steps


def _sizes(shape: onnx.TensorShapeProto) -> list[int]:
    return [size.dim_value for size in shape.dim]


def _pooling(graph: onnx.GraphProto, spikes: str, shapes: Shapes) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """The Reshape to [T * N, C, H, W] and the MaxPool that alone read a layer's spikes; None if there is more to it."""

    def reader(tensor: str, kind: str) -> onnx.NodeProto | None:
        found = [node for node in graph.node if tensor in node.input]
        asked = any(value.name == tensor for value in graph.output)
        alone = len(found) == 1 and found[0].op_type == kind and len(found[0].output) == 1
        return found[0] if alone and not asked else None

    joined = reader(spikes, "Reshape")
    pool = reader(joined.output[0], "MaxPool") if joined else None
    if joined is None or pool is None or not {spikes, joined.output[0], pool.output[0]} <= shapes.keys():
        return None
    maps, images, made = (_sizes(shapes[name]) for name in (spikes, joined.output[0], pool.output[0]))
    known = len(maps) == 5 and images[1:] == maps[2:] and all(images[1:]) and len(made) == 4 and all(made[1:])
    return (joined, pool) if known else None


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
