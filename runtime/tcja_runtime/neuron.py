r"""The spiking neuron: one specification for every dialect.

State v and input current x_t of one neuron, at time steps t = 1..T:

    charge   h_t = decay * v_{t-1} + gain * x_t + bias
    fire     s_t = 1 if h_t >= threshold  (inclusive)     or   h_t > threshold  (strict)
    reset    v_t = v_reset where s_t else h_t  (hard)     or   h_t - threshold * s_t  (soft)

with v_0 = v_reset (hard) or 0 (soft). No checkpoint stores these constants; the network registry does.

Rounding is part of the meaning, because a spike is a comparison. A decayed-input neuron (SpikingJelly's LIF with
``decay_input=True``) is trained as h = v + (x - (v - v_reset)) / tau, which is the charge above with
decay = 1 - 1/tau and gain = 1/tau but rounds differently; such a neuron has ``tau`` set and keeps that order.

The equations below use operators only, so the same code computes numpy arrays and torch tensors.

Sources: Fang et al., SpikingJelly, Science Advances 9 (2023), ``clock_driven/neuron.py`` of releases 0.0.0.0.4 to
0.0.0.0.14; Zhu et al., "TCJA-SNN", IEEE TNNLS (2024), arXiv:2206.10177.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = Any
"""A numpy array or a torch tensor."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuronSpec:
    """The constants of one spiking layer. Build it with `linear` or `decayed_input`.

    Attributes:
        decay: factor of the membrane a time step, in (0, 1]; 1 is an integrate-and-fire neuron.
        gain: factor of the input current.
        bias: added to the membrane at every time step.
        threshold: firing threshold, in units of the membrane.
        strict: fire at ``h > threshold`` if true, else at ``h >= threshold``.
        reset: "hard" sets the membrane to v_reset after a spike, "soft" subtracts the threshold.
        v_reset: membrane after a hard reset and before the first step; 0 for a soft reset.
        tau: time constant in steps, only where the charge is trained as v + (x - (v - v_reset)) / tau.
    """

    decay: float
    gain: float
    bias: float
    threshold: float
    strict: bool
    reset: Literal["hard", "soft"]
    v_reset: float
    tau: float | None

    def __post_init__(self) -> None:
        for field in ("decay", "gain", "bias", "threshold", "v_reset"):
            value = getattr(self, field)
            if not math.isfinite(value):
                raise ValueError(f"neuron {field} must be finite, got {value}")
        if not 0.0 < self.decay <= 1.0:
            raise ValueError(f"neuron decay must be in (0, 1], got {self.decay}")
        if self.reset not in ("hard", "soft"):
            raise ValueError(f"neuron reset must be 'hard' or 'soft', got {self.reset!r}")
        if self.reset == "soft" and self.v_reset != 0.0:
            raise ValueError(f"a soft reset has no v_reset, got {self.v_reset}")

    @classmethod
    def linear(
        cls,
        *,
        decay: float,
        gain: float = 1.0,
        bias: float = 0.0,
        threshold: float = 1.0,
        strict: bool,
        reset: Literal["hard", "soft"] = "hard",
        v_reset: float = 0.0,
    ) -> NeuronSpec:
        """A neuron trained as h = decay * v + gain * x + bias (TET, MS-ResNet, FSVAE, integrate-and-fire)."""
        return cls(
            decay=decay,
            gain=gain,
            bias=bias,
            threshold=threshold,
            strict=strict,
            reset=reset,
            v_reset=v_reset,
            tau=None,
        )

    @classmethod
    def decayed_input(
        cls,
        *,
        tau: float,
        threshold: float = 1.0,
        strict: bool = False,
        reset: Literal["hard", "soft"] = "hard",
        v_reset: float = 0.0,
    ) -> NeuronSpec:
        """A neuron trained as h = v + (x - (v - v_reset)) / tau (SpikingJelly's LIF with ``decay_input=True``)."""
        if not tau > 1.0:
            raise ValueError(f"neuron tau must be greater than 1 time step, got {tau}")
        return cls(
            decay=1.0 - 1.0 / tau,
            gain=1.0 / tau,
            bias=v_reset / tau,
            threshold=threshold,
            strict=strict,
            reset=reset,
            v_reset=v_reset,
            tau=tau,
        )

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> NeuronSpec:
        """The inverse of `dataclasses.asdict`."""
        return cls(**fields)

    def charge(self, v: Array, x: Array) -> Array:
        """Membrane h_t before firing, from the membrane v_{t-1} and the current x_t, all of one shape."""
        if self.tau is not None:
            rest = v - self.v_reset if self.v_reset else v
            return v + (x - rest) / self.tau
        # A factor of 1 and a bias of 0 change no bit, so they cost nothing.
        h = (v * self.decay if self.decay != 1.0 else v) + (x * self.gain if self.gain != 1.0 else x)
        return h + self.bias if self.bias else h

    def fires(self, h: Array) -> Array:
        """Where a spike is fired: boolean, the shape of h."""
        return h > self.threshold if self.strict else h >= self.threshold

    def after(self, h: Array, s: Array) -> Array:
        """Membrane v_t after the reset, from the membrane h_t and the spikes s_t (0 or 1, the dtype of h)."""
        if self.reset == "soft":
            return h - s * self.threshold
        v = h * (1.0 - s)
        return v + s * self.v_reset if self.v_reset else v


def fire(spec: NeuronSpec, current: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Spikes of neurons that start from rest, [T, ...], from their currents [T, ...], in the currents' precision."""
    v = np.full_like(current[0], spec.v_reset)
    spikes = np.empty(current.shape, np.bool_)
    for t, x in enumerate(current):
        h = spec.charge(v, x)
        spikes[t] = spec.fires(h)
        v = spec.after(h, spikes[t].astype(h.dtype))
    return spikes


def membranes(spec: NeuronSpec, current: npt.NDArray[Any], spikes: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Membranes before firing of neurons that are made to fire given spikes, from rest.

    Args:
        spec: the neurons.
        current: input currents [T, ...]; their precision is the result's.
        spikes: when they fire, [T, ...].

    Returns:
        h_t for each step, [T, ...].
    """
    v = np.full_like(current[0], spec.v_reset)
    h = np.empty_like(current)
    with np.errstate(over="ignore", invalid="ignore"):  # a membrane that is no number is the caller's to judge
        for t, x in enumerate(current):
            h[t] = spec.charge(v, x)
            v = spec.after(h[t], spikes[t].astype(h.dtype))
    return h
