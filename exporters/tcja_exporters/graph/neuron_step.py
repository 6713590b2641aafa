r"""A time step of a neuron in few operations, to the bit what `tcja_runtime.neuron` says.

Where a reset sets the membrane to 0, it is kept with its sign turned, p = -v and n = -h: the reset is then a single
operation. Rounding is symmetric about 0, so each operation of the charge, in the order that was trained, returns the
same bits with the sign turned.

    charge   linear    n = decay * p - gain * x - bias
             decayed   n = p - leak(x + p)
             leaky     n = (p - leak(p)) - x
    fire     s = HardSigmoid(h) = min(max(k h - k a, 0), 1)
    reset    p = ThresholdedRelu(n) = n where n > -b, else 0

a is the largest number that does not fire and b the smallest that does: the threshold and its neighbour in float32,
below it if it is inclusive, above it if it is strict. They are 1 / k apart, a power of two, so k h and k a are exact:
k h - k a is at least 1 where h >= b and at most 0 where h <= a, however it is rounded.

Both are for membranes that are finite: what is no number, or infinite, spreads.

A soft, a late or no reset keeps the sign, and fires alike. A v_reset other than 0, and a threshold so near to 0 that
float32 does not hold k, take the steps that define the operator (`custom_op`).
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
"""Of k: its product with a membrane must not overflow before that matters."""


@dataclasses.dataclass
class Nodes:
    """Nodes that are being made, each called as its output, and the constants that they read.

    Attributes:
        layer: what the names of constants start with.
        prefix: what the names of nodes start with.
    """

    layer: str
    prefix: str
    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = dataclasses.field(default_factory=dict)

    def op(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node of one output; its name."""
        return self.out_of(kind, inputs, [name], **attributes)[0]

    def out_of(self, kind: str, inputs: list[str], names: list[str], **attributes: Any) -> list[str]:
        """Add a node, called as its first output; the names of all."""
        made = [self.prefix + name for name in names]
        self.nodes.append(helper.make_node(kind, inputs, made, name=made[0], **attributes))
        return made

    def constant(self, name: str, value: Any, dtype: type = np.float32) -> str:
        """Store a tensor with the model; its name."""
        stored = self.layer + name
        self.constants[stored] = numpy_helper.from_array(np.array(value, dtype), stored)
        return stored


class FusedStep:
    """The steps of one neuron.

    Args:
        spec: the neuron.

    Attributes:
        fires_apart: whether no step needs its spikes, so that `fire` can be done for all steps at once.
    """

    def __init__(self, spec: NeuronSpec) -> None:
        self._spec = spec
        self._k, self._a, self._b = _spike(spec)
        self._defined = not 0 < self._k <= _LARGEST or bool(spec.v_reset)
        self._negated = spec.reset == "hard" and not self._defined
        self.fires_apart = self._negated or (spec.reset in ("late", "none") and not self._defined)

    @property
    def start(self) -> float:
        """The membrane before the first step."""
        return self._spec.v_reset

    def step(self, at: Nodes, v: str | None, x: str, *, last: bool = False) -> tuple[str, str, str]:
        """Add a step: the membrane that was charged, the spikes (empty if they fire apart), and the next membrane.

        Args:
            at: where to add it.
            v: the membrane before it; None is `start`, and saves what it would cost.
            x: the current.
            last: whether nothing reads the next membrane, which is then empty.
        """
        if self._defined:
            nodes, v_next, s = custom_op.step_nodes(
                self._spec,
                v or at.constant("v_reset", self.start),
                x,
                lambda name: at.constant(name, getattr(self._spec, name)),
                at.prefix,
            )
            at.nodes += nodes
            return "", s, v_next
        h = self._charge(at, v, x)
        if self.fires_apart:
            if last:
                return h, "", ""
            return h, "", at.op("ThresholdedRelu", [h], "v_next", alpha=-self._b) if self._negated else h
        s = self.fire(at, h)
        return h, s, "" if last else self._without_threshold(at, h, s, "v_next")

    def fire(self, at: Nodes, h: str, name: str = "s") -> str:
        """Add the spikes of charged membranes."""
        k = -self._k if self._negated else self._k
        return at.op("HardSigmoid", [h], name, alpha=k, beta=-self._k * self._a)

    def _charge(self, at: Nodes, v: str | None, x: str) -> str:
        """h, or n = -h where the membrane's sign is turned."""
        spec, turned = self._spec, self._negated

        def leak(u: str) -> str:
            if custom_op.divides(spec):
                return at.op("Div", [u, at.constant("tau", spec.tau)], "leak")
            return at.op("Mul", [u, at.constant("rate", spec.rate)], "leak")

        def plus(kept: str | None, added: str, name: str) -> str:
            """Kept + added, where `kept` has the membrane's sign and `added` the current's."""
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
        if spec.reset == "late" and v is not None:  # v is h_{t-1}, which tells s_{t-1}
            h = self._without_threshold(at, h, self.fire(at, v, "s_before"), "h_reset")
        return h

    def _without_threshold(self, at: Nodes, h: str, s: str, name: str) -> str:
        spec = self._spec
        taken = (
            s if spec.threshold == 1.0 else at.op("Mul", [s, at.constant("threshold", spec.threshold)], f"{name}_taken")
        )
        return at.op("Sub", [h, taken], name)


def _spike(spec: NeuronSpec) -> tuple[float, float, float]:
    """k, a and b of the equations."""
    threshold = np.float32(spec.threshold)
    neighbour = np.nextafter(threshold, np.float32(np.inf if spec.strict else -np.inf))
    a, b = sorted((float(threshold), float(neighbour)))
    return 1 / (b - a), a, b
