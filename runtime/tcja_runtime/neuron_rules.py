"""The rules of a neuron: as formulas for people, and whether its constants fit them."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np

from tcja_runtime.constant_arrays import Constant, array_of

Charge: TypeAlias = Literal["linear", "decayed", "leaky"]
Reset: TypeAlias = Literal["hard", "soft", "late", "refractory", "none"]
RESET_KINDS: tuple[Reset, ...] = get_args(Reset)
Returns: TypeAlias = Literal["spikes", "membranes"]


class Rules:
    """The rules of a `tcja_runtime.neuron.NeuronSpec`, whose attributes these are."""

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
    def delayed(self) -> bool:
        """Whether a spike changes the membrane of the next step only."""
        return self.reset in ("late", "refractory")

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
            "refractory": "to 0 at the next step, whose current is lost",
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

    def check_charge(self) -> None:
        """Check that the charge computes with each constant that has a value.

        Raises:
            ValueError: it does not.
        """
        if self.charge_order == "linear":
            if self.tau is not None or self.rate != 0.0 or self.v_rest != self.v_reset:
                raise ValueError(
                    f"a linear charge has the tau None, the rate 0 and its v_reset as v_rest, got tau = {self.tau}, "
                    f"rate = {self.rate}, v_rest = {self.v_rest} and v_reset = {self.v_reset}"
                )
        elif self.charge_order == "leaky" and self.gain != 1.0:
            raise ValueError(f"a leaky charge has the gain 1, got {self.gain}")

    def check_reset(self) -> None:
        """Check that the constants fit the reset.

        Raises:
            ValueError: they do not.
        """
        if self.reset not in RESET_KINDS:
            raise ValueError(f"neuron reset must be {', '.join(map(repr, RESET_KINDS))}, got {self.reset!r}")
        if self.reset != "hard" and self.v_reset != 0.0:
            raise ValueError(f"a {self.reset} reset has no v_reset, got {self.v_reset}")
        if not self.delayed:
            return
        if self.charge_order != "linear":
            raise ValueError(f"a {self.reset} reset needs a linear charge, got {self.charge_order!r}; use a soft reset")
        if (array_of(self.threshold) <= 0.0).any():
            raise ValueError(f"a {self.reset} reset needs a positive threshold, got {self.threshold}")
        if np.any(array_of(self.v_initial) >= array_of(self.threshold)):
            raise ValueError(f"a {self.reset} reset needs a v_initial below the threshold, got {self.v_initial}")
