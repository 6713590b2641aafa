r"""The spiking neuron: one specification for every dialect.

State v and input current x_t of one neuron, at time steps t = 1..T:

    charge   h_t = decay * v_{t-1} + gain * x_t + bias
    fire     s_t = 1 if h_t >= threshold  (inclusive)     or   h_t > threshold  (strict)
    reset    v_t = v_reset where s_t else h_t  (hard)     or   h_t - threshold * s_t  (soft)     or   h_t  (none)

with v_0 = v_initial, which most training codes set to v_reset (hard) or 0 (the other resets). Two resets act at the
next step, and v_t = h_t:

    late         h_t = decay * h_{t-1} + gain * x_t + bias - threshold * s_{t-1}
    refractory   h_t = 0 where s_{t-1} else decay * h_{t-1} + gain * x_t + bias

So a refractory neuron loses the current of the step after a spike. Checkpoints do not store these constants; the
registry of networks has them. Each constant is one number for the layer, or an array with values that differ by channel
or by neuron, such as a learned decay.

A neuron may also be an integrator: it never fires, and returns its membranes h_t in place of spikes. It has no
threshold and no reset, so v_t = h_t.

Rounding matters, because a spike is a comparison: another order of operations may round differently, so that the neuron
fires at another step. Training codes use these orders, with u = v - v_rest, where v_rest is v_reset in most codes:

    linear     decay * v + gain * x + bias
    decayed    v + leak(x - u)                  SpikingJelly's LIF with ``decay_input=True``
    leaky      v - leak(u) + x                  with ``decay_input=False`` and a v_reset other than 0

where leak(z) is z / tau, or z * rate if the training code multiplies (SpikingJelly's PLIF, norse).

KLIF rectifies the charged membrane, h_t = max(slope * charge, 0). If it rescales, the membrane and the threshold that
is subtracted are divided by the slope in the reset: v_t = v_reset where s_t else h_t / slope  (hard), or
h_t / slope - s_t * threshold / slope  (soft).

The equations below use only operators, so they take numpy arrays and torch tensors alike.

Sources: Fang et al., SpikingJelly, Science Advances 9 (2023), ``clock_driven/neuron.py`` of releases 0.0.0.0.4 to
0.0.0.0.14 and ``activation_based/neuron`` of 2.0; Zhu et al., "TCJA-SNN", IEEE TNNLS (2024), arXiv:2206.10177;
Eshraghian et al., snnTorch, Proceedings of the IEEE (2023), ``_neurons/leaky.py`` (late reset) and ``synaptic.py``
(refractory reset) of 1.0; Jiang and Zhang, "KLIF: An optimized spiking neuron unit for tuning surrogate gradient slope
and membrane potential" (2023), arXiv:2302.09238, ``KLIFNode`` of SpikingJelly.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tcja_runtime.constant_arrays import Array, Constant, ConstantArray, Constants, array_of, constant
from tcja_runtime.neuron_rules import Charge, Reset, Returns, Rules

_AS_V_RESET = float("nan")
"""Stands for a v_initial or a v_rest that is v_reset: this object, and no other NaN."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuronSpec(Constants, Rules):
    """The constants of one spiking layer. Build it with `linear` or `leaky`.

    Each constant is a number, or an array whose shape is broadcast against the shape of the layer without time and
    batch: (C, 1, 1) for a value for each channel of a layer [C, H, W]. `tcja_runtime.constant_arrays.constant` makes it
    from arrays and tensors.

    Attributes:
        charge_order: the order of operations of the charge: "linear", "decayed" or "leaky".
        decay: the factor of the membrane in each time step, in [0, 1]; 1 is an integrate-and-fire neuron.
        gain: the factor of the input current.
        bias: the value that is added to the membrane in each time step.
        threshold: the firing threshold, in units of the membrane.
        strict: whether the neuron fires at ``h > threshold``; if False, at ``h >= threshold``.
        reset: the effect of a spike: "hard" sets the membrane to v_reset, "soft" subtracts the threshold, "late"
            subtracts it at the next charge, "refractory" sets the membrane of the next step to 0, "none" leaves the
            membrane. A late or refractory reset needs a linear charge.
        v_reset: the membrane after a hard reset; 0 for the other resets.
        rate: the share of the membrane that leaks in each time step, if the charge is not linear; else 0.
        tau: the time constant in time steps, 1 / rate, if the training code divides by it; else None.
        v_initial: the membrane before the first step. By default, and in bundles of older versions, it is v_reset. With
            a late or refractory reset it is below the threshold, because the first step has no spike before it.
        v_rest: the membrane towards which a charge that is not linear leaks. By default, and in bundles of older
            versions, it is v_reset.
        slope: the factor of the charged membrane before it is rectified (KLIF); None if it is not rectified.
        rescales: whether the reset divides by the slope.
        returns: what the neuron returns: "spikes", or "membranes" for an integrator, which never fires. An integrator
            has the threshold 0, which is not used, and the reset "none" (`integrator`).

    Raises:
        BadInput: a constant is neither a number nor an array of numbers.
        ValueError: a constant is out of range, or the constants do not fit together.
    """

    CONSTANTS: ClassVar[tuple[str, ...]] = (
        "decay",
        "gain",
        "bias",
        "threshold",
        "v_reset",
        "v_initial",
        "v_rest",
        "rate",
        "tau",
        "slope",
    )

    charge_order: Charge
    decay: Constant
    gain: Constant
    bias: Constant
    threshold: Constant
    strict: bool
    reset: Reset
    v_reset: Constant
    rate: Constant
    tau: Constant | None
    v_initial: Constant = _AS_V_RESET
    v_rest: Constant = _AS_V_RESET
    slope: Constant | None = None
    rescales: bool = False
    returns: Returns = "spikes"

    def __post_init__(self) -> None:
        for field in ("v_initial", "v_rest"):
            if getattr(self, field) is _AS_V_RESET:
                object.__setattr__(self, field, self.v_reset)
        for field in self.CONSTANTS:
            value = getattr(self, field)
            if field in ("tau", "slope") and value is None:
                continue
            object.__setattr__(self, field, constant(field, value))
            if not self.all_of(field, np.isfinite):
                raise ValueError(f"neuron {field} must be finite, got {getattr(self, field)}")
        if self.charge_order not in ("linear", "decayed", "leaky"):
            raise ValueError(f"neuron charge_order must be 'linear', 'decayed' or 'leaky', got {self.charge_order!r}")
        if self.tau is not None and not self.all_of("tau", lambda tau: tau > 1.0):
            raise ValueError(f"neuron tau must be greater than 1 time step, got {self.tau}")
        if not self.all_of("decay", lambda decay: (decay >= 0.0) & (decay <= 1.0)):
            raise ValueError(f"neuron decay must be in [0, 1], got {self.decay}")
        if self.returns not in ("spikes", "membranes"):
            raise ValueError(f"neuron returns must be 'spikes' or 'membranes', got {self.returns!r}")
        if self.integrates and (self.threshold != 0.0 or self.strict or self.reset != "none" or self.slope is not None):
            raise ValueError("a neuron that returns its membranes has a charge alone; use `integrator`")
        self.check_charge()
        self.check_reset()
        if self.slope is not None and (not isinstance(self.slope, float) or not self.slope or self.delayed):
            raise ValueError(
                f"a slope is one number that is not 0, without a late or refractory reset, got {self.slope}"
            )
        if self.rescales and (self.slope is None or self.reset not in ("hard", "soft")):
            raise ValueError("a neuron that rescales needs a slope, and a hard or a soft reset")

    @classmethod
    def linear(
        cls,
        *,
        decay: Constant,
        gain: Constant = 1.0,
        bias: Constant = 0.0,
        threshold: Constant = 1.0,
        strict: bool,
        reset: Reset = "hard",
        v_reset: Constant = 0.0,
        v_initial: Constant = _AS_V_RESET,
    ) -> NeuronSpec:
        """A neuron with the charge h = decay * v + gain * x + bias.

        TET, MS-ResNet, FSVAE, snnTorch and integrate-and-fire neurons have this charge. The arguments are the
        attributes of the same names of `NeuronSpec`.

        Raises:
            BadInput: a constant is neither a number nor an array of numbers.
            ValueError: a constant is out of range, or the constants do not fit together.
        """
        return cls(
            charge_order="linear",
            decay=decay,
            gain=gain,
            bias=bias,
            threshold=threshold,
            strict=strict,
            reset=reset,
            v_reset=v_reset,
            rate=0.0,
            tau=None,
            v_initial=v_initial,
        )

    @classmethod
    def leaky(
        cls,
        *,
        decay_input: bool,
        tau: Constant | None = None,
        rate: Constant | None = None,
        threshold: Constant = 1.0,
        strict: bool = False,
        reset: Reset = "hard",
        v_reset: Constant = 0.0,
        v_initial: Constant = _AS_V_RESET,
        v_rest: Constant = _AS_V_RESET,
    ) -> NeuronSpec:
        """A neuron with the charge h = v + leak(x - u), or h = v - leak(u) + x, as in SpikingJelly.

        Args:
            decay_input: whether the input leaks too. If it does, the charge is h = v + leak(x - u); if it does not,
                the charge is h = v - leak(u) + x.
            tau: the time constant in time steps, if the training code divides by it.
            rate: the share that leaks in each time step, if the training code multiplies by it. Give either `tau` or
                `rate`.
            threshold: the firing threshold, in units of the membrane.
            strict: whether the neuron fires at ``h > threshold``; if False, at ``h >= threshold``.
            reset: the effect of a spike, as in the attribute `reset` of `NeuronSpec`.
            v_reset: the membrane after a hard reset; 0 for the other resets.
            v_initial: the membrane before the first step; by default, v_reset.
            v_rest: the membrane towards which v leaks; by default, v_reset.

        Raises:
            BadInput: a constant is neither a number nor an array of numbers.
            ValueError: a constant is out of range, both or neither of `tau` and `rate` are given, or the constants do
                not fit together.
        """
        tau = None if tau is None else constant("tau", tau)
        if tau is not None and not np.all(array_of(tau) > 1.0):
            raise ValueError(f"neuron tau must be greater than 1 time step, got {tau}")
        if (tau is None) == (rate is None):
            raise ValueError(f"a neuron needs either tau or rate, got tau = {tau} and rate = {rate}")
        share = 1.0 / array_of(tau) if tau is not None else array_of(constant("rate", rate))
        rest = constant("v_rest", v_reset if v_rest is _AS_V_RESET else v_rest)
        decay, bias, leaks = (constant("rate", made) for made in (1.0 - share, share * array_of(rest), share))
        return cls(
            charge_order="decayed" if decay_input else "leaky",
            decay=decay,
            gain=leaks if decay_input else 1.0,
            bias=bias,
            threshold=threshold,
            strict=strict,
            reset=reset,
            v_reset=v_reset,
            rate=leaks,
            tau=tau,
            v_initial=v_initial,
            v_rest=rest,
        )

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> NeuronSpec:
        """The neuron whose fields `dataclasses.asdict` returned; the inverse of that function. Tuples may be lists."""
        arrays = {
            name: ConstantArray(tuple(value["shape"]), tuple(value["values"]))
            for name, value in fields.items()
            if isinstance(value, dict)
        }
        return cls(**{**fields, **arrays})

    def integrator(self) -> NeuronSpec:
        """Returns the neuron with the same charge that never fires and returns its membranes.

        Raises:
            ValueError: the charged membrane is rectified, which an integrator does not do.
        """
        if self.slope is not None:
            raise ValueError("its membranes are rectified, and those of an integrator are not")
        return dataclasses.replace(
            self,
            threshold=0.0,
            strict=False,
            reset="none",
            v_reset=0.0,
            v_rest=0.0 if self.charge_order == "linear" else self.v_rest,
            returns="membranes",
        )

    @property
    def unit(self) -> npt.NDArray[np.float64]:
        """The size of the threshold, or 1 for 0, in its shape. Distances from the threshold are compared with it."""
        return _or_one(np.abs(array_of(self.threshold)))

    @property
    def current_unit(self) -> npt.NDArray[np.float64]:
        """The current that brings a membrane from 0 to the threshold at once, without bias; never 0."""
        slope = 1.0 if self.slope is None else array_of(self.slope)
        return _or_one(array_of(self.threshold)) / (_or_one(array_of(self.gain)) * slope)

    @property
    def instant(self) -> bool:
        """Whether a spike depends on the current of its own time step alone, so that there is no loop over time."""
        loops = self.charge_order != "linear" or self.decay != 0.0 or self.delayed or self.slope is not None
        return not loops and not self.integrates

    @property
    def multiplies_exactly(self) -> bool:
        """Whether all factors of the charge are powers of two.

        If they are, products are not rounded. Then it makes no difference whether a backend computes a product and a
        sum with one rounding (a fused multiply-add) or with two.
        """
        factors = ["decay", "gain"] if self.charge_order == "linear" else ["rate"]
        factors += ["slope"] if self.slope is not None else []
        return all(self.all_of(name, lambda factor: np.isin(np.frexp(factor)[0], (0.0, 0.5))) for name in factors)

    def charge(self, v: Array, x: Array, s: Array) -> Array:
        """The membrane h_t before firing.

        Args:
            v: the membrane v_{t-1} after the step before.
            x: the input current x_t.
            s: the spikes s_{t-1} of the step before (0 or 1, in the dtype of v); only a late or refractory reset uses
                them.
        """
        h = self.charged(v, x, s)
        return h if self.slope is None else (h * self.constant("slope", h)).clip(0.0, None)

    def charged(self, v: Array, x: Array, s: Array) -> Array:
        """The charge, which is the membrane h_t if the neuron has no slope. The arguments are as in `charge`."""
        if self.charge_order == "linear":
            # A factor of 1 and a bias of 0 change no bit, so they are left out.
            decayed = v * self.constant("decay", v) if self.decay != 1.0 else v
            driven = x * self.constant("gain", x) if self.gain != 1.0 else x
            h = decayed + driven
            h = h + self.constant("bias", h) if self.bias else h
            if self.reset == "refractory":
                return h * (1.0 - s)
            return h - s * self.constant("threshold", h) if self.reset == "late" else h
        u = v - self.constant("v_rest", v) if self.v_rest else v
        if self.charge_order == "decayed":
            return v + self._leak(x - u)
        return v - self._leak(u) + x

    def _leak(self, u: Array) -> Array:
        return u * self.constant("rate", u) if self.tau is None else u / self.constant("tau", u)

    def fires(self, h: Array) -> Array:
        """Which neurons fire: boolean, in the shape of h."""
        threshold = self.constant("threshold", h)
        return h > threshold if self.strict else h >= threshold

    def after(self, h: Array, s: Array) -> Array:
        """The membrane v_t after the reset, from the membrane h_t and the spikes s_t (0 or 1, in the dtype of h)."""
        if self.delayed or self.reset == "none":
            return h
        if self.reset == "soft":
            # A spike is 0 or 1, so s * threshold / slope rounds as s * (threshold / slope).
            return self._rescaled(h) - self._rescaled(s * self.constant("threshold", h))
        v = self._rescaled(h) * (1.0 - s)
        return v + s * self.constant("v_reset", h) if self.v_reset else v

    def _rescaled(self, value: Array) -> Array:
        return value / self.constant("slope", value) if self.rescales else value


def fire(spec: NeuronSpec, current: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """The spikes of neurons for given input currents. The membranes start at v_initial.

    Args:
        spec: the constants of the neurons.
        current: the input currents, [T, ...]. The membranes are computed in the dtype of the currents.

    Returns:
        The spikes, bool [T, ...].
    """
    v, s = spec.start(current[0]), np.zeros_like(current[0])
    spikes = np.empty(current.shape, np.bool_)
    for t, x in enumerate(current):
        h = spec.charge(v, x, s)
        spikes[t] = spec.fires(h)
        s = spikes[t].astype(h.dtype)
        v = spec.after(h, s)
    return spikes


def membranes(spec: NeuronSpec, current: npt.NDArray[Any], spikes: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """The membranes h_t before firing, of neurons whose spikes are given. The membranes start at v_initial.

    Args:
        spec: the constants of the neurons.
        current: the input currents, [T, ...].
        spikes: the given spikes, bool [T, ...]. They reset the membranes, also where a membrane does not fire.

    Returns:
        The membranes h_t, [T, ...], in the dtype of the currents.
    """
    v, s = spec.start(current[0]), np.zeros_like(current[0])
    h = np.empty_like(current)
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks for membranes that are not finite
        for t, x in enumerate(current):
            h[t] = spec.charge(v, x, s)
            s = spikes[t].astype(h.dtype)
            v = spec.after(h[t], s)
    return h


def _or_one(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(values == 0, 1.0, values)
