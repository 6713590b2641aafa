"""Joins the head and the tail of a stepwise network to one model, whose whole state is inputs and outputs.

Triton's backend for ONNX Runtime keeps such a state for each sequence ("implicit state": the field `state` of a
config). It runs one model for each request, and knows nothing of windows. So the model counts the frames of a window
itself, and begins the next window from rest, after the last frame:

    k_t = k_{t-1} with f_t in place t                 the features of the window so far, [T, ...]
    c_t = 1 if t = T - 1 else 0                       whether the window is complete; t counts from 0
    y_t = tail(k_t) if c_t else 0                     the network's output; the tail is in a branch that runs if c_t
    v_t = v_0 if c_t else v'_t                        v'_t and f_t = head(x_t, v_{t-1})
    t+1 = 0 if c_t else t + 1

Each stream of a batch has its own t. The tail gets the rows of the streams whose windows are complete, as in
`tcja_runtime.backends.stepwise.Streams`. Nothing is computed but what head and tail compute: values are only moved.

The names of the state's inputs sort as those of its outputs do. Triton pairs them by this order (`SequenceStates` in
src/sequence_state.cc of triton-inference-server/core, which walks two sorted maps side by side).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tcja_runtime.bundle.stepwise import Feature, State, Streaming
from tcja_runtime.model_file.tensor_names import kept_tensor, membrane_tensor, next_membrane_tensor

COMPLETE = "complete"
"""The name of the output that says whether a frame was the last one of a window, bool [N, 1]."""


@dataclasses.dataclass(frozen=True)
class Carried:
    """A tensor that one run of the model returns, and the next run of the same stream takes.

    Attributes:
        before: the name of the input.
        after: the name of the output.
        start: its value before the first frame, without the batch.
    """

    before: str
    after: str
    start: npt.NDArray[np.generic]


@dataclasses.dataclass(frozen=True)
class StreamModel:
    """A model of a whole stepwise network.

    Attributes:
        model: the model. Its large constants are in the weights file of head and tail.
        state: the state of a stream.
    """

    model: onnx.ModelProto
    state: list[Carried]


def joined(head: onnx.ModelProto, tail: onnx.ModelProto, streaming: Streaming, time_steps: int) -> StreamModel:
    """Return the model of a whole stepwise network.

    Args:
        head: the model that runs once a frame.
        tail: the model that runs once a window. It has one output, or more.
        streaming: how the network is split into both.
        time_steps: T, the number of frames in a window.
    """
    made = _Made()
    first = {membrane_tensor(state.layer): _before("v", state.layer) for state in streaming.states}
    for tensor in head.graph.initializer:
        made.constants[tensor.name] = tensor
    made.nodes += _renamed(head.graph.node, first)
    _add_completeness(made, time_steps)
    state = [_add_kept(made, feature, time_steps) for feature in streaming.features]
    _add_tail(made, tail, streaming)
    state += [_add_membranes(made, each) for each in streaming.states]
    state.append(_add_next_step(made))
    inputs = [value for value in head.graph.input if value.name == streaming.frame]
    inputs += [_value(each.before, each.start) for each in state]
    outputs = [*tail.graph.output, helper.make_tensor_value_info(COMPLETE, TensorProto.BOOL, ["batch", 1])]
    outputs += [_value(each.after, each.start) for each in state]
    graph = helper.make_graph(made.nodes, "stream", inputs, outputs, list(made.constants.values()))
    model = helper.make_model(graph, opset_imports=head.opset_import, ir_version=head.ir_version)
    metadata = {prop.key: prop.value for prop in head.metadata_props}
    helper.set_model_props(model, {**metadata, "part": "stream"})
    return StreamModel(model, state)


@dataclasses.dataclass
class _Made:
    """The nodes and constants of the model so far."""

    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = dataclasses.field(default_factory=dict)

    def op(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"{output}/{kind}", **attributes))
        return output

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        """Add a constant; return its name."""
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def integers(self, name: str, value: npt.ArrayLike) -> str:
        """Add a constant of integers; return its name."""
        return self.constant(name, np.asarray(value, np.int64))

    @property
    def computed(self) -> set[str]:
        """The names of the tensors that the nodes compute."""
        return {name for node in self.nodes for name in node.output}


def _before(kind: str, name: str) -> str:
    return f"{kind}_before/{name}"


def _after(kind: str, name: str) -> str:
    return f"{kind}_after/{name}"


def _value(name: str, item: npt.NDArray[np.generic]) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(item.dtype)
    return helper.make_tensor_value_info(name, kind, ["batch", *item.shape])


_STEP = "frames"
"""The kind of state that counts the frames of a window, int64 [N, 1]."""
_PLACES = "stream/places"
"""The tensor with the place of the frame of each stream among the kept features: (row, t), int64 [N, 2]."""
_ONE = numpy_helper.from_array(np.ones(1, np.int64))


def _add_completeness(made: _Made, time_steps: int) -> None:
    """Add c_t, [N, 1], and the places of the frames."""
    seen = _before(_STEP, "seen")
    made.op("Equal", [seen, made.integers("stream/last step", [[time_steps - 1]])], COMPLETE)
    ones = made.op("ConstantOfShape", [made.op("Shape", [seen], "stream/shape")], "stream/ones", value=_ONE)
    rows = made.op("CumSum", [ones, made.integers("stream/first axis", 0)], "stream/rows", exclusive=1)
    made.op("Concat", [rows, seen], _PLACES, axis=1)


def _add_kept(made: _Made, feature: Feature, time_steps: int) -> Carried:
    """Add k_t of a feature, [N, T, ...]."""
    name = feature.name
    made.op("ScatterND", [_before("kept", name), _PLACES, kept_tensor(name)], _after("kept", name))
    start = np.zeros((time_steps, *feature.shape), np.float32)
    return Carried(_before("kept", name), _after("kept", name), start)


def _add_tail(made: _Made, tail: onnx.ModelProto, streaming: Streaming) -> None:
    """Add y_t: the tail of the rows with complete windows, and 0 in the others."""
    outputs = [value.name for value in tail.graph.output]
    ones = made.op("Cast", [COMPLETE], "stream/complete/number", to=TensorProto.INT32)
    most = made.op("ReduceMax", [ones], "stream/complete/any number", keepdims=0)
    any_complete = made.op("Cast", [most], "stream/any complete", to=TensorProto.BOOL)
    count = made.op("Shape", [COMPLETE], "stream/batch size", start=0, end=1)
    for value in tail.graph.output:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]
        rest = made.integers(f"stream/{value.name}/item shape", sizes)
        made.op("Concat", [count, rest], f"stream/{value.name}/shape", axis=0)
    names = _tail_names(made, tail, streaming)
    for tensor in tail.graph.initializer:
        kept = onnx.TensorProto()
        kept.CopyFrom(tensor)
        kept.name = names.get(tensor.name, tensor.name)
        made.constants[kept.name] = kept
    branches = {
        "then_branch": _complete_branch(tail, streaming, names),
        "else_branch": _incomplete_branch(tail),
    }
    made.nodes.append(helper.make_node("If", [any_complete], outputs, name="stream/tail", **branches))


def _tail_names(made: _Made, tail: onnx.ModelProto, streaming: Streaming) -> dict[str, str]:
    """Return other names for the tensors of the tail that have the same names as different tensors of the head."""
    taken = made.computed | made.constants.keys() | {streaming.frame}
    same = {t.name for t in tail.graph.initializer if made.constants.get(t.name) == t}
    own = {t.name for t in tail.graph.initializer} | {name for node in tail.graph.node for name in node.output}
    names = {name: f"tail/{name}" for name in (own & taken) - same}
    names |= {kept_tensor(feature.name): f"stream/{feature.name}/rows" for feature in streaming.features}
    return names | {value.name: f"stream/{value.name}/of rows" for value in tail.graph.output}


def _complete_branch(tail: onnx.ModelProto, streaming: Streaming, names: Mapping[str, str]) -> onnx.GraphProto:
    """Return the branch with the tail, for a batch in which at least one window is complete."""
    branch = _Made()
    flat = branch.op("Reshape", [COMPLETE, branch.integers("stream/flat", [-1])], "stream/complete/flat")
    found = branch.op("NonZero", [flat], "stream/complete/found")
    first = branch.integers("stream/axis 0", [0])
    rows = branch.op("Squeeze", [found, first], "stream/complete/rows")
    last = branch.integers("stream/last axis", [1])
    places = branch.op("Unsqueeze", [rows, last], "stream/complete/places")
    for feature in streaming.features:
        branch.op("Gather", [_after("kept", feature.name), rows], names[kept_tensor(feature.name)], axis=0)
    branch.nodes += _renamed(tail.graph.node, names)
    for value in tail.graph.output:
        zeros = _add_zeros(branch, value, "complete")
        branch.op("ScatterND", [zeros, places, names[value.name]], f"stream/{value.name}/complete")
    return _branch(branch, tail, "complete")


def _incomplete_branch(tail: onnx.ModelProto) -> onnx.GraphProto:
    """Return the branch for a batch in which no window is complete."""
    branch = _Made()
    for value in tail.graph.output:
        branch.op("Identity", [_add_zeros(branch, value, "incomplete")], f"stream/{value.name}/incomplete")
    return _branch(branch, tail, "incomplete")


def _add_zeros(branch: _Made, value: onnx.ValueInfoProto, name: str) -> str:
    """Add zeros with the shape of an output, [N, ...]."""
    kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    zero = numpy_helper.from_array(np.zeros(1, kind))
    shape = f"stream/{value.name}/shape"
    return branch.op("ConstantOfShape", [shape], f"stream/{value.name}/zeros, {name}", value=zero)


def _branch(branch: _Made, tail: onnx.ModelProto, name: str) -> onnx.GraphProto:
    outputs = []
    for value in tail.graph.output:
        made = onnx.ValueInfoProto()
        made.CopyFrom(value)
        made.name = f"stream/{value.name}/{name}"
        outputs.append(made)
    return helper.make_graph(branch.nodes, name, [], outputs, list(branch.constants.values()))


def _add_membranes(made: _Made, state: State) -> Carried:
    """Add v_t of a layer, [N, ...]."""
    name, axes = state.layer, [1] * len(state.shape)
    shape = made.integers(f"stream/{name}/mask shape", [-1, *axes])
    complete = made.op("Reshape", [COMPLETE, shape], f"stream/{name}/complete")
    rest = made.constant(f"stream/{name}/rest", state.first)
    made.op("Where", [complete, rest, next_membrane_tensor(name)], _after("v", name))
    return Carried(_before("v", name), _after("v", name), state.membranes(1)[0])


def _add_next_step(made: _Made) -> Carried:
    """Add the number of frames of the window, for the next frame."""
    before, after = _before(_STEP, "seen"), _after(_STEP, "seen")
    more = made.op("Add", [before, made.integers("stream/one", [[1]])], "stream/one frame more")
    made.op("Where", [COMPLETE, made.integers("stream/none", [[0]]), more], after)
    return Carried(before, after, np.zeros(1, np.int64))


def _renamed(nodes: Iterable[onnx.NodeProto], names: Mapping[str, str]) -> list[onnx.NodeProto]:
    """Return copies of nodes that read and write tensors with other names, in the graphs of their attributes, too."""
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        _rename(copy, names)
        copies.append(copy)
    return copies


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Rename the tensors of a node, and those of outer graphs in its own graphs."""
    for tensors in (node.input, node.output):
        tensors[:] = [names.get(name, name) for name in tensors]
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            own = {value.name for value in (*graph.input, *graph.initializer)}
            own.update(name for inner in graph.node for name in inner.output)
            outer = {name: other for name, other in names.items() if name not in own}
            for inner in graph.node:
                _rename(inner, outer)
            for value in graph.output:
                value.name = outer.get(value.name, value.name)
