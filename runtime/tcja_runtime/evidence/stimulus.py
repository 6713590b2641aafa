"""Drawn stimuli: spikes and inputs that put every weight of a network to work, and weights that leave no rounding.

Real windows leave much of a network idle, and where many spikes meet, the bound on rounding hides a small change of
one weight. So each layer is also fed drawn spikes, sparse in a chosen way: in each frame (a time step of a window) one
group of channels fires at random places, and nothing else does, so that few terms meet in a sum. A group comes again in
every round; in every second round it fires where it did not fire before, so that every unit fires.

All is drawn from the raw bits of PCG64, seeded by a name, which are the same on every machine and in every version of
numpy (NEP 19), so that a board draws what the workstation drew.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcja_runtime.bundle.signature import Layer, Weight
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.evidence.trace import Spikes

Bytes = npt.NDArray[np.uint8]

DRAWN, DYADIC = "drawn", "dyadic"
"""The scenes: drawn spikes and inputs with the network's own weights, and with drawn weights."""

DRAWN_PLACES = 2048
REAL_PLACES = 512
"""How many elements of a signal to look at in a window, drawn and real."""

ROUNDS = 4
_WEIGHTS = np.array([-2, -1, -1, 0, 1, 1, 2, 3], np.float32) * np.float32(1 / 8)
_VALUES: dict[str, Floats] = {
    "counts": np.array([0, 0, 0, 0, 1, 1, 2, 3], np.float32),
    "unit": np.array([0, 0, 1, 1, 2, 3, 4, 4], np.float32) * np.float32(1 / 4),
}
_MIN_WINDOWS, _MAX_WINDOWS = 2, 8
_ELEMENTS = 2**25
_MIN_POSITIONS = 8
_DRAWN_NEURONS = 4096


def windows(shapes: Sequence[tuple[int, ...]], time_steps: int) -> int:
    """How many windows to draw for a network with layers of some shapes: few, where they cost much."""
    elements = time_steps * sum(int(np.prod(shape)) for shape in shapes)
    return int(np.clip(_ELEMENTS // elements, _MIN_WINDOWS, _MAX_WINDOWS))


def spikes(name: str, shape: tuple[int, ...], time_steps: int, n: int) -> Spikes:
    """Spikes [T, N, *shape] of a layer, the first axis of its shape being the channels."""
    frames = time_steps * n
    groups = max(1, min(shape[0], frames // ROUNDS))
    fired = np.zeros((frames, *shape), np.bool_)
    for frame in range(frames):
        round_, group = divmod(frame, groups)
        members = fired[frame, group::groups]
        pattern = _bytes(f"{name} {group} {round_ // 2}", members.size).reshape(members.shape) < 128
        members[:] = pattern if round_ % 2 == 0 else ~pattern
    return fired.reshape(n, time_steps, *shape).swapaxes(0, 1)


def inputs(contract: InputContract, n: int) -> Floats:
    """Inputs [N, *contract.shape], multiples of a power of two."""
    if contract.scaling == "spikes":
        drawn = spikes(contract.name, contract.shape[1:], contract.shape[0], n)
        return drawn.swapaxes(0, 1).astype(np.float32)
    shape = (n, *contract.shape)
    chosen: Floats = _VALUES[contract.scaling][_bytes(contract.name, int(np.prod(shape))) % 8].reshape(shape)
    return chosen


def dyadic_weight(weight: Weight) -> Floats:
    """A weight as PyTorch holds it, of small multiples of a power of two, so that sums of it are exact."""
    drawn: Floats = _WEIGHTS[_bytes(weight.tensor, int(np.prod(weight.shape))) % 8].reshape(weight.shape)
    return drawn


def dyadic(weights: Sequence[Weight]) -> dict[str, Floats]:
    """For each tensor of a model: `dyadic_weight` for weights, zeros for what is added to their products."""
    drawn = {}
    for weight in weights:
        values = dyadic_weight(weight)
        drawn[weight.tensor] = np.ascontiguousarray(values.T) if weight.transposed else values
        if weight.bias is not None:
            drawn[weight.bias] = np.zeros(weight.outputs, np.float32)
    return drawn


def ties(layer: Layer, time_steps: int) -> Floats:
    """Currents [T, 2, ...] of a layer's rank, from which its neurons often come to their threshold itself.

    Multiples of half the threshold make ties that real data hardly ever does, and tell >= from > and every reset apart;
    the nearest numbers above and below them tell constants apart that differ in their last bits. Two windows at once
    show a membrane that is kept from one to the next.
    """
    neuron = layer.neuron
    shape = (time_steps, 2, _DRAWN_NEURONS) + (1,) * (len(layer.shape) - 1)
    random = np.random.default_rng(0)
    ties = (random.integers(-4, 9, shape) * (neuron.threshold / (2 * neuron.gain))).astype(np.float32)
    current = np.nextafter(ties, random.choice([-np.inf, 0, np.inf], shape).astype(np.float32))
    chosen: Floats = np.where(random.integers(0, 2, shape) == 0, ties, current)
    return chosen


def currents(layer: Layer, time_steps: int) -> Floats:
    """Currents of the same shape from which membranes come everywhere, so that constants can be told by their value."""
    shape = (time_steps, 2, _DRAWN_NEURONS) + (1,) * (len(layer.shape) - 1)
    drawn = np.random.default_rng(1).uniform(-1.0, 4.0, shape) * (layer.neuron.threshold / layer.neuron.gain)
    return drawn.astype(np.float32)


def places(shape: tuple[int, ...], most: int) -> npt.NDArray[np.int64]:
    """Flat indices of at most `most` elements of a layer: its channels at corners, amid edges and at random positions.

    Args:
        shape: of the layer, channels first.
        most: how many to take.
    """
    channels, area = shape[0], int(np.prod(shape[1:]))
    if channels * area <= most:
        return np.arange(channels * area)
    sides = (1, 1, *shape[1:])
    height, width = sides[-2], sides[-1]
    rows, columns = (0, height // 2, height - 1), (0, width // 2, width - 1)
    chosen = {row * width + column for row in rows for column in columns}
    chosen |= set((_numbers("positions", max(most // channels, _MIN_POSITIONS)) % area).tolist())
    positions = np.array(sorted(chosen), np.int64)
    found = (np.arange(channels)[:, None] * area + positions).reshape(-1)
    stride = -(-len(found) // most)
    while math.gcd(stride, len(positions)) > 1:  # so that every position is seen in some channel, and every channel
        stride += 1
    return found[::stride]


def _numbers(name: str, n: int) -> npt.NDArray[np.int64]:
    return (_raw(name, n) >> np.uint64(1)).astype(np.int64)


def _bytes(name: str, n: int) -> Bytes:
    return _raw(name, -(-n // 8)).astype("<u8").view(np.uint8)[:n]


def _raw(name: str, n: int) -> npt.NDArray[np.uint64]:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.asarray(np.random.PCG64(seed).random_raw(n), np.uint64)
