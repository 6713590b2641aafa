r"""How far rounding may move what a neuron computes: arithmetics, and the bound of a membrane.

A sum of n terms that are not zero is n - 1 additions in whatever order (adding a zero rounds nothing), each of which
errs by d_k s_k with |d_k| <= u, the unit roundoff, s_k being the sum of some of the terms. The sum of any terms lies
between that of all negative ones and that of all positive ones, so |s_k| <= S = (A + |sum|) / 2, A = sum |terms|, and

    |computed - exact|  <=  u S steps(n)              steps(n) = n                                  always
                                                      steps(n) = min(n, CONFIDENCE sqrt(n))         to nearest

The first is Higham: Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 4.2. The second holds with
a probability of at least 1 - 2 exp(-CONFIDENCE^2 / 2), or 1 - 3e-14, if rounding errors average out, that is, if d_k
has no mean given those before it: Hoeffding's inequality, as in Higham, Mary: A new approach to probabilistic rounding
error analysis, SIAM J. Sci. Comput. 41 (2019), and Connolly, Higham, Mary: Stochastic rounding and its probabilistic
backward error analysis, SIAM J. Sci. Comput. 43 (2021). Without it, the bound of a layer with 20,000 inputs would
explain anything; up to CONFIDENCE^2 terms it is the first. `tcja_exporters.reference.propagation` carries sums through
the layers of a network; here they are carried through the neuron of `tcja_runtime.neuron`. With exact spikes given, the
charge is linear,

    h = decay v + gain x + bias                      (in whichever order of operations)

so that errors e_v of the membrane and e_x of the current become an error of h

    e_h = decay e_v + gain e_x + ROUNDINGS u M
    M   = |v| + e_v + gain (|x| + e_x) + |bias| + |v_reset|      (+ threshold, late reset)

where in every order each term of M goes through at most ROUNDINGS - 1 roundings, constants included, and one is left
for the terms of higher order. A reset sets the error back, or adds the rounding of one subtraction:

    e_v = u |v_reset|  where it fires (hard)     or     e_h + 2 u (|h| + e_h + threshold)  (soft)     or     e_h

A spike is decided by rounding alone where |h - threshold| <= e_h + u |threshold|: the neuron is then undecided.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.neuron import NeuronSpec

ROUNDINGS = 8
CONFIDENCE = 8.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How a backend computes; each figure is a unit roundoff, half the distance from 1 to the next number.

    Attributes:
        name: of it, for people.
        operand: to which weights and values are rounded before they are multiplied; 0 where they are not.
        operand_tiny: the largest error of rounding a number too small for `operand` to hold.
        total: of the sums.
        stored: of what layers return.
        stored_tiny: the largest error of storing a number too small for the format to hold.
        membrane: of the neuron.
        unbiased: whether sums round to nearest; if they cut off, their errors do not average out.
        levels: of an integer format, how many steps its largest magnitude has; 0 for floating point. Weights then have
            a scale each output channel, values that are no spikes one scale a tensor.
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
# NVIDIA's tensor cores cut off what they add instead of rounding it, with two bits to spare or none (Fasi, Higham,
# Mikaitis, Pranesh: Numerical behavior of NVIDIA tensor cores, PeerJ Comput. Sci. 7 (2021) e330), so `total` is 2^-22;
# TF32 operands may be cut off to their 11 bits, too.
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
ARITHMETICS = (FLOAT32, TF32, FLOAT16, FLOAT16_VALUES, FLOAT16_SUMS, BFLOAT16, INT8)

Floats64 = npt.NDArray[np.float64]


def membrane_error(spec: NeuronSpec, unit: float, v: Any, e_v: Any, x: Any, e_x: Any) -> Any:
    """e_h of the module's docstring, from numpy arrays, torch tensors or numbers of one shape."""
    magnitude = abs(v) + e_v + spec.gain * (abs(x) + e_x) + abs(spec.bias) + abs(spec.v_reset)
    if spec.reset == "late":
        magnitude = magnitude + spec.threshold
    return spec.decay * e_v + spec.gain * e_x + ROUNDINGS * unit * magnitude


def reset_error(spec: NeuronSpec, unit: float, h: Any, e_h: Any, s: Any) -> Any:
    """e_v of the module's docstring, from the membrane h, its error and the spikes s (0 or 1)."""
    if spec.reset == "hard":
        return e_h * (1.0 - s) + s * (unit * abs(spec.v_reset))
    if spec.reset == "soft":
        return e_h + 2 * unit * (abs(h) + e_h + spec.threshold)
    return e_h


def membranes_within(
    spec: NeuronSpec, arithmetic: Arithmetic, current: Floats64, error: Floats64, spikes: npt.NDArray[np.bool_]
) -> tuple[Floats64, Floats64]:
    """Membranes of neurons that are made to fire given spikes, from rest, and how far rounding may move them.

    Args:
        spec: the neurons.
        arithmetic: of the backend.
        current: their exact currents, [T, ...].
        error: how far rounding may move the currents, [T, ...].
        spikes: when they fire, [T, ...].

    Returns:
        h_t and the distance from the threshold within which rounding decides, both [T, ...].
    """
    unit = arithmetic.membrane
    v, s = np.full_like(current[0], spec.v_reset), np.zeros_like(current[0])
    e_v = np.full_like(v, unit * abs(spec.v_reset))
    h, within = np.empty_like(current), np.empty_like(current)
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number is the caller's to judge
        for t, (x, e_x) in enumerate(zip(current, error, strict=True)):
            h[t] = spec.charge(v, x, s)
            e_h = membrane_error(spec, unit, v, e_v, x, e_x)
            within[t] = e_h + unit * abs(spec.threshold)
            s = spikes[t].astype(np.float64)
            e_v = reset_error(spec, unit, h[t], e_h, s)
            v = spec.after(h[t], s)
    return h, within
