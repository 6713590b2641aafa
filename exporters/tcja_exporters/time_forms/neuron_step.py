r"""A time step of a neuron in few operations, with results equal to `tcja_runtime.neuron` to the bit.

If the reset sets the membrane to 0, the negative of the membrane is stored: p = -v, and n = -h for the charged membrane
h. The reset is then a single operation. Rounding is symmetric about 0, so each operation of the charge, in the trained
order, returns the same bits with the opposite sign.

    charge   linear    n = decay * p - gain * x - bias
             decayed   n = p - leak(x + p)
             leaky     n = (p - leak(p)) - x
    fire     s = HardSigmoid(h) = min(max(k h - k a, 0), 1)
    reset    p = ThresholdedRelu(n) = n where n > -b, else 0

a is the largest float32 number that does not fire, and b is the smallest that fires. One of them is the threshold; the
other is the float32 number next to it, below an inclusive threshold (h >= threshold fires) and above a strict one.
Their distance is 1 / k, a power of two, so k h and k a are exact. So k h - k a is at least 1 if h >= b and at most 0 if
h <= a, also after rounding.

The equations of fire and reset are for finite membranes: if a membrane is NaN or infinite, its spikes may be NaN.

With a soft reset, a late reset or no reset, v itself is stored, and the equation of fire is the same. The nodes are
those of `custom_op.step_nodes`, which define the operator, for an integrator, which has the charge alone; with a
refractory reset; if v_reset, v_initial or v_rest is not 0, or the neuron has a slope; if the thresholds of the neurons
differ, or if the threshold is so near to 0 that k is too large for float32.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tcja_exporters import custom_op
from tcja_exporters.time_forms.nodes import Nodes
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.neuron import NeuronSpec

_LARGEST = 2.0**100
"""The largest value of k, so that its product with a membrane does not overflow."""


def edges(spec: NeuronSpec) -> tuple[Any, Any]:
    """Return the largest float32 membrane that does not fire, and the smallest that fires.

    They are numbers in float64, or arrays of them in the shape of the threshold.
    """
    threshold = array_of(spec.threshold).astype(np.float32)
    neighbour = np.nextafter(threshold, np.float32(np.inf if spec.strict else -np.inf))
    low, high = (pick(threshold, neighbour).astype(np.float64) for pick in (np.minimum, np.maximum))
    return low, high


@dataclasses.dataclass(frozen=True)
class NeuronStep:
    """Makes the nodes for the time steps of one neuron, by the equations of the module's docstring.

    Attributes:
        spec: the constants of the neuron.
        k: the factor k of the equations; 0 if the thresholds of the neurons differ, so that no factor fits all.
        a: the largest membrane that does not fire.
        b: the smallest membrane that fires.
    """

    spec: NeuronSpec
    k: float
    a: float
    b: float

    @classmethod
    def of(cls, spec: NeuronSpec) -> NeuronStep:
        """Return the `NeuronStep` of a neuron with these constants; a, b and k are computed from its threshold."""
        if "threshold" in spec.arrays:
            return cls(spec, 0.0, 0.0, 0.0)
        a, b = map(float, edges(spec))
        return cls(spec, 1 / (b - a), a, b)

    @property
    def fires_apart(self) -> bool:
        """Whether no time step needs the spikes, so that one `fire` node can compute those of all steps at once."""
        return not self._defined and self.spec.reset in ("hard", "late", "none")

    @property
    def _defined(self) -> bool:
        """Whether the equations do not apply, so that the nodes of `custom_op.step_nodes` are used."""
        spec = self.spec
        others = spec.v_reset or spec.v_initial or spec.v_rest or spec.slope is not None or spec.reset == "refractory"
        return spec.integrates or not 0 < self.k <= _LARGEST or bool(others)

    @property
    def _negated(self) -> bool:
        """Whether the negative of the membrane is stored, not the membrane."""
        return self.spec.reset == "hard" and not self._defined

    def step(self, at: Nodes, v: str | None, x: str, *, last: bool = False) -> tuple[str, str, str]:
        """Add the nodes of one time step.

        Args:
            at: the nodes to which they are added.
            v: the name of the stored membrane before the step; None at the first step, which needs fewer nodes.
            x: the name of the current.
            last: whether nothing reads the membrane after the step.

        Returns:
            Three names: of the charged membrane, if `fires_apart`; of the result (the spikes, or the membrane of an
            integrator), if it does not; and of the stored membrane after the step, which may be empty if `last`.
        """
        if self._defined:
            nodes, v_next, s = custom_op.step_nodes(
                self.spec,
                v or at.constant("v_initial", self.spec.v_initial),
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
        """Add the node that computes the spikes from charged membranes h; return the name of the spikes."""
        k = -self.k if self._negated else self.k
        return at.op("HardSigmoid", [h], name, alpha=k, beta=-self.k * self.a)

    def _charge(self, at: Nodes, v: str | None, x: str) -> str:
        """Add the nodes that compute the charged membrane h, or n = -h if the negative is stored; return its name."""
        spec, turned = self.spec, self._negated

        def leak(u: str) -> str:
            if custom_op.divides(spec):
                return at.op("Div", [u, at.constant("tau", spec.tau)], "leak")
            return at.op("Mul", [u, at.constant("rate", spec.rate)], "leak")

        def plus(kept: str | None, added: str, name: str) -> str:
            """Return `kept` + `added`; `kept` has the sign of the stored membrane, `added` the sign of the current."""
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
        """Add the nodes that subtract the threshold from h where the spike s is 1; return the name of the result."""
        spec = self.spec
        taken = (
            s if spec.threshold == 1.0 else at.op("Mul", [s, at.constant("threshold", spec.threshold)], f"{name}_taken")
        )
        return at.op("Sub", [h, taken], name)
