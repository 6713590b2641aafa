"""The time form fused of long windows: a Scan over blocks of time steps.

The form fused writes the nodes of every step, so engines grow with the steps, and so does the time of their builds. In
a window of more steps than `LONGEST`, the body of a Scan has the nodes of one block of k steps:

    current [T, N, ...]  ->  blocks [T / k, k, 1, 1, N * neurons]
    body     v [1, 1, 1, N * neurons], x [k, 1, 1, N * neurons]  ->  v after the block, the word of the block
    words [T / k, 1, 1, 1, N * neurons]  ->  spikes [T, N, ...]

TensorRT makes one kernel of a block, which reads the current once and writes one word for the spikes of k steps. (In
the form scan it computes eight steps at a time, in eight kernels or more, and writes each spike.) Four choices make it
so. Each of them was found in the plans of TensorRT-RTX 1.7.1:

* A block has at least `FEWEST` steps. TensorRT unrolls a loop with a shorter body, and cuts the longer body that this
  makes into several kernels.
* The membranes pass a barrier before the first step. A kernel cannot read the membranes of the block before and write
  those of this block in their place, so without a barrier each operation that reads them is a kernel of its own.
* A block begins with the reset of the last step before it, so v is the charged membrane h of that step. If a block ends
  with a reset, TensorRT makes a kernel of every seven steps, and writes which neurons fire at each of them.
* A block returns one word. If it returns two, TensorRT makes three kernels. The spikes of more than 24 steps do not fit
  into a float32, so the words of both halves are joined as an integer: w = high * 2^j + low, for the j steps in `low`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from onnx import TensorProto, helper

from tcja_exporters import custom_op
from tcja_exporters.time_forms.fused import WORD_STEPS, Fused, State, bits, word
from tcja_exporters.time_forms.nodes import Nodes
from tcja_exporters.time_forms.scan import spread_constants
from tcja_runtime.constant_arrays import array_of

LONGEST = 2 * WORD_STEPS
"""The largest number of steps of which all nodes are written, in a window or in a block."""

FEWEST = 18
"""The smallest number of steps of a block."""

INT32_STEPS = 30
"""The largest number of steps whose spikes an int32 holds as two words of 15 steps. Longer blocks return an int64."""


def block_steps(steps: int) -> int:
    """Return the number of steps of a block, which divides the steps of the window: the nearest to `INT32_STEPS`.

    If no number from `FEWEST` to `LONGEST` divides them, it is 0.
    """
    fits = [k for k in range(FEWEST, LONGEST + 1) if steps % k == 0]
    return min(fits, key=lambda k: (abs(k - INT32_STEPS), -k), default=0)


def add_blocks(at: Nodes, node: onnx.NodeProto, steps: int, half: str | None) -> None:
    """Add the Scan over blocks that replaces a TcjaLif node of spiking neurons, and the nodes around it.

    Args:
        at: the nodes to which they are added.
        node: the TcjaLif node.
        steps: the number of time steps of the window, for which there is a block.
        half: as in `tcja_exporters.time_forms.fused.add_fused`.
    """
    block, current = _Block(Fused(custom_op.spec_of(node)), block_steps(steps)), half or node.input[0]
    body = Nodes(at.layer, at.prefix)
    values = block.body(body, half=half is not None)
    start = spread_constants(at, body, block.neuron.spec, node.input[0])
    step = helper.make_graph(body.nodes, at.prefix + "block", values[:2], values[2:])
    sizes = at.constant("block", [steps // block.steps, block.steps, 1, 1, -1], np.int64)
    blocks = at.op("Reshape", [current, sizes], "blocks")
    one = at.constant("one", [1], np.int64)
    width = at.op("Concat", [one, at.op("Shape", [blocks], "neurons", start=2)], "width", axis=0)
    v_0 = at.op("Expand", [start, width], "v_0")
    _, words = at.out_of("Scan", [v_0, blocks], ["v_last", "words"], body=step, num_scan_inputs=1)
    at.op("Reshape", [block.spikes(at, words), at.op("Shape", [current], "shape")], "spikes")


@dataclasses.dataclass(frozen=True)
class _Block:
    """Makes the nodes of a block of steps.

    Attributes:
        neuron: the neuron.
        steps: the number k of steps.
    """

    neuron: Fused
    steps: int

    @property
    def _low(self) -> int:
        """The number j of steps in the lower half of a word; all steps if the word is a float32."""
        return self.steps if self.steps <= WORD_STEPS else self.steps // 2

    @property
    def _type(self) -> int:
        """The type of a word."""
        if self.steps <= WORD_STEPS:
            return int(TensorProto.FLOAT)
        return int(TensorProto.INT32 if self.steps <= INT32_STEPS else TensorProto.INT64)

    @property
    def _resets_first(self) -> bool:
        """Whether a block begins with the reset of the step before it, which must keep v_initial as it is.

        With the resets late, refractory and none, the membrane after the reset is h.
        """
        spec = self.neuron.spec
        start = array_of(spec.v_initial).astype(np.float32)
        kept = not spec.fires(start).any() or (
            spec.reset == "hard" and (start == array_of(spec.v_reset).astype(np.float32)).all()
        )
        return spec.reset in ("hard", "soft") and not spec.rescales and bool(kept)

    def body(self, at: Nodes, *, half: bool) -> list[onnx.ValueInfoProto]:
        """Add the nodes of the body of the Scan.

        Args:
            at: the nodes to which they are added.
            half: whether the current is in half.

        Returns:
            The two inputs of the body (the membranes and the current) and its two outputs (the membranes, the words).
        """
        v, x, kind = at.prefix + "v", at.prefix + "x", TensorProto.FLOAT16 if half else TensorProto.FLOAT
        before = Nodes(at.layer, f"{at.prefix}before/")
        h, fires = before.barrier(v, "v"), ""
        if self.neuron.spec.delayed or self._resets_first:
            fires = self.neuron.fire(before, h)
        state = State(self.neuron.reset(before, h, fires) if self._resets_first else h, fires)
        at.take(before)
        fired = []
        names = [f"half_{t}" if half else f"x_{t}" for t in range(self.steps)]
        for t, current in enumerate(at.out_of("Split", [x], names, axis=0, num_outputs=self.steps)):
            step = at.step(t)
            x_t = step.op("Cast", [current], "x", to=TensorProto.FLOAT) if half else current
            h, fires = self.neuron.charged(step, state, x_t)
            ends = t == self.steps - 1 and self._resets_first
            state = State(h if ends else self.neuron.reset(step, h, fires), fires)
            fired.append(fires)
            at.take(step)
        words = word(at, fired[: self._low], 0)
        if fired[self._low :]:
            low, high = (
                at.op("Cast", [part], f"whole_{i}", to=self._type)
                for i, part in enumerate((words, word(at, fired[self._low :], 1)))
            )
            words = at.op("Add", [at.op("Mul", [high, self._place(at)], "high"), low], "joined")
        v_next = at.op("Identity", [str(state.v)], "v_next")
        types = ((v, TensorProto.FLOAT), (x, kind), (v_next, TensorProto.FLOAT), (words, self._type))
        return [helper.make_tensor_value_info(name, of, [None] * 4) for name, of in types]

    def spikes(self, at: Nodes, words: str) -> str:
        """Add the nodes that unpack the words of all blocks; return the name of the spikes [T / k, k, 1, 1, ...]."""
        if self.steps <= WORD_STEPS:
            return self._unpacked(at, words, self.steps, 0)
        high = at.op("Div", [words, self._place(at)], "high_word")
        low = at.op("Sub", [words, at.op("Mul", [high, self._place(at)], "high_part")], "low_word")
        rows = [
            self._unpacked(at, at.op("Cast", [part], f"words_{i}", to=TensorProto.FLOAT), steps, i)
            for i, (part, steps) in enumerate(((low, self._low), (high, self.steps - self._low)))
        ]
        return at.op("Concat", rows, "rows", axis=1)

    def _place(self, at: Nodes) -> str:
        """Add the number 2^j; return its name."""
        return at.constant("place", 2**self._low, np.int32 if self._type == TensorProto.INT32 else np.int64)

    @staticmethod
    def _unpacked(at: Nodes, words: str, steps: int, half: int) -> str:
        return bits(at, words, 2.0 ** -np.arange(steps).reshape(-1, 1, 1, 1), half)
