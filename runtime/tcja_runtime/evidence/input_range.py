"""The range stimulus: inputs over the whole range that a network takes, from the smallest steps to the largest counts.

Real windows hold few large counts, and the inputs of the random and the exact stimulus are small multiples of 1/4. So a
model that clips counts at 255, or takes them as uint8 or float16, would compute the same from them. The inputs here are

    counts      0 and random counts up to `largest`. Each number of binary digits is equally likely, so counts of every
                size occur. Frames differ in their largest count and in their share of counts that are not 0.
    intensities random multiples of 2^-24 from 0 to 1. Most are between the 256 values of 8-bit images.
    features    random numbers of both signs, with all 24 binary digits of a float32. Their sizes go from 2^-12 up to
                `largest`, and each power of two is equally likely.

The shares are small in some frames, so that few terms are added in one sum: in a sum of many terms the rounding bound
is large and would hide a small change of one term. Spikes of all layers are given, as in the random stimulus.

All numbers are made from the raw bits of PCG64 by integer arithmetic (`tcja_runtime.evidence.stimulus`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.evidence import stimulus

RANGE = "range"
"""The name of the stimulus."""

LARGEST = 2**24 - 1
"""The largest count that is tried: float32 holds every whole number up to it, and not every one above 2^24."""
LARGEST_COUNTS = {
    "fp32": (LARGEST, 2**16 - 1, 2**12 - 1, 2**8 - 1, 2**4 - 1),
    "fp16": (2**14 - 1, 2**11, 2**8 - 1, 2**4 - 1),
    "int8": (LARGEST, 2**16 - 1, 2**12 - 1, 2**8 - 1, 2**4 - 1),
}
"""The largest counts to try, by precision, the largest first. float16 ends at 65,504, which sums must not reach."""

_MAX_WINDOWS = 4
_FRAMES = 80  # with so many, each share and each number of digits has occurred often
_ELEMENTS = 2**25
_DIGITS = 24  # of an intensity
_FRACTIONS = 2**20  # counts below this one may have a fraction of quarters
_SMALLEST = 12  # features are at least 2^-12, far above the end of float16
_SHARES = (2, 8, 32, 128)  # one in so many inputs is not 0


def takes_range(contract: InputContract) -> bool:
    """Whether inputs have a range to try. Spikes have none, because they are only 0 and 1."""
    return contract.scaling != "spikes"


def windows(shapes: Sequence[tuple[int, ...]], time_steps: int) -> int:
    """Returns the number of windows of the range stimulus, from 1 to 4: fewer for a larger network or longer windows.

    Args:
        shapes: the shapes of the spiking layers.
        time_steps: T.
    """
    elements = time_steps * sum(int(np.prod(shape)) for shape in shapes)
    return int(np.clip(min(_ELEMENTS // elements, -(-_FRAMES // time_steps)), 1, _MAX_WINDOWS))


def inputs(contract: InputContract, n: int, largest: int) -> Floats:
    """Returns the inputs of the range stimulus, float32 [N, *contract.shape].

    Counts have fractions of quarters if frames may have fractions: if they are resized, or if it is not known how
    recordings are cut into them.

    Args:
        contract: the input contract; its scaling is "counts", "unit" or "real".
        n: N, the number of windows.
        largest: the largest count, or the largest size of a feature; not used for intensities.
    """
    steps = contract.steps or 1
    frame = contract.shape[1:] if contract.steps else contract.shape
    made = np.empty((n * steps, int(np.prod(frame))), np.float32)
    fractions = contract.split is None or contract.resize is not None
    for at, row in enumerate(made):
        raw = stimulus.raw_bits(f"{contract.name} range {at}", row.size)
        if contract.scaling == "unit":
            row[:] = _intensities(raw)
        elif contract.scaling == "real":
            row[:] = _features(raw, _digits(largest, at))
        else:
            row[:] = _counts(raw, _digits(largest, at), fractions)
        share = _SHARES[(at + at // len(_SHARES)) % len(_SHARES)]
        row[(raw >> np.uint64(40)) % np.uint64(share) != 0] = 0
        np.clip(row, -largest, 1 if contract.scaling == "unit" else largest, out=row)
    return made.reshape(n, *contract.shape)


def _digits(largest: int, at: int) -> int:
    """Returns the number of binary digits of the largest value of a frame: those of `largest`, or fewer."""
    return max(1, largest.bit_length() * (len(_SHARES) - at % len(_SHARES)) // len(_SHARES))


def _counts(raw: stimulus.Raw, digits: int, fractions: bool) -> Floats:
    """Returns counts of 1 to `digits` binary digits."""
    chosen = (raw >> np.uint64(56)) % np.uint64(digits)
    top = np.uint64(1) << chosen
    whole = (top | (raw & (top - np.uint64(1)))).astype(np.float32)
    if fractions:
        quarters = ((raw >> np.uint64(32)) & np.uint64(3)).astype(np.float32) / np.float32(4)
        whole += np.where(whole < _FRACTIONS, quarters, np.float32(0))
    return whole


def _intensities(raw: stimulus.Raw) -> Floats:
    """Returns multiples of 2^-24 in [0, 1]; one in 32 is exactly 1."""
    values = (raw & np.uint64(2**_DIGITS - 1)).astype(np.float32) / np.float32(2**_DIGITS)
    values[(raw >> np.uint64(56)) % np.uint64(32) == 0] = 1
    return values


def _features(raw: stimulus.Raw, digits: int) -> Floats:
    """Returns numbers of both signs: a random fraction from 1 to 2 times a power of two below 2^digits."""
    fraction = 1 + (raw & np.uint64(2**23 - 1)).astype(np.float32) / np.float32(2**23)
    power = ((raw >> np.uint64(56)) % np.uint64(digits + _SMALLEST)).astype(np.int32) - _SMALLEST
    sign = np.where((raw >> np.uint64(32)) & np.uint64(1), np.float32(-1), np.float32(1))
    values: Floats = np.ldexp(sign * fraction, power)
    return values
