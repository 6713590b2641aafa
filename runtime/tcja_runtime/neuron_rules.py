"""The equations of a neuron with its constants, as formulas for people."""

from __future__ import annotations

from typing import Literal, TypeAlias

from tcja_runtime.constant_arrays import Constant

Charge: TypeAlias = Literal["linear", "decayed", "leaky"]
Reset: TypeAlias = Literal["hard", "soft", "late", "none"]
Returns: TypeAlias = Literal["spikes", "membranes"]


class Rules:
    """The formulas of a `tcja_runtime.neuron.NeuronSpec`, whose attributes these are."""

    charge_order: Charge
    decay: Constant
    gain: Constant
    bias: Constant
    threshold: Constant
    strict: bool
    reset: Reset
    v_reset: Constant
    v_initial: Constant
    v_rest: Constant
    rate: Constant
    tau: Constant | None
    slope: Constant | None
    rescales: bool
    returns: Returns

    @property
    def integrates(self) -> bool:
        """Whether the neuron is an integrator: it never fires, and returns its membranes."""
        return self.returns == "membranes"

    @property
    def charge_rule(self) -> str:
        """The charge as a formula, for messages: "h = v + (x - v) / 2"."""
        charged = self._charged_rule
        return f"h = {charged}" if self.slope is None else f"h = max({self.slope:g} ({charged}), 0)"

    @property
    def _charged_rule(self) -> str:
        u = f"(v - {self.v_rest:g})" if self.v_rest else "v"
        leak = f"* {self.rate:g}" if self.tau is None else f"/ {self.tau:g}"
        if self.charge_order == "decayed":
            return f"v + (x - {u}) {leak}"
        if self.charge_order == "leaky":
            return f"v - {u} {leak} + x"
        # A factor of 1 and a term of 0 say nothing.
        factors = ((self.decay, "v"), (self.gain, "x"))
        terms = [of if factor == 1 else f"{factor:g} {of}" for factor, of in factors if factor]
        terms += [f"{self.bias:g}"] if self.bias else []
        return " + ".join(terms or ["0"])

    @property
    def fire_rule(self) -> str:
        """The condition to fire as a formula, for messages: "h >= 1"; "never fires" for an integrator."""
        if self.integrates:
            return "never fires"
        return f"h {'>' if self.strict else '>='} {self.threshold:g}"

    @property
    def reset_rule(self) -> str:
        """The effect of a spike on the membrane, for messages: "to 0". v_0 is said if it is not v_reset."""
        subtracted = f"minus {self.threshold:g}"
        divided = f", divided by {self.slope:g}" if self.rescales else ""
        rule = {
            "hard": f"to {self.v_reset:g}",
            "soft": subtracted,
            "late": f"{subtracted} at the next step",
            "none": "none",
        }[self.reset]
        return f"{rule}{divided}{self._initial_rule}"

    @property
    def _initial_rule(self) -> str:
        return "" if self.v_initial == self.v_reset else f", v_0 = {self.v_initial:g}"

    @property
    def rules(self) -> str:
        """The rules, for messages: "h = 0.5 v + x, h >= 1, reset to 0", or "h = 0.5 v + x, never fires, returns h"."""
        effect = f"returns h{self._initial_rule}" if self.integrates else f"reset {self.reset_rule}"
        return f"{self.charge_rule}, {self.fire_rule}, {effect}"
