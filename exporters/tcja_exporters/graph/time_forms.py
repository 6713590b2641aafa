"""The time forms: three ways to replace each TcjaLif node of a model by standard operators.

    scan        one Scan over the time steps; the number of nodes does not depend on T
    unrolled    the operations of each time step, one step after the other; any backend can fuse them
    stepwise    one time step; the membranes are an input and an output (`tcja_exporters.graph.stepwise`)

In the forms scan and unrolled, one convolution or matrix product over T * N computes the currents of all steps. The
nodes of a time step are those of `tcja_exporters.graph.neuron_step` in all three forms.
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
"""The shapes of tensors by name; only those that the model stores. An unknown size is 0."""


def lower(model: onnx.ModelProto, forms: Mapping[str, str] | None = None, *, pooled: bool = False) -> onnx.ModelProto:
    """Return a copy of a model with standard operators only.

    Args:
        model: a model with TcjaLif nodes.
        forms: the time form of each spiking layer, by the layer's name, such as {"conv.2": "unrolled"}. A layer without
            an entry becomes a Scan.
        pooled: whether a Scan also contains the maximum pooling after it, if nothing else reads its spikes. With a
            pooling of 2 x 2, the Scan then writes a quarter of the values (`tcja_runtime.model_file.scan_pooling`).

    Raises:
        BadInput: a layer is unrolled, but the model does not store the number of time steps.
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
    """Return the nodes of one time step of a TcjaLif node, with the membranes as an input and an output.

    At the first step, `v` is filled with the neuron's v_reset. At each later step, `v` is the `v_next` of the step
    before. The values must not be used for anything else, because some neurons store the negative of the membrane
    (`tcja_exporters.graph.neuron_step`).

    Args:
        node: the TcjaLif node; its input is the current of one step [N, ...], its output the spikes in the same shape.
        v: the name of the membranes before the step, which have the same shape.
        v_next: the name of the membranes after the step.
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
    """Add the Scan over the time steps that replaces a TcjaLif node."""
    neuron, body = FusedStep.of(custom_op.spec_of(node)), Nodes(at.layer, at.prefix)
    takes, makes = _step(neuron, body)
    at.constants |= body.constants
    start = at.constant("v_reset", neuron.start)
    step = custom_op.body(body.nodes, takes, makes, at.prefix)
    at.nodes += custom_op.scan(node.input[0], node.output[0], start, step, at.prefix)


def _pooled_scan(at: Nodes, node: onnx.NodeProto, pool: onnx.NodeProto, shapes: Shapes) -> None:
    """Add the Scan that replaces a TcjaLif node and the maximum pooling after it.

    In the body of the Scan, each channel of the spikes [C, H, W] is an image [1, H, W].

    Args:
        at: the nodes to which they are added.
        node: the TcjaLif node.
        pool: the maximum pooling.
        shapes: the shapes of the model's tensors.
    """
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
    """Add the nodes of one step; return the names of its inputs (membrane, current) and outputs (membrane, spikes)."""
    v, x = body.prefix + "v", body.prefix + "x"
    h, s, v_next = neuron.step(body, v, x)
    return (v, x), (v_next, s or neuron.fire(body, h))


def _time_steps(model: onnx.ModelProto, current: str, shapes: Shapes) -> int:
    """Return T, from the shape of a current, or from the model's metadata if the shape is not stored.

    The shape is not stored in networks that loop over time themselves.

    Raises:
        BadInput: T is in neither of them.
    """
    sizes = _sizes(shapes[current]) if current in shapes else []
    in_metadata = next((prop.value for prop in model.metadata_props if prop.key == "T"), "0")
    steps = sizes[0] if sizes and sizes[0] else int(in_metadata)
    if not steps:
        raise BadInput(f"the number of time steps of '{current}' is unknown; export with `time_form` scan")
    return steps


def _sizes(shape: onnx.TensorShapeProto) -> list[int]:
    """Return the sizes of a shape; 0 stands for an unknown size."""
    return [size.dim_value for size in shape.dim]


def _pooling(graph: onnx.GraphProto, spikes: str, shapes: Shapes) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """Find the Reshape of a layer's spikes to [T * N, C, H, W] and the MaxPool after it.

    Returns:
        The Reshape and the MaxPool; None if there are none, if another node reads the spikes, or if a shape is unknown.
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
    """Add the nodes of all time steps that replace a TcjaLif node, one step after the other."""
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
