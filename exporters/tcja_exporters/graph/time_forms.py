"""The time forms: how standard operators replace each TcjaLif node of a model.

    scan        one Scan over the steps: as many nodes for any number of steps
    unrolled    the operations of every step one after the other, which any backend can fuse
    stepwise    one step alone, its membranes an input and an output (`tcja_exporters.graph.stepwise`)

In the first two the currents of all steps come from one convolution or matrix product over T * N. All three use the
steps of `tcja_exporters.graph.neuron_step`.
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
"""The shapes of tensors by name, as far as a model holds them; an unknown size is 0."""


def lower(model: onnx.ModelProto, forms: Mapping[str, str] | None = None, *, pooled: bool = False) -> onnx.ModelProto:
    """A copy of a model in standard operators only.

    Args:
        model: a model with TcjaLif nodes.
        forms: the time form of each spiking layer, by the layer's name, such as {"conv.2": "unrolled"}. A layer without
            an entry becomes a Scan.
        pooled: whether a Scan also does a maximum pooling that is the only reader of its spikes. A pooling of 2 x 2
            then writes a quarter of the memory (`tcja_runtime.model_file.scan_pooling`).

    Raises:
        BadInput: a layer is to be unrolled, and the model does not hold the number of time steps.
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


def one_step(node: onnx.NodeProto, v: str, v_next: str) -> Nodes:
    """The nodes of one step of a TcjaLif node, with its membranes as an input and an output.

    A session starts with the neuron's v_reset as membranes. It passes each `v_next` on as the next `v` and reads
    nothing else from them: some neurons store the negative of the membrane (`tcja_exporters.graph.neuron_step`).

    Args:
        node: the TcjaLif node; its input is the current of one step [N, ...], its output the spikes, the same shape.
        v: the name of the membranes before the step, the same shape.
        v_next: the name of the membranes after it.
    """
    neuron, prefix = FusedStep.of(custom_op.spec_of(node)), node.name.removesuffix(custom_op.NAME)
    at = Nodes(prefix, prefix)
    h, s, last = neuron.step(at, v, node.input[0])
    names = {last: v_next, s or neuron.fire(at, h): node.output[0]}
    for each in at.nodes:
        each.input[:] = [names.get(name, name) for name in each.input]
        each.output[:] = [names.get(name, name) for name in each.output]
    return at


def _scan(at: Nodes, node: onnx.NodeProto) -> None:
    """Add a Scan over the steps of a TcjaLif node."""
    neuron, body = FusedStep.of(custom_op.spec_of(node)), Nodes(at.layer, at.prefix)
    takes, makes = _step(neuron, body)
    at.constants |= body.constants
    start = at.constant("v_reset", neuron.start)
    step = custom_op.body(body.nodes, takes, makes, at.prefix)
    at.nodes += custom_op.scan(node.input[0], node.output[0], start, step, at.prefix)


def _pooled_scan(at: Nodes, node: onnx.NodeProto, pool: onnx.NodeProto, shapes: Shapes) -> None:
    """Add a Scan that also pools the spikes [C, H, W] of each step, each channel as an image [1, H, W]."""
    neuron, body = FusedStep.of(custom_op.spec_of(node)), Nodes(at.layer, at.prefix)
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
    """Add a step; return the names of its inputs (membrane, current) and of its outputs (membrane, spikes)."""
    v, x = body.prefix + "v", body.prefix + "x"
    h, s, v_next = neuron.step(body, v, x)
    return (v, x), (v_next, s or neuron.fire(body, h))


def _time_steps(model: onnx.ModelProto, current: str, shapes: Shapes) -> int:
    """T, from a current's shape, or from the metadata where the shape is unknown (networks that loop over time)."""
    sizes = _sizes(shapes[current]) if current in shapes else []
    in_metadata = next((prop.value for prop in model.metadata_props if prop.key == "T"), "0")
    steps = sizes[0] if sizes and sizes[0] else int(in_metadata)
    if not steps:
        raise BadInput(f"the number of time steps of '{current}' is unknown; export with `time_form` scan")
    return steps


def _sizes(shape: onnx.TensorShapeProto) -> list[int]:
    """The sizes of a shape; 0 for an unknown size."""
    return [size.dim_value for size in shape.dim]


def _pooling(graph: onnx.GraphProto, spikes: str, shapes: Shapes) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """The Reshape to [T * N, C, H, W] and the MaxPool behind it that read a layer's spikes.

    None if anything else reads the spikes, or a shape is unknown.
    """

    def reader(tensor: str, kind: str) -> onnx.NodeProto | None:
        found = [node for node in graph.node if tensor in node.input]
        is_output = any(value.name == tensor for value in graph.output)
        alone = len(found) == 1 and found[0].op_type == kind and len(found[0].output) == 1
        return found[0] if alone and not is_output else None

    joined = reader(spikes, "Reshape")
    pool = reader(joined.output[0], "MaxPool") if joined else None
    if joined is None or pool is None or not {spikes, joined.output[0], pool.output[0]} <= shapes.keys():
        return None
    maps, images, made = (_sizes(shapes[name]) for name in (spikes, joined.output[0], pool.output[0]))
    known = len(maps) == 5 and images[1:] == maps[2:] and all(images[1:]) and len(made) == 4 and all(made[1:])
    return (joined, pool) if known else None


def _unrolled(at: Nodes, node: onnx.NodeProto, steps: int) -> None:
    """Add the nodes of every step of a TcjaLif node, one step after the other."""
    neuron, (current,) = FusedStep.of(custom_op.spec_of(node)), node.input
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
