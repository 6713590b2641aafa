"""Splits an exported network into the head and the tail with which it is streamed (`tcja_runtime.bundle.stepwise`).

    head    every operation that acts on each time step alone (`tcja_exporters.graph.time_axes`), at T = 1, a spiking
    layer
            being one step of its equations with its membranes as input and output
    tail    all others, spiking layers as scans: it is run in ONNX Runtime

What crosses is kept for T steps, so that it should be little. An attention block multiplies by a gate g that mixes
steps and is constant over rows and columns. A maximum pooling behind it is done before it, in the head,

    max over i of fl(x_i * g)  =  fl(g * max over i of x_i)        to the bit, as g >= 0 and rounding is monotone,

and so is the spatial mean z that the gate is computed from. A transposition or another shape is left to the tail.

Tensors keep their names and their axes in both, the head's at T = 1, so that they are found where they are in the whole
model. A feature crosses as [N, ...] of a step, and as [N, T, ...] of a window, in float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, numpy_helper

from tcja_exporters import custom_op
from tcja_exporters.graph import time_forms
from tcja_exporters.graph.export import finished, graph_of
from tcja_exporters.graph.exported import Exported
from tcja_exporters.graph.time_axes import MOVES, Layout, Layouts, Shape
from tcja_exporters.passes.pool_before_gates import pool_before_gates
from tcja_runtime.bundle.signature import Layer
from tcja_runtime.bundle.stepwise import HEAD, TAIL, Feature, State, Streaming
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.model_file.tensor_names import kept_tensor, membrane_tensor, next_membrane_tensor, spikes_tensor


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Both models of a network that is streamed, and what a session needs to know of them."""

    head: onnx.ModelProto
    tail: onnx.ModelProto
    streaming: Streaming

    @property
    def models(self) -> dict[str, onnx.ModelProto]:
        """Both, by the names of their files in a bundle."""
        return {HEAD: self.head, TAIL: self.tail}


def check(contract: InputContract) -> None:
    """Refuse what has no frames to stream.

    Raises:
        BadInput: it is images, or windows of one step.
    """
    if contract.name == "images":
        raise BadInput("the network takes images, which have no frames to stream; leave `streaming` out")
    if contract.shape[0] < 2:
        raise BadInput("a window of the network is one time step, with nothing to stream; leave `streaming` out")


def split(exported: Exported, contract: InputContract, layers: Sequence[Layer]) -> Streamed:
    """Split a network at the first operation that mixes time steps.

    Args:
        exported: the network, in its precision.
        contract: its input.
        layers: its spiking layers.

    Raises:
        BadInput: it takes images or windows of one step, or mixes steps before its first spiking layer.
    """
    check(contract)
    graph = graph_of(exported)
    pool_before_gates(graph)
    metadata = {prop.key: prop.value for prop in exported.model.metadata_props}
    return _Split(_with_shapes(gs.export_onnx(graph)), metadata, contract, layers).result()


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes of those tensors, too, that the exporter has not noted."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for tensor in bare.graph.initializer:
        if tensor.data_type != TensorProto.INT64:  # only shapes and axes are looked into
            tensor.ClearField("raw_data")
    inferred = onnx.shape_inference.infer_shapes(bare).graph.value_info
    del model.graph.value_info[:]
    model.graph.value_info.extend(value for value in inferred if value.type.tensor_type.HasField("shape"))
    return model


class _Split:
    """One network's split."""

    def __init__(
        self, model: onnx.ModelProto, metadata: dict[str, str], contract: InputContract, layers: Sequence[Layer]
    ) -> None:
        self._source, (self._time_steps, *frame) = contract.name, contract.shape
        self._frame_shape = tuple(frame)
        self._metadata = metadata
        self._graph = model.graph
        self._layouts = Layouts(model, self._source, self._time_steps)
        self._types = {v.name: v.type.tensor_type.elem_type for v in (*self._graph.value_info, *self._graph.output)}
        self._makers = {name: node for node in self._graph.node for name in node.output}
        self._layers = {spikes_tensor(layer.name): layer for layer in layers}
        in_head = self._layouts.of
        self._stepwise = [node for node in self._graph.node if node.output[0] in in_head]
        self._streamed = [self._layers[n.output[0]] for n in self._stepwise if n.op_type == custom_op.NAME]
        if not self._streamed:
            first = next(
                node for node in self._graph.node if not in_head.keys() & set(node.output) and self._varies(node)
            )
            raise BadInput(
                f"`streaming`: node '{first.name}' does not act on each time step alone, and is ahead of every spiking "
                "layer, so that no step can be done before the window is whole; leave it out"
            )
        self._crossing: list[str] = []
        self._tail_nodes: list[onnx.NodeProto] = []
        self._divide()

    def result(self) -> Streamed:
        streaming = Streaming(
            frame=self._source.removesuffix("s"),
            states=[State(layer=at.name, shape=at.shape, start=at.neuron.v_reset) for at in self._streamed],
            features=[Feature(name=name, shape=self._item(name)) for name in self._crossing],
        )
        return Streamed(self._head(streaming), self._tail(streaming), streaming)

    def _varies(self, node: onnx.NodeProto) -> bool:
        return not self._layouts.constants.issuperset(name for name in node.input if name)

    def _divide(self) -> None:
        """Find what crosses, and what of the head's moves the tail makes again."""
        in_head = self._layouts.of
        later = {node.output[0] for node in self._graph.node if node.output[0] not in in_head and self._varies(node)}
        asked = [name for node in self._graph.node if node.output[0] in later for name in node.input if name in in_head]
        asked += [value.name for value in self._graph.output if value.name in in_head]
        for name in asked:  # grows while it runs
            maker = self._makers.get(name)
            if maker is not None and maker.op_type in MOVES:
                later.add(name)
                asked.append(maker.input[0])
            elif name not in self._crossing:
                self._crossing.append(name)
        self._tail_nodes = [node for node in self._graph.node if node.output[0] in later]

    def _item(self, name: str) -> tuple[int, ...]:
        sizes = self._layouts.of[name].item(self._layouts.shapes[name])
        return tuple(size for size in sizes if size is not None)

    def _head(self, streaming: Streaming) -> onnx.ModelProto:
        part = _Part()
        part.op("Unsqueeze", streaming.frame, self._source, axes=[1])
        for node in self._stepwise:
            if node.op_type == custom_op.NAME:
                self._one_step(part, node)
            elif node.op_type == "Reshape":
                part.op("Reshape", node.input[0], node.output[0], node.name, axes=self._at_one_step(node), allowzero=1)
            else:
                part.nodes.append(node)
        for feature in streaming.features:
            self._leave(part, feature.name)
        inputs = [_value(streaming.frame, ("batch", *self._frame_shape))]
        inputs += [_value(membrane_tensor(s.layer), ("batch", *s.shape)) for s in streaming.states]
        outputs = [_value(next_membrane_tensor(s.layer), ("batch", *s.shape)) for s in streaming.states]
        outputs += [_value(kept_tensor(f.name), ("batch", *f.shape)) for f in streaming.features]
        return self._model(part, "head", inputs, outputs)

    def _one_step(self, part: _Part, node: onnx.NodeProto) -> None:
        """A spiking layer, from its current [1, N, ...] to its spikes, likewise."""
        layer = self._layers[node.output[0]].name
        alone = onnx.NodeProto()
        alone.CopyFrom(node)
        alone.input[0], alone.output[0] = f"{layer}/x", f"{layer}/s"
        part.op("Squeeze", node.input[0], alone.input[0], axes=[0])
        step = time_forms.stepwise(alone, membrane_tensor(layer), next_membrane_tensor(layer))
        part.nodes += step.nodes
        part.constants += step.constants.values()
        part.op("Unsqueeze", alone.output[0], node.output[0], axes=[0])

    def _at_one_step(self, node: onnx.NodeProto) -> list[int]:
        """The shape that a Reshape of the head makes at T = 1."""
        layout, shape = self._layouts.of[node.output[0]], self._layouts.shapes[node.output[0]]
        return [-1 if size is None else 1 if axis in layout.axes else size for axis, size in enumerate(shape)]

    def _leave(self, part: _Part, name: str) -> None:
        """Make a feature [N, ...] of a tensor at one step."""
        layout, kept, made = self._layouts.of[name], kept_tensor(name), name
        if not self._is_float32(name):
            made = part.op("Cast", made, f"{kept}/float", to=TensorProto.FLOAT)
        if layout.joined:
            part.op("Identity", made, kept)
        elif layout.axes == (0, 1):
            part.op("Squeeze", made, kept, axes=[0])
        else:
            made = part.op(
                "Transpose", made, f"{kept}/windows", perm=_windows_first(layout, self._layouts.shapes[name])
            )
            part.op("Squeeze", made, kept, axes=[1])

    def _arrive(self, part: _Part, name: str) -> None:
        """Make the tensor at all steps of its feature [N, T, ...]."""
        layout, made = self._layouts.of[name], kept_tensor(name)
        if not self._is_float32(name):
            made = part.op("Cast", made, f"{made}/own type", to=self._types[name])
        item = self._item(name)
        if layout.joined:
            time_first = [1, 0, *range(2, 2 + len(item))]
            made = part.op("Transpose", made, f"{made}/steps", perm=time_first) if layout.time_first else made
            part.op("Reshape", made, name, axes=[-1, *item], allowzero=1)
        else:
            perm = _windows_first(layout, self._layouts.shapes[name])
            part.op("Transpose", made, name, perm=list(np.argsort(perm)))

    def _is_float32(self, name: str) -> bool:
        return bool(self._types.get(name, TensorProto.FLOAT) == TensorProto.FLOAT)

    def _tail(self, streaming: Streaming) -> onnx.ModelProto:
        part = _Part()
        for feature in streaming.features:
            self._arrive(part, feature.name)
        part.nodes += self._tail_nodes
        inputs = [_value(kept_tensor(f.name), ("batch", self._time_steps, *f.shape)) for f in streaming.features]
        return self._model(part, "tail", inputs, list(self._graph.output))

    def _model(
        self, part: _Part, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """A model of those nodes of a part that its outputs need, and of the constants that they need."""
        needed, nodes = {value.name for value in outputs}, []
        for node in reversed([*(node for node in self._graph.node if not self._varies(node)), *part.nodes]):
            if needed.intersection(node.output):
                nodes.append(node)
                needed.update(node.input)
        constants = [tensor for tensor in (*self._graph.initializer, *part.constants) if tensor.name in needed]
        graph = helper.make_graph(nodes[::-1], name, inputs, outputs, constants)
        if name == "tail":  # the head's are of one step, and are left to be inferred
            made = {tensor for node in graph.node for tensor in node.output}
            graph.value_info.extend(value for value in self._graph.value_info if value.name in made)
        opsets = [helper.make_opsetid("", custom_op.OPSET), helper.make_opsetid(custom_op.DOMAIN, custom_op.VERSION)]
        model = time_forms.lower(helper.make_model(graph, opset_imports=opsets))
        finished(model, {**self._metadata, "part": name})
        onnx.checker.check_model(model, full_check=True)
        return model


@dataclasses.dataclass
class _Part:
    """The nodes of a model that is being made, and constants of its own."""

    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: list[TensorProto] = dataclasses.field(default_factory=list)

    def op(
        self, kind: str, source: str, made: str, name: str = "", *, axes: Iterable[int] | None = None, **attrs: Any
    ) -> str:
        """Add a node; `axes` are integers that it takes as a constant."""
        inputs = [source]
        if axes is not None:
            inputs.append(f"{made}/{kind.lower()}")
            self.constants.append(numpy_helper.from_array(np.array(list(axes), np.int64), inputs[1]))
        self.nodes.append(helper.make_node(kind, inputs, [made], name=name or f"{made}/{kind}", **attrs))
        return made


def _windows_first(layout: Layout, shape: Shape) -> list[int]:
    """The order of axes in which a tensor is [N, T, ...]."""
    time, batch = layout.axes
    return [batch, time, *(axis for axis in range(len(shape)) if axis not in layout.axes)]


def _value(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
