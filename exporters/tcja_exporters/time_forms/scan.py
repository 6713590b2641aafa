"""The time form scan: one Scan over the time steps, so the number of nodes does not depend on T."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tcja_exporters import custom_op
from tcja_exporters.time_forms.neuron_step import NeuronStep
from tcja_exporters.time_forms.nodes import Nodes, Shapes, sizes
from tcja_runtime.neuron import NeuronSpec


def add_scan(at: Nodes, node: onnx.NodeProto) -> None:
    """Add the Scan over the time steps that replaces a TcjaLif node."""
    neuron, body = NeuronStep.of(custom_op.spec_of(node)), Nodes(at.layer, at.prefix)
    takes, makes = _step(neuron, body)
    start = spread_constants(at, body, neuron.spec, node.input[0])
    step = custom_op.body(body.nodes, takes, makes, at.prefix)
    at.nodes += custom_op.scan(node.input[0], node.output[0], start, step, at.prefix)


def add_pooled_scan(at: Nodes, node: onnx.NodeProto, pool: onnx.NodeProto, shapes: Shapes) -> None:
    """Add the Scan that replaces a TcjaLif node and the maximum pooling after it.

    In the body of the Scan, each channel of the spikes [C, H, W] is an image [1, H, W].

    Args:
        at: the nodes to which they are added.
        node: the TcjaLif node.
        pool: the maximum pooling.
        shapes: the shapes of the model's tensors.
    """
    neuron, body = NeuronStep.of(custom_op.spec_of(node)), Nodes(at.layer, at.prefix)
    takes, (v_next, s) = _step(neuron, body)
    rows = sizes(shapes[pool.input[0]])[-2:]  # the shape of the current may not be stored
    planes = body.op("Reshape", [s, body.constant("planes", [-1, 1, *rows], np.int64)], "split")
    pooled = onnx.NodeProto()
    pooled.CopyFrom(pool)
    pooled.input[0], pooled.output[0] = planes, at.prefix + "pooled"
    body.nodes.append(pooled)
    start, made = spread_constants(at, body, neuron.spec, node.input[0]), at.prefix + "scanned"
    step = custom_op.body(body.nodes, takes, (v_next, pooled.output[0]), at.prefix, rank=4)
    at.nodes += custom_op.scan(node.input[0], made, start, step, at.prefix, flat=True)
    shape = at.constant("maps", [-1, *sizes(shapes[pool.output[0]])[-3:]], np.int64)
    at.nodes.append(helper.make_node("Reshape", [made, shape], [pool.output[0]], name=at.prefix + "maps"))


def pooling_behind(graph: onnx.GraphProto, spikes: str, shapes: Shapes) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
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
    maps, images, made = (sizes(shapes[name]) for name in (spikes, joined.output[0], pool.output[0]))
    known = len(maps) == 5 and images[1:] == maps[2:] and all(images[1:]) and len(made) == 4 and all(made[1:])
    return (joined, pool) if known else None


def _step(neuron: NeuronStep, body: Nodes) -> tuple[tuple[str, str], tuple[str, str]]:
    """Add the nodes of one step; return the names of its inputs (membrane, current) and outputs (membrane, spikes)."""
    v, x = body.prefix + "v", body.prefix + "x"
    h, s, v_next = neuron.step(body, v, x)
    return (v, x), (v_next, s or neuron.fire(body, h))


def spread_constants(at: Nodes, body: Nodes, spec: NeuronSpec, current: str) -> str:
    """Add the constants of a step, with arrays spread over the neurons, which are on one axis in the body of a Scan.

    Args:
        at: the nodes around the Scan.
        body: the nodes of the step, or of a block of steps, which are changed.
        spec: the neuron.
        current: the name of the current [T, N, ...].

    Returns:
        The name of the membranes before the first step.
    """
    at.constants |= body.constants
    start = at.constant("v_initial", spec.v_initial)
    arrays = [name for name, held in at.constants.items() if held.dims and held.data_type == onnx.TensorProto.FLOAT]
    spread = {array: f"{array}_of_all" for array in sorted(arrays)}
    for array, name in spread.items():
        at.nodes += custom_op.spread(array, current, name)
    for node in body.nodes:
        node.input[:] = [spread.get(name, name) for name in node.input]
    return spread.get(start, start)
