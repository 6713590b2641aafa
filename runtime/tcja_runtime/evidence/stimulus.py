"""The random and the exact stimulus: inputs and spikes that use every weight, and weights whose sums have no rounding.

Real windows leave many weights unused. Where many spikes meet in one sum, its rounding bound hides a small change of
one weight. So each layer is also fed random spikes, of which few meet: at each time step of each window, one group of
channels fires at random places, and no other channel fires. Each group fires again in every round. In every second
round it fires where it did not fire in the round before, so that every neuron fires.

Everything is made of the raw bits of PCG64, seeded by a name. These bits are the same on every machine and in every
version of numpy (NEP 19), so a board makes the same stimuli as the workstation.
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

RANDOM, EXACT = "drawn", "dyadic"
"""The scenes: the random stimulus, with the network's own weights, and the exact stimulus, with random weights."""

STIMULUS_PLACES = 2048
WINDOW_PLACES = 512
"""The number of elements of a signal that are witnesses in a window, of a stimulus and of data."""

ROUNDS = 4
_WEIGHTS = np.array([-2, -1, -1, 0, 1, 1, 2, 3], np.float32) * np.float32(1 / 8)
_VALUES: dict[str, Floats] = {
    "counts": np.array([0, 0, 0, 0, 1, 1, 2, 3], np.float32),
    "unit": np.array([0, 0, 1, 1, 2, 3, 4, 4], np.float32) * np.float32(1 / 4),
}
_MIN_WINDOWS, _MAX_WINDOWS = 2, 8
_ELEMENTS = 2**25
_MIN_POSITIONS = 8
_RANDOM_NEURONS = 4096


def windows(shapes: Sequence[tuple[int, ...]], time_steps: int) -> int:
    """The number of windows of the random stimulus, from 2 to 8: fewer for a larger network.

    Args:
        shapes: the shapes of the spiking layers.
        time_steps: T.
    """
    elements = time_steps * sum(int(np.prod(shape)) for shape in shapes)
    return int(np.clip(_ELEMENTS // elements, _MIN_WINDOWS, _MAX_WINDOWS))


def spikes(name: str, shape: tuple[int, ...], time_steps: int, n: int) -> Spikes:
    """The spikes of a layer in both stimuli, [T, N, *shape].

    Args:
        name: the name of the layer, the seed.
        shape: the shape of the layer, channels first.
        time_steps: T.
        n: N, the number of windows.
    """
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
    """The inputs of both stimuli, float32 [N, *contract.shape]: multiples of 1/4, whose sums have no rounding."""
    if contract.scaling == "spikes":
        drawn = spikes(contract.name, contract.shape[1:], contract.shape[0], n)
        return drawn.swapaxes(0, 1).astype(np.float32)
    shape = (n, *contract.shape)
    chosen: Floats = _VALUES[contract.scaling][_bytes(contract.name, int(np.prod(shape))) % 8].reshape(shape)
    return chosen


def exact_weight(weight: Weight) -> Floats:
    """A random weight in the shape that PyTorch has it: multiples of 1/8, whose sums have no rounding."""
    drawn: Floats = _WEIGHTS[_bytes(weight.tensor, int(np.prod(weight.shape))) % 8].reshape(weight.shape)
    return drawn


def exact_weights(weights: Sequence[Weight]) -> dict[str, Floats]:
    """The weights of the exact stimulus, by tensor of the models: `exact_weight` for weights, and zeros for biases."""
    drawn = {}
    for weight in weights:
        values = exact_weight(weight)
        drawn[weight.tensor] = np.ascontiguousarray(values.T) if weight.transposed else values
        if weight.bias is not None:
            drawn[weight.bias] = np.zeros(weight.outputs, np.float32)
    return drawn


def ties(layer: Layer, time_steps: int) -> Floats:
    """Random currents that often bring the membranes of a layer exactly to their threshold.

    Multiples of half the threshold make such ties, which real data hardly ever does. They tell >= from >, and every
    reset from the others. The nearest numbers above and below them tell constants apart that differ in the last bit.
    Two windows show membranes that are not reset between windows.

    Args:
        layer: the layer.
        time_steps: T.

    Returns:
        float32 [T, 2, ...], of the rank of the layer's currents.
    """
    neuron = layer.neuron
    shape = (time_steps, 2, _RANDOM_NEURONS) + (1,) * (len(layer.shape) - 1)
    random = np.random.default_rng(0)
    ties = (random.integers(-4, 9, shape) * (neuron.threshold / (2 * neuron.gain))).astype(np.float32)
    current = np.nextafter(ties, random.choice([-np.inf, 0, np.inf], shape).astype(np.float32))
    chosen: Floats = np.where(random.integers(0, 2, shape) == 0, ties, current)
    return chosen


def currents(layer: Layer, time_steps: int) -> Floats:
    """Random currents of the same shape that spread the membranes, from which constants can be estimated."""
    shape = (time_steps, 2, _RANDOM_NEURONS) + (1,) * (len(layer.shape) - 1)
    drawn = np.random.default_rng(1).uniform(-1.0, 4.0, shape) * (layer.neuron.threshold / layer.neuron.gain)
    return drawn.astype(np.float32)


def places(shape: tuple[int, ...], most: int) -> npt.NDArray[np.int64]:
    """The flat indices of a sample of a layer's elements: at corners, in the middle of edges, and at random positions.

    Args:
        shape: the shape of the layer, channels first.
        most: the largest number of elements to take. If the layer has no more, all are taken.
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
    while math.gcd(stride, len(positions)) > 1:  # so that every position and every channel is taken
        stride += 1
    return found[::stride]


def _numbers(name: str, n: int) -> npt.NDArray[np.int64]:
    return (_raw(name, n) >> np.uint64(1)).astype(np.int64)


def _bytes(name: str, n: int) -> Bytes:
    return _raw(name, -(-n // 8)).astype("<u8").view(np.uint8)[:n]


def _raw(name: str, n: int) -> npt.NDArray[np.uint64]:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.asarray(np.random.PCG64(seed).random_raw(n), np.uint64)
