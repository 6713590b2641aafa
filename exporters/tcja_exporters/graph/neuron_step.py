r"""A time step of a neuron in few operations, equal to the bit to `tcja_runtime.neuron`.

Where a reset sets the membrane to 0, its negative is stored, p = -v and n = -h: the reset is then a single operation.
Rounding is symmetric about 0, so each operation of the charge, in the order that was trained, returns the same bits
with the sign turned.

    charge   linear    n = decay * p - gain * x - bias
             decayed   n = p - leak(x + p)
             leaky     n = (p - leak(p)) - x
    fire     s = HardSigmoid(h) = min(max(k h - k a, 0), 1)
    reset    p = ThresholdedRelu(n) = n where n > -b, else 0

a is the largest number that does not fire and b the smallest that does: the threshold and its neighbour in float32,
which is below an inclusive threshold and above a strict one. They are 1 / k apart, a power of two, so k h and k a are
exact: k h - k a is at least 1 where h >= b and at most 0 where h <= a, however it is rounded.

Both equations are for finite membranes: NaN and infinity spread to the spikes.

With a soft, a late or no reset the membrane keeps its sign, and fires by the same equation. A v_reset other than 0, or
a threshold so near to 0 that k is too large for float32, takes the steps that define the operator (`custom_op`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tcja_exporters import custom_op
from tcja_runtime.neuron import NeuronSpec

_LARGEST = 2.0**100
"""The largest k: its product with a membrane must not overflow."""


@dataclasses.dataclass
class Nodes:
    """Nodes that are being made, each named after its first output, and the constants that they read.

    Attributes:
        layer: the start of the names of constants.
        prefix: the start of the names of nodes.
        nodes: the nodes so far.
        constants: the constants so far, by name.
    """

    layer: str
    prefix: str
    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = dataclasses.field(default_factory=dict)

    def op(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node of one output; return its name."""
        return self.out_of(kind, inputs, [name], **attributes)[0]

    def out_of(self, kind: str, inputs: list[str], names: list[str], **attributes: Any) -> list[str]:
        """Add a node of several outputs; return their names."""
        made = [self.prefix + name for name in names]
        self.nodes.append(helper.make_node(kind, inputs, made, name=made[0], **attributes))
        return made

    def constant(self, name: str, value: Any, dtype: type = np.float32) -> str:
        """Store a tensor in the model; return its name."""
        stored = self.layer + name
        self.constants[stored] = numpy_helper.from_array(np.array(value, dtype), stored)
        return stored


@dataclasses.dataclass(frozen=True)
class FusedStep:
    """The time steps of one neuron.

    Attributes:
        spec: the neuron.
        k: the factor k of the equations.
        a: the largest membrane that does not fire.
        b: the smallest membrane that fires.
    """

    spec: NeuronSpec
    k: float
    a: float
    b: float

    @classmethod
    def of(cls, spec: NeuronSpec) -> FusedStep:
        """The steps of a neuron of these constants."""
        threshold = np.float32(spec.threshold)
        neighbour = np.nextafter(threshold, np.float32(np.inf if spec.strict else -np.inf))
        a, b = sorted((float(threshold), float(neighbour)))
        return cls(spec, 1 / (b - a), a, b)

    @property
    def start(self) -> float:
        """The membrane before the first step."""
        return self.spec.v_reset

    @property
    def fires_apart(self) -> bool:
        """Whether no step needs its spikes, so that one `fire` can do all steps at once."""
        return self._negated or (self.spec.reset in ("late", "none") and not self._defined)

    @property
    def _defined(self) -> bool:
        """Whether the equations do not apply, and the steps that define the operator are taken."""
        return not 0 < self.k <= _LARGEST or bool(self.spec.v_reset)

    @property
    def _negated(self) -> bool:
        """Whether the negative of the membrane is stored."""
        return self.spec.reset == "hard" and not self._defined

    def step(self, at: Nodes, v: str | None, x: str, *, last: bool = False) -> tuple[str, str, str]:
        """Add the nodes of a step.

        Args:
            at: where to add them.
            v: the name of the membrane before the step; None at the first step, whose nodes are fewer.
            x: the name of the current.
            last: whether nothing reads the next membrane.

        Returns:
            The names of the charged membrane h, of the spikes (empty where `fires_apart`), and of the next membrane
            (empty where `last`).
        """
        if self._defined:
            nodes, v_next, s = custom_op.step_nodes(
                self.spec,
                v or at.constant("v_reset", self.start),
                x,
                lambda name: at.constant(name, getattr(self.spec, name)),
                at.prefix,
            )
            at.nodes += nodes
            return "", s, v_next
        h = self._charge(at, v, x)
        if self.fires_apart:
            if last:
                return h, "", ""
            return h, "", at.op("ThresholdedRelu", [h], "v_next", alpha=-self.b) if self._negated else h
        s = self.fire(at, h)
        return h, s, "" if last else self._without_threshold(at, h, s, "v_next")

    def fire(self, at: Nodes, h: str, name: str = "s") -> str:
        """Add the node that fires: from charged membranes h to spikes; return its name."""
        k = -self.k if self._negated else self.k
        return at.op("HardSigmoid", [h], name, alpha=k, beta=-self.k * self.a)

    def _charge(self, at: Nodes, v: str | None, x: str) -> str:
        """Add the nodes of h, or of n = -h where the negative of the membrane is stored; return its name."""
        spec, turned = self.spec, self._negated

        def leak(u: str) -> str:
            if custom_op.divides(spec):
                return at.op("Div", [u, at.constant("tau", spec.tau)], "leak")
            return at.op("Mul", [u, at.constant("rate", spec.rate)], "leak")

        def plus(kept: str | None, added: str, name: str) -> str:
            """`kept` + `added`, where `kept` has the sign of the stored membrane and `added` that of the current."""
            if kept is None:
                return at.op("Neg", [added], name) if turned else added
            return at.op("Sub" if turned else "Add", [kept, added], name)

        if spec.charge_order == "decayed":
            drive = x if v is None else at.op("Add" if turned else "Sub", [x, v], "drive")
            return plus(v, leak(drive), "h")
        if spec.charge_order == "leaky":
            return plus(None if v is None else at.op("Sub", [v, leak(v)], "leaked"), x, "h")
        decayed = (
            v if v is None or spec.decay == 1.0 else at.op("Mul", [v, at.constant("decay", spec.decay)], "decayed")
        )
        driven = x if spec.gain == 1.0 else at.op("Mul", [x, at.constant("gain", spec.gain)], "driven")
        h = plus(decayed, driven, "h")
        h = plus(h, at.constant("bias", spec.bias), "biased") if spec.bias else h
        if spec.reset == "late" and v is not None:  # v is h_{t-1}, from which s_{t-1} follows
            h = self._without_threshold(at, h, self.fire(at, v, "s_before"), "h_reset")
        return h

    def _without_threshold(self, at: Nodes, h: str, s: str, name: str) -> str:
        """Add the nodes of h minus the threshold where s is 1; return the name of the result."""
        spec = self.spec
        taken = (
            s if spec.threshold == 1.0 else at.op("Mul", [s, at.constant("threshold", spec.threshold)], f"{name}_taken")
        )
        return at.op("Sub", [h, taken], name)
