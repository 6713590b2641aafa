"""The time forms: four ways to replace each TcjaLif node of a model by standard operators.

    scan        one Scan over the time steps; the number of nodes does not depend on T
    unrolled    the operations of each time step, one step after the other; any backend can fuse them
    fused       the same, of other operations, which TensorRT computes in one kernel that reads the current once; in
                long windows of spiking neurons a Scan over blocks of time steps (`tcja_exporters.time_forms.blocks`)
    stepwise    one time step; the membranes are an input and an output (`tcja_exporters.graph.stepwise`)

A neuron without a loop (its decay is 0) has the same few operations for all time steps in the first three forms
(`tcja_exporters.time_forms.instant`).

In the forms scan, unrolled and fused, one convolution or matrix product over T * N computes the currents of all steps.
The spikes are the same to the bit in all forms. A spiking neuron's step has the nodes of
`tcja_exporters.time_forms.neuron_step`, and so has an integrator's; in the form fused it has those of
`tcja_exporters.time_forms.fused`, and pooling and reductions behind the spikes are written in another way (`pooling`
and `reductions` in this folder).
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from tcja_exporters import custom_op
from tcja_exporters.time_forms.blocks import LONGEST, add_blocks, block_steps
from tcja_exporters.time_forms.fused import add_fused, half_currents
from tcja_exporters.time_forms.instant import add_instant
from tcja_exporters.time_forms.nodes import Nodes, Shapes, sizes
from tcja_exporters.time_forms.pooling import pool_by_slices
from tcja_exporters.time_forms.reductions import keep_reductions_apart
from tcja_exporters.time_forms.scan import add_pooled_scan, add_scan, pooling_behind
from tcja_exporters.time_forms.unrolled import add_unrolled
from tcja_runtime.errors import BadInput


def lower(model: onnx.ModelProto, forms: Mapping[str, str] | None = None, *, pooled: bool = False) -> onnx.ModelProto:
    """Return a copy of a model with standard operators only.

    Args:
        model: a model with TcjaLif nodes.
        forms: the time form of each spiking layer and integrator, by its name, such as {"conv.2": "unrolled"}. A layer
            without an entry becomes a Scan.
        pooled: whether a Scan also contains the maximum pooling after it, if nothing else reads its spikes. With a
            pooling of 2 x 2, the Scan then writes a quarter of the values (`tcja_runtime.model_file.scan_pooling`).

    Raises:
        BadInput: a layer is unrolled or fused, but the model does not store the number of time steps.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.functions[:], plain.graph.node[:], plain.opset_import[:]
    plain.opset_import.extend(opset for opset in model.opset_import if not custom_op.is_own(opset.domain))
    shapes = {value.name: value.type.tensor_type.shape for value in model.graph.value_info}
    chosen = {
        node.name: "instant" if custom_op.spec_of(node).instant else (forms or {}).get(_layer(node), "scan")
        for node in filter(custom_op.is_neuron, model.graph.node)
    }
    fused = [node for node in model.graph.node if chosen.get(node.name) == "fused"]
    layers, spikes = set(map(_layer, fused)), [node.output[0] for node in fused if custom_op.fires(node)]
    halves = half_currents(model.graph, layers)
    inside: set[str] = set()
    for node in model.graph.node:
        if not custom_op.is_neuron(node):
            if node.name not in inside and halves.keys().isdisjoint(node.output):
                plain.graph.node.append(node)
            continue
        form, made = chosen[node.name], Nodes(f"{_layer(node)}/", f"{_layer(node)}/")
        behind = pooling_behind(model.graph, node.output[0], shapes) if pooled and form == "scan" else None
        if form == "instant":
            add_instant(made, node)
        elif form == "unrolled":
            add_unrolled(made, node, _time_steps(model, node.input[0], shapes))
        elif form == "fused":
            current = node.input[0]
            known = sizes(shapes[current]) if current in shapes else ()
            steps = _time_steps(model, current, shapes)
            if steps > LONGEST and block_steps(steps) and custom_op.fires(node):
                add_blocks(made, node, steps, halves.get(current))
            else:
                add_fused(made, node, steps, known, halves.get(current))
        elif behind:
            inside |= {each.name for each in behind}
            add_pooled_scan(made, node, behind[1], shapes)
        else:
            add_scan(made, node)
        plain.graph.node.extend(made.nodes)
        plain.graph.initializer.extend(made.constants.values())
    if spikes:
        pool_by_slices(plain.graph, spikes)
        keep_reductions_apart(plain.graph, spikes)
    return plain


def _layer(node: onnx.NodeProto) -> str:
    """Return the name of the layer of a TcjaLif node."""
    return node.name.removesuffix(f"/{custom_op.NAME}")


def _time_steps(model: onnx.ModelProto, current: str, shapes: Shapes) -> int:
    """Return T, from the shape of a current, or from the model's metadata if the shape is not stored.

    The shape is not stored in networks that loop over time themselves.

    Raises:
        BadInput: T is in neither of them.
    """
    found = sizes(shapes[current]) if current in shapes else []
    in_metadata = next((prop.value for prop in model.metadata_props if prop.key == "T"), "0")
    steps = found[0] if found and found[0] else int(in_metadata)
    if not steps:
        raise BadInput(f"the number of time steps of '{current}' is unknown; export with `time_form` scan")
    return steps
