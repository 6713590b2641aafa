"""Exports a torch module as the two ONNX models of a bundle.

The steps of an export, in this order:

torch.onnx.export          makes one TcjaLif node for each spiking layer, for any T; or, if the network loops over time,
                           one step operator for each layer and time step
step joining               joins the step operators of a layer to one TcjaLif node
naming                     names nodes and tensors after their PyTorch modules
passes                     simplify the graph (`tcja_exporters.passes`)
rolling                    computes all time steps of a loop over time at once, where they do the same
model.onnx                 is the result with the functions that define TcjaLif (the canonical model)
model.plain.onnx           is the result with standard operators in place of TcjaLif (the plain model)
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import torch
from onnx import helper
from torch import nn

from tcja_exporters import custom_op, passes, time_forms
from tcja_exporters.graph import step_joining
from tcja_exporters.graph.capture import capture, explained
from tcja_exporters.graph.exported import Exported, check
from tcja_exporters.graph.naming import name_after_modules
from tcja_exporters.graph.rolling import ROLLING, roll
from tcja_exporters.graph.unjudged import unjudged
from tcja_exporters.graph.weights import find_weights
from tcja_exporters.modules.neurons import set_surrogate
from tcja_exporters.passes import origins
from tcja_exporters.passes.base import PassResult
from tcja_exporters.time_forms import spike_counts
from tcja_runtime.bundle.network_signature import Layer, Weight
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput

IR_VERSION = 8
"""The IR version of opset 18, and the oldest one with functions. ONNX Runtime 1.16 reads no later one than 9."""
_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
_SHORT_CONSTANTS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
"""The attributes in which a Constant node may hold numbers in place of a tensor, and the types of these numbers.

graphsurgeon would read the floats as float64.
"""


def export_onnx(network: nn.Module, contract: InputContract, output: str, metadata: dict[str, str]) -> Exported:
    """Export a network, for batches of any size, and return both models.

    Args:
        network: the network, which takes a batch [N, *contract.shape] and returns one tensor [N, ...]. It is set to
            eval mode, without surrogate gradients.
        contract: the contract of the network's input.
        output: the name of the network's output.
        metadata: the properties to store in both models, such as "producer".

    Raises:
        BadInput: the network does not take batches of any size, uses a neuron twice, draws random numbers, or needs an
            operation that ONNX does not have.
    """
    set_surrogate(network, None)
    raw = _torch_export(network.eval(), contract, output)
    step_joining.join(raw)
    name_after_modules(raw)
    _spell_out_constants(raw)
    firing = unjudged(raw, network)

    graph = gs.import_onnx(raw)
    del raw
    origins.mark_parameters(graph, origins.first_names(network))
    report = [*passes.run(graph), {"name": ROLLING, **dataclasses.asdict(roll(graph))}]
    _refuse_random(graph)
    weights = find_weights(network, graph)
    made = gs.export_onnx(graph)
    del graph
    gc.collect()  # the nodes of a graph refer to each other in cycles, and hold the weights
    model, plain = _models(made, metadata)
    return Exported(model, plain, report, weights, firing)


def with_pass(
    exported: Exported, name: str, change: Callable[[gs.Graph], PassResult], weights: list[Weight]
) -> Exported:
    """Return an exported network after one more pass.

    Args:
        exported: the exported network, which is not changed.
        name: the name of the pass, for the report.
        change: the pass, a function that changes a graph.
        weights: the weights of the network after the pass.
    """
    graph = graph_of(exported)
    done = change(graph)
    graph.cleanup().toposort()
    model, plain = _models(gs.export_onnx(graph), {prop.key: prop.value for prop in exported.model.metadata_props})
    report = [*exported.passes, {"name": name, **dataclasses.asdict(done)}]
    return Exported(model, plain, report, weights, exported.unjudged)


def graph_of(exported: Exported) -> gs.Graph:
    """Return the canonical model as a graph that passes can change, without the functions that define TcjaLif."""
    bare = onnx.ModelProto()
    bare.CopyFrom(exported.model)
    custom_op.undefine(bare)
    return gs.import_onnx(bare)


def with_time_forms(exported: Exported, forms: Mapping[str, str], *, pooled: bool = False) -> Exported:
    """Return a copy of an exported network whose plain model has the given time forms.

    The canonical model stays as it is.

    Args:
        exported: the exported network.
        forms: the time form of each spiking layer, by the layer's name, such as {"conv.2": "unrolled"}. A layer without
            an entry becomes a Scan.
        pooled: whether a Scan also contains the maximum pooling of its spikes
            (`tcja_exporters.time_forms.lower`).
    """
    metadata = {prop.key: prop.value for prop in exported.model.metadata_props}
    return dataclasses.replace(exported, plain=_plain(exported.model, metadata, forms, pooled=pooled))


def with_spike_counts(exported: Exported, layers: Sequence[Layer], time_steps: int, *, fuses: bool) -> Exported:
    """Return a copy of an exported network whose plain model also returns its spike counts.

    The arguments are those of `tcja_exporters.time_forms.spike_counts.count_spikes`.
    """
    plain = spike_counts.count_spikes(exported.plain, layers, time_steps, fuses=fuses)
    check(plain)
    return dataclasses.replace(exported, plain=plain)


def _plain(
    model: onnx.ModelProto,
    metadata: dict[str, str],
    forms: Mapping[str, str] | None = None,
    *,
    pooled: bool = False,
) -> onnx.ModelProto:
    """Return the plain model of a canonical model; `forms` and `pooled` are as in `time_forms.lower`."""
    plain = finish(time_forms.lower(model, forms, pooled=pooled), metadata)
    check(plain)
    return plain


def _models(made: onnx.ModelProto, metadata: dict[str, str]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return the canonical and the plain model, from a model with TcjaLif nodes and without their functions."""
    model = finish(made, metadata)
    custom_op.define(model)
    check(model)
    return model, _plain(model, metadata)


def _torch_export(network: nn.Module, contract: InputContract, output: str) -> onnx.ModelProto:
    """Return the model that `torch.onnx.export` makes, for batches of any size.

    Raises:
        BadInput: torch cannot export the network, or the network fixes the size of the batch.
    """
    with _quiet():
        captured = capture(network, contract)
        with explained("torch.onnx"):
            program: Any = torch.onnx.export(
                captured,
                dynamo=True,
                optimize=False,
                verbose=False,
                opset_version=custom_op.OPSET,
                input_names=[contract.name],
                output_names=[output],
                dynamic_shapes=({0: "batch"},),
            )
    model: onnx.ModelProto = program.model_proto
    del program, captured
    gc.collect()  # the exporter leaves cycles of objects that hold copies of the weights
    for value in (model.graph.input[0], model.graph.output[0]):
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise BadInput(f"the network fixes the batch size of '{value.name}'; take it from the input's shape")
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """In this context, the exporter prints no warnings (about deprecations and packages that are not needed)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _spell_out_constants(model: onnx.ModelProto) -> None:
    """Store the numbers of all Constant nodes as tensors, in place."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name in _SHORT_CONSTANTS:
                value = np.asarray(helper.get_attribute_value(attribute), _SHORT_CONSTANTS[attribute.name])
                attribute.CopyFrom(helper.make_attribute("value", onnx.numpy_helper.from_array(value)))


def _refuse_random(graph: gs.Graph) -> None:
    """Check that no node of a graph draws random numbers.

    Raises:
        BadInput: a node does.
    """
    for node in graph.nodes:
        if node.op in _RANDOM or (node.op == "Dropout" and len(node.inputs) == 3):
            raise BadInput(
                f"the network draws random numbers ({node.name}), so no two runs agree; remove the random numbers from "
                "its forward (put a random encoding before the network)"
            )


def finish(model: onnx.ModelProto, metadata: dict[str, str]) -> onnx.ModelProto:
    """Set the IR version, the producer and the properties of a model, in place; return the model.

    Args:
        model: the model.
        metadata: the properties; its entry "producer" is also the name of the producer.
    """
    model.ir_version = IR_VERSION
    model.producer_name = metadata["producer"]
    del model.metadata_props[:]
    helper.set_model_props(model, metadata)
    return model
