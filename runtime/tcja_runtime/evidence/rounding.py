r"""Rounding bounds: the largest rounding error of a neuron's membrane, for each arithmetic that a backend may use.

**A sum.** A sum of n terms is n - 1 additions in any order. Terms that are 0 do not count, as adding 0 rounds nothing.
Let u be the unit roundoff. Addition k returns a partial sum s_k with an error d_k s_k, where |d_k| <= u. A partial sum
lies between the sum of all negative terms and the sum of all positive terms, so |s_k| <= S = (A + |sum|) / 2 with
A = sum |terms|. Therefore

    |computed - exact|  <=  u S steps(n)              steps(n) = n                                  always
                                                      steps(n) = min(n, CONFIDENCE sqrt(n))         to nearest

The first bound is in Higham: Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 4.2. The second
holds with a probability of at least 1 - 2 exp(-CONFIDENCE^2 / 2) = 1 - 3e-14, if rounding errors average out, that is,
if the expectation of d_k, given the errors before it, is 0. This is Hoeffding's inequality, as in Higham, Mary: A new
approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41 (2019), and Connolly, Higham, Mary:
Stochastic rounding and its probabilistic backward error analysis, SIAM J. Sci. Comput. 43 (2021). For up to
CONFIDENCE^2 terms the two bounds are equal. For a layer with 20,000 inputs the first bound would be so large that an
error in the export would pass as rounding.

**A neuron.** `tcja_exporters.reference.propagation` carries the bounds of sums through the layers of a network. This
module carries them through a neuron (`tcja_runtime.neuron`). If the spikes of the neuron are given, the charge is
linear,

    h = decay v + gain x + bias                      (in any order of operations)

so an error e_v of the membrane v and an error e_x of the current x become the error e_h of the membrane h before
firing:

    e_h = decay e_v + gain e_x + ROUNDINGS u M
    M   = |v| + e_v + gain (|x| + e_x) + |bias| + |v_rest|       (+ threshold, late reset)

Constants that differ by neuron are those of the neuron. In every order of operations, each term of M takes part in at
most ROUNDINGS - 1 roundings, including those of constants. One more rounding is counted for the terms of higher order.
A spike with a hard reset sets the error to that of v_reset. A soft reset adds the rounding of one subtraction:

    e_v = u |v_initial|                               before the first step
    e_v = u |v_reset|                                 hard reset, where the neuron fires
    e_v = e_h                                         hard reset, where it does not fire; the other resets
    e_v = e_h + 2 u (|h| + e_h + |threshold|)           soft reset

A slope k makes the membrane h = max(k c, 0) of the charge c, whose error e_c is the e_h above. The factor, its rounding
and one of higher order give the first line; a reset that divides by k gives the second:

    e_h = |k| e_c + 3 u |k| (M + e_c)                 a maximum with 0 makes no error larger
    e_v = (e_v without k + 3 u (|h| + e_h + threshold)) / |k|

A neuron is undecided at a time step, so that rounding decides whether it fires, if |h - threshold| <= e_h + u
|threshold|.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.neuron import NeuronSpec

ROUNDINGS = 8
"""One more than the largest number of roundings that a term of the charge takes part in."""
CONFIDENCE = 8.0
"""The factor of sqrt(n) in the bound of a sum of n terms whose additions round to nearest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """The number formats that a backend computes with.

    A format is given by its unit roundoff, which is half the distance from 1 to the next larger number.

    Attributes:
        name: the name of the arithmetic, for people.
        operand: the unit roundoff of weights and values before they are multiplied; 0 if they are not rounded.
        operand_tiny: the largest absolute error of an operand that is smaller than the normal numbers of its format (a
            subnormal number); 0 if operands are not rounded.
        total: the unit roundoff of sums.
        stored: the unit roundoff of the values that layers return.
        stored_tiny: the largest absolute error of a returned value that is smaller than the normal numbers of its
            format.
        membrane: the unit roundoff of the operations in neurons.
        unbiased: whether sums round to nearest. If False, they truncate, and their errors do not average out.
        levels: the largest integer of an integer format, such as 127; 0 for floating point. In an integer format,
            weights have one scale for each output channel, and values that are not spikes have one scale for the
            tensor.
    """

    name: str
    operand: float = 0.0
    operand_tiny: float = 0.0
    total: float = 2.0**-24
    stored: float = 2.0**-24
    stored_tiny: float = 0.0
    membrane: float = 2.0**-24
    unbiased: bool = True
    levels: int = 0


FLOAT32 = Arithmetic(name="float32")
# NVIDIA's tensor cores truncate the terms of a sum instead of rounding them, with at most two extra bits (Fasi, Higham,
# Mikaitis, Pranesh: Numerical behavior of NVIDIA tensor cores, PeerJ Comput. Sci. 7 (2021) e330), so `total` is 2^-22.
# They may truncate operands to the 11 bits of TF32, too.
TF32 = Arithmetic(name="TF32", operand=2.0**-10, operand_tiny=2.0**-136, total=2.0**-22, unbiased=False)
FLOAT16 = Arithmetic(
    name="float16, sums in float32",
    operand=2.0**-11,
    operand_tiny=2.0**-25,
    total=2.0**-22,
    stored=2.0**-11,
    stored_tiny=2.0**-25,
    unbiased=False,
)
FLOAT16_VALUES = dataclasses.replace(
    FLOAT16, name="float16 whose weights are held exactly, sums in float32", operand=0.0, operand_tiny=0.0
)
FLOAT16_SUMS = dataclasses.replace(FLOAT16, name="float16, sums in float16", total=2.0**-11)
BFLOAT16 = dataclasses.replace(
    FLOAT16,
    name="bfloat16, sums in float32",
    operand=2.0**-8,
    operand_tiny=2.0**-134,
    stored=2.0**-8,
    stored_tiny=2.0**-134,
)
INT8 = Arithmetic(name="int8, sums in int32", levels=127)
MODEL_ARITHMETIC = {"fp32": FLOAT32, "fp16": FLOAT16_VALUES, "int8": FLOAT32}
"""The arithmetic of a model, by precision. For int8 it is FLOAT32, because products of int8 values are exact."""

Floats64 = npt.NDArray[np.float64]


def membrane_error(spec: NeuronSpec, unit: float, v: Any, e_v: Any, x: Any, e_x: Any) -> Any:
    """Returns e_h, the bound of the error of the membrane before firing (the formula is at the top of this module).

    The values are numpy arrays or torch tensors; if no constant is an array, they may be numbers.

    Args:
        spec: the constants of the neuron.
        unit: the unit roundoff u of the operations in neurons.
        v: the membrane after the time step before.
        e_v: the bound of the error of that membrane.
        x: the input current.
        e_x: the bound of the error of the current.
    """
    decay, gain, bias, v_rest, threshold = (
        abs(spec.constant(name, v)) for name in ("decay", "gain", "bias", "v_rest", "threshold")
    )
    magnitude = abs(v) + e_v + gain * (abs(x) + e_x) + bias + v_rest
    if spec.reset == "late":
        magnitude = magnitude + threshold
    charged = decay * e_v + gain * e_x + ROUNDINGS * unit * magnitude
    if spec.slope is None:
        return charged
    return abs(spec.constant("slope", v)) * (charged + 3 * unit * (magnitude + charged))


def reset_error(spec: NeuronSpec, unit: float, h: Any, e_h: Any, s: Any) -> Any:
    """Returns e_v, the bound of the error of the membrane after the reset (the formula is at the top of this module).

    The values are as in `membrane_error`.

    Args:
        spec: the constants of the neuron.
        unit: the unit roundoff u of the operations in neurons.
        h: the membrane before firing.
        e_h: the bound of the error of that membrane.
        s: the spikes, 0 or 1.
    """
    if spec.reset not in ("hard", "soft"):
        return e_h
    magnitude = abs(h) + e_h + abs(spec.constant("threshold", h))
    kept = e_h + 2 * unit * magnitude if spec.reset == "soft" else e_h
    if spec.rescales:
        kept = (kept + 3 * unit * magnitude) / abs(spec.constant("slope", h))
    if spec.reset == "soft":
        return kept
    return kept * (1.0 - s) + s * (unit * abs(spec.constant("v_reset", h)))


def fires_within(spec: NeuronSpec, unit: float, e_h: Any) -> Any:
    """Returns the largest distance of an undecided membrane from the threshold: e_h + u |threshold|."""
    return e_h + unit * abs(spec.constant("threshold", e_h))


def membranes_within(
    spec: NeuronSpec, arithmetic: Arithmetic, current: Floats64, error: Floats64, spikes: npt.NDArray[np.bool_]
) -> tuple[Floats64, Floats64]:
    """Returns the membranes of neurons whose spikes are given, and their rounding bounds. Membranes start at v_initial.

    Args:
        spec: the constants of the neurons.
        arithmetic: the arithmetic of the backend.
        current: the exact currents, [T, ...].
        error: the bounds of the errors of the currents, [T, ...].
        spikes: the given spikes, [T, ...].

    Returns:
        The membranes h_t before firing, and the rounding bounds, both float64 [T, ...]. A neuron is undecided if the
        distance of its membrane from the threshold is at most the bound.
    """
    unit = arithmetic.membrane
    v, s = spec.start(current[0]), np.zeros_like(current[0])
    e_v = unit * abs(v)
    h, within = np.empty_like(current), np.empty_like(current)
    with np.errstate(over="ignore", invalid="ignore"):  # callers check for values that are NaN or infinite
        for t, (x, e_x) in enumerate(zip(current, error, strict=True)):
            h[t] = spec.charge(v, x, s)
            e_h = membrane_error(spec, unit, v, e_v, x, e_x)
            within[t] = fires_within(spec, unit, e_h)
            s = spikes[t].astype(np.float64)
            e_v = reset_error(spec, unit, h[t], e_h, s)
            v = spec.after(h[t], s)
    return h, within
