"""Splits an exported network into two models that run it one frame at a time (`tcja_runtime.bundle.stepwise`).

    head    runs once a frame, with T = 1. It has all operations that act on each time step alone
            (`tcja_exporters.graph.time_axes`). A spiking layer is one step of its equations; its membranes are an
            input and an output of the head.
    tail    runs once a window, in ONNX Runtime. It has all other operations; its spiking layers are scans.

A feature is a tensor that the head computes and the tail reads. Features are kept for T steps, so they should be small.
An attention block multiplies by a gate g. The gate mixes time steps, so it is in the tail; it is constant over rows and
columns. If a maximum pooling follows the gate, the head does the pooling before the gate:

    max over i of fl(x_i * g)  =  fl(g * max over i of x_i)        to the bit, as g >= 0 and rounding is monotone.

The head also computes the spatial mean z from which the gate is computed. Transpositions and reshapes between a feature
and the operations of the tail are in the tail.

Tensors have the same names and axes in both models; in the head, T = 1. A feature is an output of the head as [N, ...],
for one step, and an input of the tail as [N, T, ...], for a window; both in float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, numpy_helper

from tcja_exporters import custom_op, time_forms
from tcja_exporters.graph.export import finish, graph_of
from tcja_exporters.graph.exported import Exported
from tcja_exporters.graph.time_axes import MOVES, StepwiseTensors, stepwise_tensors
from tcja_exporters.passes.pool_before_gates import pool_before_gates
from tcja_exporters.time_forms.stepwise import one_step
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.bundle.stepwise import HEAD, TAIL, Feature, State, Streaming
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.model_file.tensor_names import kept_tensor, membrane_tensor, next_membrane_tensor


@dataclasses.dataclass(frozen=True)
class StepwiseModels:
    """The two models of a network that runs stepwise.

    Attributes:
        head: the model that runs once a frame.
        tail: the model that runs once a window.
        streaming: the inputs, states and features of both, for the manifest.
    """

    head: onnx.ModelProto
    tail: onnx.ModelProto
    streaming: Streaming

    @property
    def models(self) -> dict[str, onnx.ModelProto]:
        """The head and the tail, by the names of their files in a bundle."""
        return {HEAD: self.head, TAIL: self.tail}


def check(contract: InputContract) -> None:
    """Check that the input of a network can come one frame at a time.

    Raises:
        BadInput: the input is images, or windows of one time step.
    """
    if contract.name == "images":
        raise BadInput("the network takes images, which have no frames to stream; leave `streaming` out")
    if contract.shape[0] < 2:
        raise BadInput("a window of the network is one time step, with nothing to stream; leave `streaming` out")


def split(exported: Exported, contract: InputContract, layers: Sequence[Layer]) -> StepwiseModels:
    """Return the head and the tail of a network, split at the operations that mix time steps.

    Args:
        exported: the exported network, in its precision.
        contract: the contract of the network's input.
        layers: the spiking layers and the integrators of the network.

    Raises:
        BadInput: the input is images or windows of one step, or the network mixes time steps before its first spiking
            layer.
    """
    check(contract)
    graph = graph_of(exported)
    pool_before_gates(graph)
    metadata = {prop.key: prop.value for prop in exported.model.metadata_props}
    network = _Network.of(_with_shapes(gs.export_onnx(graph)), metadata, contract, layers)
    division = _divide(network)
    streaming = Streaming(
        frame=contract.step_name,
        states=[
            State(layer=layer.name, shape=layer.shape, start=layer.neuron.v_initial)
            for layer in (network.layers[node.output[0]] for node in division.head if node.op_type == custom_op.NAME)
        ],
        features=[Feature(name=name, shape=network.item_shape(name)) for name in division.features],
    )
    return StepwiseModels(_head(network, division, streaming), _tail(network, division, streaming), streaming)


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add the shapes that the exporter left out to a model's value_info, in place; return the model."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for tensor in bare.graph.initializer:
        if tensor.data_type != TensorProto.INT64:  # the inference needs only the values of shapes and axes
            tensor.ClearField("raw_data")
    inferred = onnx.shape_inference.infer_shapes(bare).graph.value_info
    del model.graph.value_info[:]
    model.graph.value_info.extend(value for value in inferred if value.type.tensor_type.HasField("shape"))
    return model


@dataclasses.dataclass(frozen=True)
class _Network:
    """The model that is split, and facts about its tensors.

    Attributes:
        graph: the graph of the model.
        metadata: the properties that are stored in the models.
        contract: the contract of the network's input.
        layers: the spiking layers and integrators, by the names of the tensors that they return.
        tensors: the stepwise tensors, which are computed from the input by operations that act on each step alone.
        types: the element types of tensors, by name.
    """

    graph: onnx.GraphProto
    metadata: dict[str, str]
    contract: InputContract
    layers: Mapping[str, Layer]
    tensors: StepwiseTensors
    types: Mapping[str, int]

    @classmethod
    def of(
        cls, model: onnx.ModelProto, metadata: dict[str, str], contract: InputContract, layers: Sequence[Layer]
    ) -> _Network:
        """Return the record of a model whose value_info holds the shapes of its tensors."""
        values = (*model.graph.value_info, *model.graph.output)
        return cls(
            graph=model.graph,
            metadata=metadata,
            contract=contract,
            layers={layer.result_tensor: layer for layer in layers},
            tensors=stepwise_tensors(model, contract.name, contract.shape[0]),
            types={value.name: value.type.tensor_type.elem_type for value in values},
        )

    def varies(self, node: onnx.NodeProto) -> bool:
        """Whether the result of a node depends on the network's input."""
        return not self.tensors.constants.issuperset(name for name in node.input if name)

    def item_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a stepwise tensor without time and batch, such as (C, H, W) for [T, N, C, H, W]."""
        sizes = self.tensors.axes[name].item_shape(self.tensors.shapes[name])
        return tuple(size for size in sizes if size is not None)

    def windows_first(self, name: str) -> list[int]:
        """Return the permutation that makes a stepwise tensor [N, T, ...]; its time and batch must be two axes."""
        axes, shape = self.tensors.axes[name], self.tensors.shapes[name]
        time, batch = axes.axes
        return [batch, time, *(axis for axis in range(len(shape)) if axis not in axes.axes)]

    def is_float32(self, name: str) -> bool:
        """Whether a tensor is float32, or its type is not stored."""
        return bool(self.types.get(name, TensorProto.FLOAT) == TensorProto.FLOAT)


@dataclasses.dataclass(frozen=True)
class _Division:
    """The division of a network into head and tail.

    Attributes:
        head: the nodes of the head.
        tail: the nodes of the tail; some transpositions and reshapes are in both.
        features: the names of the tensors that the head computes and the tail reads.
    """

    head: list[onnx.NodeProto]
    tail: list[onnx.NodeProto]
    features: list[str]


def _divide(network: _Network) -> _Division:
    """Assign each node to the head or the tail. The tail repeats moves (transpositions, reshapes) of the head.

    So a feature is the tensor before the moves, and is stored once if several moved tensors are read.

    Raises:
        BadInput: no spiking layer is in the head.
    """
    nodes, stepwise = network.graph.node, network.tensors.axes
    head = [node for node in nodes if node.output[0] in stepwise]
    if not any(node.op_type == custom_op.NAME for node in head):
        first = next(node for node in nodes if not stepwise.keys() & set(node.output) and network.varies(node))
        what = (
            "takes single time steps out of the window, because the models have some operations once for each time "
            "step, which the export names; compute the same at each step"
            if first.op_type in ("Gather", "Slice", "Split")
            else "mixes time steps and is before every spiking layer, so no step can be computed before the window is "
            "complete; make it work step by step"
        )
        module = first.name.rpartition("/")[0] or first.name
        raise BadInput(f"`streaming`: '{module}' {what}, or leave `streaming` out")
    makers = {name: node for node in nodes for name in node.output}
    later = {node.output[0] for node in nodes if node.output[0] not in stepwise and network.varies(node)}
    read = [name for node in nodes if node.output[0] in later for name in node.input if name in stepwise]
    read += [value.name for value in network.graph.output if value.name in stepwise]
    features: list[str] = []
    for name in read:  # the list grows in the loop
        maker = makers.get(name)
        if maker is not None and maker.op_type in MOVES:
            later.add(name)
            read.append(maker.input[0])
        elif name not in features:
            features.append(name)
    return _Division(head, [node for node in nodes if node.output[0] in later], features)


def _head(network: _Network, division: _Division, streaming: Streaming) -> onnx.ModelProto:
    """Return the model that runs once a frame."""
    part, source = _Part(), network.contract.name
    part.op("Unsqueeze", streaming.frame, source, axes=[1])
    for node in division.head:
        if node.op_type == custom_op.NAME:
            _add_one_step(part, network.layers[node.output[0]].name, node)
        elif node.op_type == "Reshape":
            target = _shape_at_one_step(network.tensors, node.output[0])
            part.op("Reshape", node.input[0], node.output[0], node.name, axes=target, allowzero=1)
        else:
            part.nodes.append(node)
    for feature in streaming.features:
        _add_feature_output(part, network, feature.name)
    inputs = [_value(streaming.frame, ("batch", *network.contract.shape[1:]))]
    inputs += [_value(membrane_tensor(s.layer), ("batch", *s.shape)) for s in streaming.states]
    outputs = [_value(next_membrane_tensor(s.layer), ("batch", *s.shape)) for s in streaming.states]
    outputs += [_value(kept_tensor(f.name), ("batch", *f.shape)) for f in streaming.features]
    return _model(network, part, "head", inputs, outputs)


def _tail(network: _Network, division: _Division, streaming: Streaming) -> onnx.ModelProto:
    """Return the model that runs once a window."""
    part, time_steps = _Part(), network.contract.shape[0]
    for feature in streaming.features:
        _add_feature_input(part, network, feature.name)
    part.nodes += division.tail
    inputs = [_value(kept_tensor(f.name), ("batch", time_steps, *f.shape)) for f in streaming.features]
    return _model(network, part, "tail", inputs, list(network.graph.output))


def _add_one_step(part: _Part, layer: str, node: onnx.NodeProto) -> None:
    """Add the nodes of one step of a spiking layer, from the current [1, N, ...] to the spikes [1, N, ...]."""
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    alone.input[0], alone.output[0] = f"{layer}/x", f"{layer}/s"
    part.op("Squeeze", node.input[0], alone.input[0], axes=[0])
    step = one_step(alone, membrane_tensor(layer), next_membrane_tensor(layer))
    part.nodes += step.nodes
    part.constants += step.constants.values()
    part.op("Unsqueeze", alone.output[0], node.output[0], axes=[0])


def _shape_at_one_step(tensors: StepwiseTensors, name: str) -> list[int]:
    """Return the target of the Reshape that makes a tensor in the head: its shape with T = 1, and -1 for the batch."""
    axes, shape = tensors.axes[name], tensors.shapes[name]
    return [-1 if size is None else 1 if axis in axes.axes else size for axis, size in enumerate(shape)]


def _add_feature_output(part: _Part, network: _Network, name: str) -> None:
    """Add the nodes that make the feature [N, ...], in float32, from a tensor of the head."""
    axes, kept, made = network.tensors.axes[name], kept_tensor(name), name
    if not network.is_float32(name):
        made = part.op("Cast", made, f"{kept}/float", to=TensorProto.FLOAT)
    if axes.joined:
        part.op("Identity", made, kept)
    elif axes.axes == (0, 1):
        part.op("Squeeze", made, kept, axes=[0])
    else:
        made = part.op("Transpose", made, f"{kept}/windows", perm=network.windows_first(name))
        part.op("Squeeze", made, kept, axes=[1])


def _add_feature_input(part: _Part, network: _Network, name: str) -> None:
    """Add the nodes that make a tensor of the tail, in its type and axes, from the feature [N, T, ...]."""
    axes, made = network.tensors.axes[name], kept_tensor(name)
    if not network.is_float32(name):
        made = part.op("Cast", made, f"{made}/own type", to=network.types[name])
    item = network.item_shape(name)
    if axes.joined:
        time_first = [1, 0, *range(2, 2 + len(item))]
        made = part.op("Transpose", made, f"{made}/steps", perm=time_first) if axes.time_first else made
        part.op("Reshape", made, name, axes=[-1, *item], allowzero=1)
    else:
        part.op("Transpose", made, name, perm=list(np.argsort(network.windows_first(name))))


def _model(
    network: _Network, part: _Part, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """Return a model with the nodes and constants that its outputs need.

    Args:
        network: the network that is split; the nodes of constants are taken from it.
        part: the nodes and new constants of the model.
        name: the name of the model, "head" or "tail".
        inputs: the inputs of the model.
        outputs: the outputs of the model.
    """
    needed, nodes = {value.name for value in outputs}, []
    for node in reversed([*(node for node in network.graph.node if not network.varies(node)), *part.nodes]):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    constants = [tensor for tensor in (*network.graph.initializer, *part.constants) if tensor.name in needed]
    graph = helper.make_graph(nodes[::-1], name, inputs, outputs, constants)
    if name == "tail":  # in the head, shapes are those of one step; readers infer them
        made = {tensor for node in graph.node for tensor in node.output}
        graph.value_info.extend(value for value in network.graph.value_info if value.name in made)
    opsets = [helper.make_opsetid("", custom_op.OPSET), helper.make_opsetid(custom_op.DOMAIN, custom_op.VERSION)]
    model = time_forms.lower(helper.make_model(graph, opset_imports=opsets))
    finish(model, {**network.metadata, "part": name})
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclasses.dataclass
class _Part:
    """The nodes of a model that is being built.

    Attributes:
        nodes: the nodes so far.
        constants: the constants so far that are not in the network's graph.
    """

    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: list[TensorProto] = dataclasses.field(default_factory=list)

    def op(
        self, kind: str, source: str, made: str, name: str = "", *, axes: Iterable[int] | None = None, **attrs: Any
    ) -> str:
        """Add a node with one data input and one output; return the name of the output.

        Args:
            kind: the operator.
            source: the name of the input.
            made: the name of the output.
            name: the name of the node; if empty, a name made from the output's name.
            axes: the integers of the node's constant second input, such as axes; None without a second input.
            attrs: the attributes of the node.
        """
        inputs = [source]
        if axes is not None:
            inputs.append(f"{made}/{kind.lower()}")
            self.constants.append(numpy_helper.from_array(np.array(list(axes), np.int64), inputs[1]))
        self.nodes.append(helper.make_node(kind, inputs, [made], name=name or f"{made}/{kind}", **attrs))
        return made


def _value(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
