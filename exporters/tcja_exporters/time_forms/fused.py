r"""The time form fused: TensorRT makes one kernel of all time steps of a layer, which reads the current once.

A step has the neuron's charge in the trained order, one comparison, and a selection:

    charge   linear    h = decay * v + gain * x + bias
             decayed   h = v + leak(x - u)                 u = v - v_rest
             leaky     h = (v - leak(u)) + x
    fire     f = h > a                                     a bool
    reset    hard      v = v_reset where f, else h
             soft      v = h - threshold where f, else h
             late      h = h - threshold where f of the step before, else h; v = h
             refractory  h = 0 where f of the step before, else h; v = h
             none      v = h

A neuron with a slope has h = max(slope * h, 0) after the charge. If it rescales, h and the threshold are divided by the
slope before the reset.

a is the largest float32 number that does not fire. So one operator, Greater, is exact for strict and for inclusive
thresholds. A current in half is cast to float32 step by step, behind the Split: before it, TensorRT would write the
current of all steps in float32.

The spikes of a neuron leave the kernel as one number, its word: w = sum of 2^t over the steps t at which it fires. A
float32 holds the words of 24 steps exactly, and a half those of 11. Behind a barrier, the spike of step t is read from
the word, exactly:

    s_t = floor(w / 2^t) - 2 * floor(w / 2^(t+1))

Why not a Concat of the spikes of all steps: TensorRT makes it a part of the kernel, with a thread for each value of
the result. The thread of step t computes all steps up to t, and reads their currents. Such a kernel reads the current
(T + 1) / 2 times. The builder's log hides this. The source of the kernel, which engines of TensorRT-RTX hold, shows it.
An integrator returns the membranes of all steps by a Concat, as words hold no membranes. A Concat of spikes is taken
for up to three steps, where it moves less, and in layers whose currents fit into the cache of a GPU,
where it saves two small kernels.

The barrier is a pooling that changes nothing (`tcja_exporters.time_forms.nodes.barrier`). Without it, the builder
computes the word again for each step.

Results equal those of `tcja_runtime.neuron` to the bit, except for membranes that are NaN. An inclusive threshold that
is 0, or as near to 0 as the smallest numbers of float32, has no normal number a below it. A GPU may take subnormal
numbers for 0, so such a layer has GreaterOrEqual.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from tcja_exporters import custom_op
from tcja_exporters.time_forms.neuron_step import edges
from tcja_exporters.time_forms.nodes import FLOAT_BITS, HALF_BITS, Nodes
from tcja_runtime.neuron import NeuronSpec

WORD_STEPS = FLOAT_BITS
"""The number of steps whose spikes a word in float32 holds."""

HALF_STEPS = HALF_BITS
"""The number of steps whose spikes a word in half holds. It is half as many bytes."""

CONCAT_STEPS, CONCAT_VALUES = 3, 2**18
"""Up to how many steps, and up to how many currents of a window, the spikes are joined by a Concat, without words."""


def add_fused(at: Nodes, node: onnx.NodeProto, steps: int, shape: Sequence[int], half: str | None) -> None:
    """Add the nodes of all time steps that replace a TcjaLif node.

    Args:
        at: the nodes to which they are added.
        node: the TcjaLif node.
        steps: the number of time steps.
        shape: the sizes of the current, with 0 for an unknown size; empty if none is known.
        half: the name of the current in half, if its cast to float32 moves behind the Split; None if the neuron reads
            the current in float32.
    """
    neuron = Fused(custom_op.spec_of(node))
    names = [f"half_{t}" if half else f"x_{t}" for t in range(steps)]
    currents = at.out_of("Split", [half or node.input[0]], names, axis=0, num_outputs=steps)
    state, fired = State(), []
    for t, x_t in enumerate(currents):
        step = at.step(t)
        x = step.op("Cast", [x_t], "x", to=TensorProto.FLOAT) if half else x_t
        state = neuron.step(step, state, x, last=t == steps - 1)
        fired.append(state.fires)
        at.take(step)
    if neuron.spec.integrates:
        at.op("Concat", fired, "membranes", axis=0)
        return
    if not _packs(steps, shape):
        at.op("Cast", [at.op("Concat", fired, "fires", axis=0)], "spikes", to=TensorProto.FLOAT)
        return
    blocks = np.array_split(np.array(fired), -(-steps // WORD_STEPS))
    parts = [_unpacked(at, word(at, part.tolist(), i), len(part), len(shape), i) for i, part in enumerate(blocks)]
    sizes = [at.constant("steps", [steps], np.int64), at.op("Shape", [currents[0]], "neurons", start=1)]
    shape_of_all = at.op("Concat", sizes, "shape", axis=0)
    at.op("Reshape", [at.op("Concat", parts, "rows", axis=0), shape_of_all], "spikes")


def _packs(steps: int, shape: Sequence[int]) -> bool:
    """Whether a layer packs its spikes into words; the arguments are as in `add_fused`."""
    small = steps <= WORD_STEPS and len(shape) > 1 and all(shape[2:]) and steps * math.prod(shape[2:]) <= CONCAT_VALUES
    return steps > CONCAT_STEPS and not small


def word(at: Nodes, fired: Sequence[str], block: int) -> str:
    """Add the nodes that pack the spikes of a block of steps into words; return the name of the words, float32."""
    word = ""
    for t, fires in enumerate(fired):
        bit = at.op("Where", [fires, at.constant(f"bit_{t}", 2.0**t), at.constant("none", 0.0)], f"{block}/bit_{t}")
        word = at.op("Add", [word, bit], f"{block}/word_{t}") if word else bit
    return word


def _unpacked(at: Nodes, word: str, steps: int, rank: int, block: int) -> str:
    """Add the barrier behind the words of a block, and the nodes that unpack their spikes, in float32.

    Args:
        at: the nodes to which they are added.
        word: the name of the words, [1, N, ...].
        steps: the number of steps in them.
        rank: the number of axes of the words; 0 if it is not known.
        block: the number of the block.

    Returns:
        The name of the spikes, [steps, rows, channels, 1, columns].
    """
    sizes = [0, 0, 1, -1] if rank > 1 else [1, 1, 1, -1]
    if rank == 5:
        word = at.op("Squeeze", [word, at.constant("first", [0], np.int64)], f"{block}/neurons")
    rows = at.op("Reshape", [word, at.constant("row", sizes, np.int64)], f"{block}/rows")
    if steps <= HALF_STEPS:
        half = at.op("Cast", [rows], f"{block}/half_word", to=TensorProto.FLOAT16)
        half = at.barrier(half, f"{block}/half_words")
        words = at.op("Cast", [half], f"{block}/words", to=TensorProto.FLOAT)
    else:
        words = at.barrier(rows, f"{block}/words")
    return bits(at, words, 2.0 ** -np.arange(steps).reshape(-1, 1, 1, 1, 1), block)


def bits(at: Nodes, words: str, shares: NDArray[np.floating[Any]], block: int) -> str:
    """Add the nodes that unpack the spikes of words, which another kernel wrote; return the name of the spikes.

    Args:
        at: the nodes to which they are added.
        words: the name of the words, float32.
        shares: 2^-t for each step t of a word, in a shape that broadcasts to that of the spikes.
        block: the number of the block of steps.
    """
    shares_of_all = at.constant(f"shares_{shares.size}", shares)
    whole = at.op("Floor", [at.op("Mul", [words, shares_of_all], f"{block}/shifted")], f"{block}/whole")
    halves = at.op("Floor", [at.op("Mul", [whole, at.constant("one_half", 0.5)], f"{block}/half")], f"{block}/halves")
    return at.op("Sub", [whole, at.op("Mul", [halves, at.constant("two", 2.0)], f"{block}/even")], f"{block}/spikes")


def half_currents(graph: onnx.GraphProto, layers: Collection[str]) -> dict[str, str]:
    """Find the layers whose current is a half tensor that a Cast makes float32 for the layer's neurons alone.

    Args:
        graph: the graph, with TcjaLif nodes.
        layers: the names of the layers to look at.

    Returns:
        The names of the half tensors, by the names of the float32 tensors.
    """
    halves = {value.name for value in graph.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast" and node.input[0] in halves}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return {
        current: casts[current]
        for (current, *_), node in ((node.input, node) for node in graph.node if custom_op.is_neuron(node))
        if node.name.removesuffix(f"/{custom_op.NAME}") in layers and current in casts and len(readers[current]) == 1
    }


@dataclasses.dataclass(frozen=True)
class State:
    """What a step takes from the step before.

    Attributes:
        v: the name of the membrane after the reset; None before the first step and after the last.
        fires: the name of the bool that tells which neurons fired, or of the membranes of an integrator; empty before
            the first step.
    """

    v: str | None = None
    fires: str = ""


@dataclasses.dataclass(frozen=True)
class Fused:
    """Makes the nodes for the time steps of one neuron, by the equations of the module's docstring.

    Attributes:
        spec: the constants of the neuron.
    """

    spec: NeuronSpec

    def step(self, at: Nodes, before: State, x: str, *, last: bool) -> State:
        """Add the nodes of one time step; return what the next step takes.

        Args:
            at: the nodes to which they are added.
            before: what the step before has left.
            x: the name of the current, in float32.
            last: whether no step follows.
        """
        h, fires = self.charged(at, before, x)
        if self.spec.integrates:
            return State(h, h)
        return State(fires=fires) if last else State(self.reset(at, h, fires), fires)

    def charged(self, at: Nodes, before: State, x: str) -> tuple[str, str]:
        """Add the nodes of a step before its reset.

        Args:
            at: the nodes to which they are added.
            before: what the step before has left.
            x: the name of the current, in float32.

        Returns:
            The names of the charged membrane h, and of the bool that tells which neurons fire (of an integrator, "").
        """
        h = self._charge(at, before.v, x)
        if self.spec.integrates:
            return h, ""
        if self.spec.reset == "late" and before.fires:
            h = self._without_threshold(at, before.fires, h, "h_reset")
        if self.spec.reset == "refractory" and before.fires:
            h = at.op("Where", [before.fires, self._constant(at, "v_reset"), h], "h_reset")
        if self.spec.slope is not None:
            h = at.op("Relu", [at.op("Mul", [h, self._constant(at, "slope")], "scaled")], "rectified")
        return h, self.fire(at, h)

    def reset(self, at: Nodes, h: str, fires: str) -> str:
        """Add the nodes of the reset; return the name of the membrane after it. The arguments are as in `charged`."""
        h = at.op("Div", [h, self._constant(at, "slope")], "kept") if self.spec.rescales else h
        if self.spec.reset == "hard":
            return at.op("Where", [fires, self._constant(at, "v_reset"), h], "v_next")
        return self._without_threshold(at, fires, h, "v_next") if self.spec.reset == "soft" else h

    def _charge(self, at: Nodes, v: str | None, x: str) -> str:
        """Add the nodes of the charge; return the name of h. At the first step, `v` is None, and v is v_initial."""
        spec = self.spec
        if v is None and (spec.v_initial or spec.v_rest):
            v = self._constant(at, "v_initial")
        u = v if v is None or not spec.v_rest else at.op("Sub", [v, self._constant(at, "v_rest")], "u")
        if spec.charge_order == "decayed":
            drive = x if u is None else at.op("Sub", [x, u], "drive")
            return self._sum(at, v, self._leak(at, drive), "h")
        if spec.charge_order == "leaky":
            return self._sum(at, None if v is None else at.op("Sub", [v, self._leak(at, str(u))], "leaked"), x, "h")
        decayed = v if v is None or spec.decay == 1.0 else at.op("Mul", [v, self._constant(at, "decay")], "decayed")
        driven = x if spec.gain == 1.0 else at.op("Mul", [x, self._constant(at, "gain")], "driven")
        h = self._sum(at, decayed, driven, "h")
        return self._sum(at, h, self._constant(at, "bias"), "biased") if spec.bias else h

    def _leak(self, at: Nodes, u: str) -> str:
        if custom_op.divides(self.spec):
            return at.op("Div", [u, self._constant(at, "tau")], "leak")
        return at.op("Mul", [u, self._constant(at, "rate")], "leak")

    def fire(self, at: Nodes, h: str) -> str:
        """Add the node that tells which of the charged membranes h fire; return the name of the bool."""
        a, _ = edges(self.spec)
        if ((np.abs(a) > 0) & (np.abs(a) < np.finfo(np.float32).smallest_normal)).any():
            return at.op("Greater" if self.spec.strict else "GreaterOrEqual", [h, self._constant(at, "threshold")], "f")
        return at.op("Greater", [h, at.constant("largest_silent", a)], "f")

    def _without_threshold(self, at: Nodes, fires: str, h: str, name: str) -> str:
        """Add the nodes that subtract the threshold from h where a neuron fired; return the name of the result."""
        taken = self._constant(at, "threshold")
        taken = at.op("Div", [taken, self._constant(at, "slope")], f"{name}_taken") if self.spec.rescales else taken
        lower = at.op("Sub", [h, taken], f"{name}_lower")
        return at.op("Where", [fires, lower, h], name)

    def _constant(self, at: Nodes, name: str) -> str:
        return at.constant(name, getattr(self.spec, name))

    @staticmethod
    def _sum(at: Nodes, kept: str | None, added: str, name: str) -> str:
        return added if kept is None else at.op("Add", [kept, added], name)
