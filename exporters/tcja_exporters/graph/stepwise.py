"""Splits an exported network into two models that run it one frame at a time (`tcja_runtime.bundle.stepwise`).

    head    runs once a frame: every operation that acts on each time step alone (`tcja_exporters.graph.time_axes`), at
            T = 1. A spiking layer is one step of its equations, its membranes an input and an output.
    tail    runs once a window, in ONNX Runtime: all other operations, spiking layers as scans.

A feature is a tensor that the head computes and the tail reads. Features are kept for T steps, so they should be small.
An attention block multiplies by a gate g that mixes steps and is constant over rows and columns. Where a maximum
pooling follows, the head does it before the gate:

    max over i of fl(x_i * g)  =  fl(g * max over i of x_i)        to the bit, as g >= 0 and rounding is monotone.

The head also takes the spatial mean z that the gate is computed from. Transpositions and reshapes are left to the tail.

Tensors keep their names and axes in both models, those of the head with T = 1. A feature leaves the head as [N, ...],
one step, and enters the tail as [N, T, ...], a window; both in float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, numpy_helper

from tcja_exporters import custom_op
from tcja_exporters.graph import time_forms
from tcja_exporters.graph.export import finish, graph_of
from tcja_exporters.graph.exported import Exported
from tcja_exporters.graph.time_axes import MOVES, StepwiseTensors, stepwise_tensors
from tcja_exporters.passes.pool_before_gates import pool_before_gates
from tcja_runtime.bundle.signature import Layer
from tcja_runtime.bundle.stepwise import HEAD, TAIL, Feature, State, Streaming
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.model_file.tensor_names import kept_tensor, membrane_tensor, next_membrane_tensor, spikes_tensor


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
        """Both models, by the names of their files in a bundle."""
        return {HEAD: self.head, TAIL: self.tail}


def check(contract: InputContract) -> None:
    """Refuse a network whose input cannot come one frame at a time.

    Raises:
        BadInput: the input is images, or windows of one step.
    """
    if contract.name == "images":
        raise BadInput("the network takes images, which have no frames to stream; leave `streaming` out")
    if contract.shape[0] < 2:
        raise BadInput("a window of the network is one time step, with nothing to stream; leave `streaming` out")


def split(exported: Exported, contract: InputContract, layers: Sequence[Layer]) -> StepwiseModels:
    """Split a network at the first operation that mixes time steps.

    Args:
        exported: the network, in its precision.
        contract: its input.
        layers: its spiking layers.

    Raises:
        BadInput: the input is images or windows of one step, or the network mixes steps before its first spiking layer.
    """
    check(contract)
    graph = graph_of(exported)
    pool_before_gates(graph)
    metadata = {prop.key: prop.value for prop in exported.model.metadata_props}
    network = _Network.of(_with_shapes(gs.export_onnx(graph)), metadata, contract, layers)
    division = _divide(network)
    streaming = Streaming(
        frame=contract.name.removesuffix("s"),
        states=[
            State(layer=layer.name, shape=layer.shape, start=layer.neuron.v_reset)
            for layer in (network.layers[node.output[0]] for node in division.head if node.op_type == custom_op.NAME)
        ],
        features=[Feature(name=name, shape=network.item_shape(name)) for name in division.features],
    )
    return StepwiseModels(_head(network, division, streaming), _tail(network, division, streaming), streaming)


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, changed in place: its value_info also holds the shapes that the exporter left out."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for tensor in bare.graph.initializer:
        if tensor.data_type != TensorProto.INT64:  # the inference needs the values of shapes and axes alone
            tensor.ClearField("raw_data")
    inferred = onnx.shape_inference.infer_shapes(bare).graph.value_info
    del model.graph.value_info[:]
    model.graph.value_info.extend(value for value in inferred if value.type.tensor_type.HasField("shape"))
    return model


@dataclasses.dataclass(frozen=True)
class _Network:
    """The model that is split, and what is known of its tensors.

    Attributes:
        graph: its graph.
        metadata: the properties of its models.
        contract: its input.
        layers: its spiking layers, by the name of their spikes' tensor.
        tensors: the tensors that are computed step by step from the input.
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
        values = (*model.graph.value_info, *model.graph.output)
        return cls(
            graph=model.graph,
            metadata=metadata,
            contract=contract,
            layers={spikes_tensor(layer.name): layer for layer in layers},
            tensors=stepwise_tensors(model, contract.name, contract.shape[0]),
            types={value.name: value.type.tensor_type.elem_type for value in values},
        )

    def varies(self, node: onnx.NodeProto) -> bool:
        """Whether a node depends on the input."""
        return not self.tensors.constants.issuperset(name for name in node.input if name)

    def item_shape(self, name: str) -> tuple[int, ...]:
        """The shape of a stepwise tensor at one step of one window."""
        sizes = self.tensors.axes[name].item_shape(self.tensors.shapes[name])
        return tuple(size for size in sizes if size is not None)

    def windows_first(self, name: str) -> list[int]:
        """The order of axes in which a stepwise tensor, time and batch apart, is [N, T, ...]."""
        axes, shape = self.tensors.axes[name], self.tensors.shapes[name]
        time, batch = axes.axes
        return [batch, time, *(axis for axis in range(len(shape)) if axis not in axes.axes)]

    def is_float32(self, name: str) -> bool:
        return bool(self.types.get(name, TensorProto.FLOAT) == TensorProto.FLOAT)


@dataclasses.dataclass(frozen=True)
class _Division:
    """The nodes of the head, those of the tail (some moves are in both), and the tensors that pass between them."""

    head: list[onnx.NodeProto]
    tail: list[onnx.NodeProto]
    features: list[str]


def _divide(network: _Network) -> _Division:
    """Assign each node to the head or the tail. The tail repeats moves of the head where that makes features smaller.

    Raises:
        BadInput: no spiking layer is in the head.
    """
    nodes, stepwise = network.graph.node, network.tensors.axes
    head = [node for node in nodes if node.output[0] in stepwise]
    if not any(node.op_type == custom_op.NAME for node in head):
        first = next(node for node in nodes if not stepwise.keys() & set(node.output) and network.varies(node))
        raise BadInput(
            f"`streaming`: node '{first.name}' does not act on each time step alone, and is ahead of every spiking "
            "layer, so that no step can be done before the window is whole; leave it out"
        )
    makers = {name: node for node in nodes for name in node.output}
    later = {node.output[0] for node in nodes if node.output[0] not in stepwise and network.varies(node)}
    read = [name for node in nodes if node.output[0] in later for name in node.input if name in stepwise]
    read += [value.name for value in network.graph.output if value.name in stepwise]
    features: list[str] = []
    for name in read:  # grows while it runs
        maker = makers.get(name)
        if maker is not None and maker.op_type in MOVES:
            later.add(name)
            read.append(maker.input[0])
        elif name not in features:
            features.append(name)
    return _Division(head, [node for node in nodes if node.output[0] in later], features)


def _head(network: _Network, division: _Division, streaming: Streaming) -> onnx.ModelProto:
    """The model that runs once a frame."""
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
    """The model that runs once a window."""
    part, time_steps = _Part(), network.contract.shape[0]
    for feature in streaming.features:
        _add_feature_input(part, network, feature.name)
    part.nodes += division.tail
    inputs = [_value(kept_tensor(f.name), ("batch", time_steps, *f.shape)) for f in streaming.features]
    return _model(network, part, "tail", inputs, list(network.graph.output))


def _add_one_step(part: _Part, layer: str, node: onnx.NodeProto) -> None:
    """Add one step of a spiking layer, from its current [1, N, ...] to its spikes [1, N, ...]."""
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    alone.input[0], alone.output[0] = f"{layer}/x", f"{layer}/s"
    part.op("Squeeze", node.input[0], alone.input[0], axes=[0])
    step = time_forms.one_step(alone, membrane_tensor(layer), next_membrane_tensor(layer))
    part.nodes += step.nodes
    part.constants += step.constants.values()
    part.op("Unsqueeze", alone.output[0], node.output[0], axes=[0])


def _shape_at_one_step(tensors: StepwiseTensors, name: str) -> list[int]:
    """The shape of a tensor at T = 1, -1 for the batch: the target of the Reshape that makes it."""
    axes, shape = tensors.axes[name], tensors.shapes[name]
    return [-1 if size is None else 1 if axis in axes.axes else size for axis, size in enumerate(shape)]


def _add_feature_output(part: _Part, network: _Network, name: str) -> None:
    """Make the feature [N, ...], in float32, of a tensor at one step."""
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
    """Make a tensor at all steps, in its own type and axes, of its feature [N, T, ...]."""
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
    """A model of those nodes of a part, and those constants, that its outputs need."""
    needed, nodes = {value.name for value in outputs}, []
    for node in reversed([*(node for node in network.graph.node if not network.varies(node)), *part.nodes]):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    constants = [tensor for tensor in (*network.graph.initializer, *part.constants) if tensor.name in needed]
    graph = helper.make_graph(nodes[::-1], name, inputs, outputs, constants)
    if name == "tail":  # the shapes in the head are those of one step, and are inferred by whoever reads it
        made = {tensor for node in graph.node for tensor in node.output}
        graph.value_info.extend(value for value in network.graph.value_info if value.name in made)
    opsets = [helper.make_opsetid("", custom_op.OPSET), helper.make_opsetid(custom_op.DOMAIN, custom_op.VERSION)]
    model = time_forms.lower(helper.make_model(graph, opset_imports=opsets))
    finish(model, {**network.metadata, "part": name})
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclasses.dataclass
class _Part:
    """A model that is being made: its nodes, and the constants that are not in the whole model."""

    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: list[TensorProto] = dataclasses.field(default_factory=list)

    def op(
        self, kind: str, source: str, made: str, name: str = "", *, axes: Iterable[int] | None = None, **attrs: Any
    ) -> str:
        """Add a node of one input and one output.

        Args:
            kind: the operator.
            source: the name of the input.
            made: the name of the output, which is returned.
            name: the name of the node; one after its output if it is empty.
            axes: integers that the node takes as a constant second input.
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
