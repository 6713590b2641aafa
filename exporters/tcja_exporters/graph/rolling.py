"""Computes all time steps at once in the model of a network that loops over time, where its steps do the same.

A loop over time in a network's forward is exported as T copies of its operations. After step joining
(`tcja_exporters.graph.step_joining`) each copy takes its step out of a tensor of all steps, and the results of all
copies are stacked:

    x_t = X[t],   y_t = f(x_t),   Y = stack of y_0 .. y_{T-1}         becomes         Y = f(X)

where f gets all steps in the axis of the windows, [T * N, ...]. The operations of f must treat each window alone
(`tcja_exporters.graph.time_axes`), and have the same constants at all steps. Other operations stay as they are. An
operation that stays takes each y_t out of Y. Two more things need no copies:

    Y = stack of y, T times                               Y = y repeated; y is computed once
    a_t = a_{t-1} + s_t, where s_t are spikes             a_{T-1} = sum of S over time: sums of whole numbers are exact

A product of T * N rows may add its terms in another order than one of N rows. So the pass is not exact, and parity
judges the difference.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from tcja_exporters import custom_op
from tcja_exporters.graph.time_axes import MOVES, acts_on_rows
from tcja_exporters.passes.base import PassResult, is_promised
from tcja_exporters.passes.origins import origin_of
from tcja_runtime.counting import listed

ROLLING = "roll"
"""The name of this pass in the report of an export."""
AT_ONCE = "all time steps of a loop are computed at once"

_SHOWN = 3  # the number of names in the note
_SMALL = 4096  # constants of up to so many values are compared by value; larger ones are parameters, of one name each


def roll(graph: gs.Graph) -> PassResult:
    """Compute the copies of operations for each time step at once, in place.

    The note of the result says which modules still have an operation for each time step, and why; else it is `AT_ONCE`.
    """
    before = len(graph.nodes)
    copies = _Copies(graph)
    copies.find()
    for node in list(graph.nodes):
        if node.op == "Concat":
            copies.replace_stack(node)
        elif node.op == "Add":
            copies.replace_sum(node)
    graph.cleanup().toposort()
    copies.share()
    graph.cleanup().toposort()
    changes = before - len(graph.nodes)
    return PassResult(changes, exact=not changes, note=copies.left() or (AT_ONCE if changes else ""))


@dataclasses.dataclass
class _Family:
    """The tensors y_t that the same operation makes at each time step; or the steps themselves, x_t = X[t].

    Attributes:
        steps: the number of time steps, T.
        parents: the families that the operation takes, by the index of its input; none for x_t.
        source: X; None for the result of an operation.
        axis: the axis of time in X.
        nodes: the node of each step, by t.
        joined: the tensor [T * N, ...] of all steps, once it is made.
    """

    steps: int
    parents: dict[int, _Family]
    source: gs.Tensor | None = None
    axis: int = 0
    nodes: dict[int, gs.Node] = dataclasses.field(default_factory=dict)
    joined: gs.Tensor | None = None

    @functools.cached_property  # it is asked for when all nodes are found
    def whole(self) -> bool:
        """Whether it has all time steps, and so have all families that it is computed from."""
        return len(self.nodes) == self.steps and all(parent.whole for parent in self.parents.values())

    @property
    def item(self) -> list[int]:
        """The shape of a step without the batch."""
        return [*self.nodes[0].outputs[0].shape[1:]]


class _Copies:
    """The copies of operations in a graph, one for each time step.

    Args:
        graph: the graph.
    """

    def __init__(self, graph: gs.Graph) -> None:
        self._graph = graph
        self._families: dict[Hashable, _Family] = {}
        self._at: dict[str, tuple[_Family, int]] = {}
        self._sums: dict[str, tuple[_Family, int]] = {}
        self._mixing: list[gs.Node] = []

    def find(self) -> None:
        """Find the families of all tensors, in the order in which they are computed."""
        for node in self._graph.toposort().nodes:
            found = None
            if len(node.outputs) == 1 and not is_promised(self._graph, node.outputs[0]):
                found = self._step_of_source(node) or self._step_of_operation(node)
            if found and found[1] not in found[0].nodes:
                family, t = found
                family.nodes[t] = node
                self._at[node.outputs[0].name] = found
            elif any(tensor.name in self._at for tensor in node.inputs):
                self._mixing.append(node)

    def replace_stack(self, concat: gs.Node) -> None:
        """Make the result of a stack over time from all steps at once; leave any other node as it is."""
        axis, unsqueezed = concat.attrs["axis"], [tensor.inputs[0] for tensor in concat.inputs if tensor.inputs]
        if len(unsqueezed) != len(concat.inputs) or not all(_adds_axis(node, axis) for node in unsqueezed):
            return
        stacked = [node.inputs[0] for node in unsqueezed]
        if len(stacked) > 1 and all(tensor is stacked[0] for tensor in stacked):
            self._repeat(concat, stacked[0], axis)
            return
        members = [self._at.get(tensor.name) for tensor in stacked]
        family = members[0][0] if members[0] else None
        if family is None or axis not in (0, 1) or not family.whole:
            return
        if members == [(family, t) for t in range(family.steps)]:
            self._unstacked(concat, family, axis)

    def replace_sum(self, add: gs.Node) -> None:
        """Make the last of a running sum of spikes from the spikes of all steps; leave any other node as it is.

        The sum begins with the spikes of the first step, or with 0.
        """
        for spikes, other in (add.inputs, add.inputs[::-1]):
            family, t = self._at.get(spikes.name, (None, 0))
            if family is None or not _is_fired(family):
                continue
            first = (t == 0 and _is_zero(other)) or (t == 1 and self._at.get(other.name) == (family, 0))
            if not first and self._sums.get(other.name) != (family, t - 1):
                continue
            self._sums[add.outputs[0].name] = family, t
            if t == family.steps - 1 and family.whole:
                axes = _integers(f"{add.name}/axes", [family.axis])
                self._make("ReduceSum", [family.source, axes], add, keepdims=0)
            return

    def share(self) -> None:
        """Let operations that stay take the steps that they read out of what computes all steps at once."""
        alive = {id(node) for node in self._graph.nodes}
        families = [family for family in self._families.values() if family.parents and family.whole]
        inside = {id(node) for family in families for node in family.nodes.values()}
        for family in reversed(families):
            read = [
                t
                for t, node in family.nodes.items()
                if id(node) in alive and any(id(reader) not in inside for reader in node.outputs[0].outputs)
            ]
            if not read or (family.joined is None and len(read) < family.steps):
                continue  # few steps are read: the others need not be computed
            name = family.nodes[0].outputs[0].name
            steps = gs.Variable(f"{name}/in_time", family.nodes[0].outputs[0].dtype)
            self._reshape(self._joined(family), [family.steps, -1, *family.item], steps)
            for t in read:
                index = gs.Constant(f"{name}/step_{t}", np.array(t, np.int64))
                (result,) = family.nodes[t].outputs
                family.nodes[t].outputs.clear()
                self._graph.nodes.append(gs.Node("Gather", index.name, {"axis": 0}, [steps, index], [result]))

    def left(self) -> str:
        """Return which modules still have an operation for each time step, and why; empty if none has."""
        alive = {id(node) for node in self._graph.nodes}
        different = [node for family in self._families.values() if family.parents for node in family.nodes.values()]
        told: list[str] = []
        named: set[str] = set()
        for nodes, why in (
            (different, "their operations or constants differ from step to step"),
            (self._mixing, "they take several time steps, or are not known to treat each window alone"),
        ):
            shown = [node for node in nodes if id(node) in alive and node.op not in (*MOVES, "Concat", "Gather")]
            times = collections.Counter((node.name.rpartition("/")[0] or node.op, node.op) for node in shown)
            names = dict.fromkeys(f"'{module}'" for (module, _), count in times.items() if count > 1)
            new = [name for name in names if name not in named]
            named.update(new)
            if new:
                told.append(f"the models have the operations of {listed(new, _SHOWN)} once for each time step: {why}")
        stacked = [
            f"'{node.name.rpartition('/')[0]}'"
            for node in self._graph.nodes
            if node.op == custom_op.NAME and [maker.op for maker in node.inputs[0].inputs] == ["Concat"]
        ]
        if stacked and not told:
            told.append(f"the currents of {listed(stacked, _SHOWN)} are still computed once for each time step")
        return "; ".join(told)

    def _step_of_source(self, node: gs.Node) -> tuple[_Family, int] | None:
        """Return the family and the time step of a node that takes one step out of a tensor; None for another node."""
        taken = _taken(node)
        if taken is None:
            return None
        source, axis, t = taken
        shape = source.shape
        if isinstance(source, gs.Constant) or source.name in self._at or not _is_known(shape, (0, 1)):
            return None
        if axis not in (0, 1) or not isinstance(shape[axis], int) or isinstance(shape[1 - axis], int):
            return None
        family = self._families.setdefault((source.name, axis), _Family(shape[axis], {}, source, axis))
        return family, t % family.steps

    def _step_of_operation(self, node: gs.Node) -> tuple[_Family, int] | None:
        """Return the family and the time step of an operation on tensors of one step; None for another node."""
        inputs: list[Hashable] = []
        parents: dict[int, tuple[_Family, int]] = {}
        for i, tensor in enumerate(node.inputs):
            if tensor.name in self._at:
                parents[i] = self._at[tensor.name]
                inputs.append(id(parents[i][0]))
            elif isinstance(tensor, gs.Constant) or tensor.is_empty():
                inputs.append(_identity(tensor))
            else:
                return None
        steps = {t for _, t in parents.values()}
        attributes = {str(value) if not isinstance(value, gs.Graph) else None for value in node.attrs.values()}
        if len(steps) != 1 or None in attributes or not _acts_on_rows(node):
            return None
        key = (node.domain, node.op, repr(sorted((k, str(v)) for k, v in node.attrs.items())), *inputs)
        families = {i: family for i, (family, _) in parents.items()}
        whole = next(iter(families.values())).steps
        return self._families.setdefault(key, _Family(whole, families)), steps.pop()

    def _joined(self, family: _Family) -> gs.Tensor:
        """Return the tensor [T * N, ...] of a family; the nodes that compute it are added once."""
        if family.joined is None:
            first = family.nodes[0]
            made = first.outputs[0]
            family.joined = gs.Variable(f"{made.name}/steps", made.dtype, [f"{family.steps}*batch", *family.item])
            if family.source is not None:
                source = family.source
                if family.axis == 1:
                    source = self._swapped(source, f"{made.name}/time_first", family)
                self._reshape(source, [-1, *family.item], family.joined)
            else:
                inputs = [
                    self._joined(family.parents[i]) if i in family.parents else tensor
                    for i, tensor in enumerate(first.inputs)
                ]
                self._graph.nodes.append(
                    gs.Node(first.op, first.name, dict(first.attrs), inputs, [family.joined], domain=first.domain)
                )
                first.name += "_first"  # it stays if something else reads the first step
        return family.joined

    def _unstacked(self, concat: gs.Node, family: _Family, axis: int) -> None:
        """Make the result of a stack of all steps of a family along an axis, 0 or 1."""
        result = concat.outputs[0]
        if family.source is not None and family.axis == axis:
            if is_promised(self._graph, result):
                self._make("Identity", [family.source], concat)
                return
            for reader in list(result.outputs):
                reader.inputs = [family.source if tensor is result else tensor for tensor in reader.inputs]
            return
        if axis == 1:
            result = gs.Variable(f"{concat.name}/time_first", result.dtype, [family.steps, "batch", *family.item])
        else:
            concat.outputs.clear()
        self._reshape(self._joined(family), [family.steps, -1, *family.item], result)
        if axis == 1:
            self._make("Transpose", [result], concat, perm=[1, 0, *range(2, 2 + len(family.item))])

    def _repeat(self, concat: gs.Node, tensor: gs.Tensor, axis: int) -> None:
        """Make the result of a stack of the same tensor."""
        if isinstance(tensor, gs.Constant) or not isinstance(tensor.shape, list | tuple):
            return
        times = [len(concat.inputs) if i == axis else 1 for i in range(len(tensor.shape) + 1)]
        self._make("Expand", [concat.inputs[0], _integers(f"{concat.name}/times", times)], concat)

    def _swapped(self, tensor: gs.Tensor, name: str, family: _Family) -> gs.Tensor:
        """Return a tensor [N, T, ...] as [T, N, ...]."""
        made = gs.Variable(name, tensor.dtype, [family.steps, "batch", *family.item])
        perm = [1, 0, *range(2, 2 + len(family.item))]
        self._graph.nodes.append(gs.Node("Transpose", name, {"perm": perm}, [tensor], [made]))
        return made

    def _reshape(self, tensor: gs.Tensor, target: list[int], result: gs.Tensor) -> None:
        name = f"{result.name}/Reshape"
        inputs = [tensor, _integers(f"{name}/target", target)]
        self._graph.nodes.append(gs.Node("Reshape", name, {"allowzero": 1}, inputs, [result]))

    def _make(self, op: str, inputs: Sequence[gs.Tensor], old: gs.Node, **attributes: Any) -> None:
        """Add a node that makes the result of another one, in place of it."""
        (result,) = old.outputs
        old.outputs.clear()
        self._graph.nodes.append(gs.Node(op, old.name, attributes, list(inputs), [result]))


def _taken(node: gs.Node) -> tuple[gs.Tensor, int, int] | None:
    """Return the tensor, axis and index of which a node takes one element; None for another node.

    It is a Gather of one index, or a Squeeze of a Slice of one element.
    """
    if node.op not in ("Gather", "Squeeze") or not all(isinstance(each, gs.Constant) for each in node.inputs[1:]):
        return None
    (source, *more) = node.inputs
    if node.op == "Gather":
        return None if more[0].values.shape else (source, node.attrs.get("axis", 0), int(more[0].values))
    if not more or [cut.op for cut in source.inputs] != ["Slice"]:
        return None
    whole, *edges = source.inputs[0].inputs
    if len(edges) < 3 or not all(isinstance(each, gs.Constant) for each in edges):
        return None
    start, end, axes = (each.values.tolist() for each in edges[:3])
    if len(start) != 1 or end != [start[0] + 1] or axes != more[0].values.tolist():
        return None
    return whole, axes[0], start[0]


def _adds_axis(node: gs.Node, axis: int) -> bool:
    """Whether a node adds one axis of size 1 at a position."""
    if node.op != "Unsqueeze" or not isinstance(node.inputs[1], gs.Constant):
        return False
    return bool(node.inputs[1].values.tolist() == [axis])


def _is_fired(family: _Family) -> bool:
    """Whether a family is the spikes of a layer at each time step, and not the membranes of an integrator."""
    makers = family.source.inputs if family.source is not None else []
    return [node.op for node in makers] == [custom_op.NAME] and makers[0].attrs.get("returns") != "membranes"


def _is_zero(tensor: gs.Tensor) -> bool:
    """Whether a tensor is the number 0, or is filled with it."""
    if not isinstance(tensor, gs.Constant) and [node.op for node in tensor.inputs] == ["Expand"]:
        tensor = tensor.inputs[0].inputs[0]
    return isinstance(tensor, gs.Constant) and tensor.values.size == 1 and not tensor.values.any()


def _is_known(shape: Any, unknown: Sequence[int]) -> bool:
    """Whether all sizes of a shape are known, except those at some positions, which must be there."""
    if not isinstance(shape, list | tuple) or len(shape) <= max(unknown):
        return False
    return all(isinstance(size, int) for i, size in enumerate(shape) if i not in unknown)


def _acts_on_rows(node: gs.Node) -> bool:
    """Whether each window of a node's result depends only on the same window of what it takes."""
    tensors = [tensor for tensor in (*node.inputs, *node.outputs) if not tensor.is_empty()]
    constants = {tensor.name: tensor for tensor in tensors if isinstance(tensor, gs.Constant)}
    shapes: dict[str, tuple[int | None, ...]] = {}
    for tensor in tensors:
        if tensor.name not in constants and (not _is_known(tensor.shape, (0,)) or isinstance(tensor.shape[0], int)):
            return False
        shapes[tensor.name] = tuple(size if isinstance(size, int) else None for size in tensor.shape)
    integers = {name: tensor.values for name, tensor in constants.items() if tensor.dtype == np.int64}
    return acts_on_rows(OnnxExporter.export_node(node), shapes, constants.keys(), integers)


def _identity(tensor: gs.Tensor) -> Hashable:
    """Return a key that is equal for equal constants of the same origin; the empty text for an input that is left out.

    Large constants have one name for each parameter (`tcja_exporters.passes.merge_duplicates`).
    """
    if tensor.is_empty():
        return ""
    if int(np.prod(tensor.shape)) > _SMALL:
        return str(tensor.name)
    values = np.ascontiguousarray(tensor.values)
    return origin_of(tensor), str(values.dtype), values.shape, values.tobytes()


def _integers(name: str, values: list[int]) -> gs.Constant:
    return gs.Constant(name, np.array(values, np.int64))
