"""The random and the exact stimulus: inputs and spikes that use every weight, and weights whose sums have no rounding.

Real windows leave many weights unused. And if many spikes are added in one sum, a small change of one weight is below
the rounding bound of the sum. So each layer is also fed random spikes, few of which are added in one sum: at each time
step of each window, one group of channels fires at random places, and no other channel fires. Each group fires once in
every round. In every second round it fires where it did not fire in the round before, so that every neuron fires.

All random numbers are made from the raw bits of PCG64, with the hash of a name as the seed. These bits are the same on
every machine and in every version of numpy (NEP 19), so a board makes the same stimuli as the workstation.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcja_runtime.bundle.network_signature import Layer, Weight
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.evidence.trace import Spikes

Bytes = npt.NDArray[np.uint8]
Raw = npt.NDArray[np.uint64]

RANDOM, EXACT = "drawn", "dyadic"
"""The names of the stimuli: the random stimulus has the network's own weights, the exact stimulus random weights."""

STIMULUS_PLACES = 2048
WINDOW_PLACES = 512
"""The number of elements of a signal that the reference records (`Witnesses`) in a window of a stimulus and of data.

They are for windows of up to 20 time steps; of a longer window, fewer elements are recorded (`most_places`).
"""
_PLACES_STEPS, _LEAST_PLACES = 20, 64

ROUNDS = 4
_WEIGHTS = np.array([-2, -1, -1, 0, 1, 1, 2, 3], np.float32) * np.float32(1 / 8)
_VALUES: dict[str, Floats] = {
    "counts": np.array([0, 0, 0, 0, 1, 1, 2, 3], np.float32),
    "unit": np.array([0, 0, 1, 1, 2, 3, 4, 4], np.float32) * np.float32(1 / 4),
    "real": np.array([-3, -2, -1, 0, 0, 1, 2, 4], np.float32) * np.float32(1 / 4),
}
_MIN_WINDOWS, _MAX_WINDOWS = 2, 8
_MIN_FRAMES, _MOST_GROUPS = 160, 64
_ELEMENTS = 2**25
_MIN_POSITIONS = 8
_RANDOM_NEURONS = 4096


def windows(shapes: Sequence[tuple[int, ...]], time_steps: int) -> int:
    """Returns the number of windows of the random stimulus, from 2 to 8.

    They are fewer for a larger network, and for longer windows, a few of which have frames for ROUNDS rounds of groups.

    Args:
        shapes: the shapes of the spiking layers, channels first.
        time_steps: T.
    """
    elements = time_steps * sum(int(np.prod(shape)) for shape in shapes)
    frames = max(_MIN_FRAMES, ROUNDS * min(_MOST_GROUPS, max(shape[0] for shape in shapes)))
    most = min(_ELEMENTS // elements, -(-frames // time_steps))
    return int(np.clip(most, _MIN_WINDOWS, _MAX_WINDOWS))


def spikes(name: str, shape: tuple[int, ...], time_steps: int, n: int) -> Spikes:
    """Returns the spikes that a layer is given in both stimuli, bool [T, N, *shape].

    Args:
        name: the name of the layer, which is the seed of the random numbers.
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
    """Returns the inputs of both stimuli, float32 [N, *contract.shape]: multiples of 1/4, whose sums are exact."""
    if contract.scaling == "spikes":
        drawn = spikes(contract.name, contract.shape[1:], contract.shape[0], n)
        return drawn.swapaxes(0, 1).astype(np.float32)
    shape = (n, *contract.shape)
    chosen: Floats = _VALUES[contract.scaling][_bytes(contract.name, int(np.prod(shape))) % 8].reshape(shape)
    return chosen


def exact_weight(weight: Weight) -> Floats:
    """Returns a random weight of the shape `weight.shape`: multiples of 1/8, whose sums have no rounding.

    The seed of the random numbers is the name of the parameter, because a parameter has one value in all its uses.
    """
    seed, size = weight.parameter or weight.tensor, int(np.prod(weight.shape))
    drawn: Floats = _WEIGHTS[_bytes(seed, size) % 8].reshape(weight.shape)
    return drawn


def exact_weights(weights: Sequence[Weight]) -> dict[str, Floats]:
    """Returns the weights of the exact stimulus, by the name of their tensor in the ONNX models.

    A weight is `exact_weight`, transposed if the models hold its transpose. A bias is 0.
    """
    drawn = {}
    for weight in weights:
        values = exact_weight(weight)
        drawn[weight.tensor] = np.ascontiguousarray(values.T) if weight.transposed else values
        if weight.bias is not None:
            drawn[weight.bias] = np.zeros((weight.outputs, 1) if weight.left else weight.outputs, np.float32)
    return drawn


def ties(layer: Layer, time_steps: int, windows: int = 2) -> Floats:
    """Returns random currents that often bring the membranes of a layer exactly to their threshold (a tie).

    Real data hardly ever makes ties. With these currents, mistakes in the neuron of a model change its spikes:

    * Membranes h_t of multiples of half the threshold make ties, at every second step from whatever membrane the step
      before has left. They find > in place of >=, a wrong kind of reset, and wrong constants of each neuron.
    * Currents of such multiples find the same at the steps between.
    * The nearest float32 numbers above and below find constants that are wrong in the last bits.
    * Two windows find membranes that are not reset between windows.

    Args:
        layer: the layer.
        time_steps: T.
        windows: N. The currents are the same for every N; with more windows there are fewer neurons.

    Returns:
        The currents, float32 [T, N, neurons, 1, ...], with as many axes as the layer's currents. Where the constants of
        the layer's neurons are arrays, the axes are those of the layer, and N is at least `windows`.
    """
    neuron, shape = layer.neuron, _alone(layer, windows)
    random = np.random.default_rng(0)
    gain = np.where(array_of(neuron.gain) == 0, 1.0, array_of(neuron.gain))
    drawn_shape = shape if neuron.arrays else (2, _RANDOM_NEURONS, *shape[2:])
    smallest = np.finfo(np.float32).smallest_normal  # a GPU may take smaller numbers for 0
    drawn = np.empty((time_steps, *drawn_shape), np.float32)
    nothing = np.zeros(drawn_shape, np.float32)
    v, s = neuron.start(nothing), nothing
    for x in drawn:
        halves = random.integers(-4, 9, drawn_shape) / 2
        lands = random.integers(0, 2, drawn_shape) == 0
        left = np.where(lands, neuron.charged(v, nothing, s), 0.0) / gain
        ties = (halves * neuron.current_unit - left).astype(np.float32)
        beside = np.nextafter(ties, random.choice([-np.inf, 0, np.inf], drawn_shape).astype(np.float32))
        beside = np.where(np.abs(beside) < smallest, np.sign(beside) * smallest, beside)
        x[:] = np.where(random.integers(0, 2, drawn_shape) == 0, ties, beside)
        h = neuron.charge(v, x, s)
        s = neuron.fires(h).astype(np.float32)
        v = neuron.after(h, s)
    flat = drawn.reshape(time_steps, -1)[:, : math.prod(shape)]
    return np.ascontiguousarray(flat.reshape(time_steps, *shape))


def currents(layer: Layer, time_steps: int) -> Floats:
    """Returns random currents in the shape of `ties` that spread the membranes widely around the threshold.

    From the spikes for these currents, the constants of a wrong neuron can be estimated. The currents of an integrator,
    which has no threshold, are those of a threshold of 1.
    """
    shape = (time_steps, *_alone(layer, 2))
    return (np.random.default_rng(1).uniform(-1.0, 4.0, shape) * layer.neuron.current_unit).astype(np.float32)


def _alone(layer: Layer, windows: int) -> tuple[int, ...]:
    """Returns the shape [N, ...] of the neurons of a layer that are run alone: about 2 * `_RANDOM_NEURONS` of them."""
    arrays = layer.neuron.arrays.values()
    if not arrays:
        return windows, 2 * _RANDOM_NEURONS // windows, *(1,) * (len(layer.shape) - 1)
    own = np.broadcast_shapes((1,) * len(layer.shape), *(array.shape for array in arrays))
    return max(windows, 2 * _RANDOM_NEURONS // math.prod(own)), *own


def places(shape: tuple[int, ...], most: int) -> npt.NDArray[np.int64]:
    """Returns the flat indices of a sample of a layer's elements, int64 [K].

    The sample has elements at the corners, in the middle of the edges, in the centre, and at random positions.

    Args:
        shape: the shape of the layer, channels first.
        most: the largest number of elements in the sample. If the layer has no more than this, all are in it.
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


def most_places(shape: tuple[int, ...], time_steps: int, most: int) -> int:
    """Returns the largest number of elements of a signal that are recorded in a window, for `places`.

    In windows of more than 20 time steps it is smaller, so that the recorded values are not more; a place is compared
    at every step, so its weights are used more often. There are at least 64 elements; in a stimulus (`most` is
    STIMULUS_PLACES) there are also two for each channel, so that each is met, as it has weights of its own.

    Args:
        shape: the shape of the signal without time and batch, channels first.
        time_steps: T.
        most: STIMULUS_PLACES or WINDOW_PLACES.
    """
    of_channels = 2 * shape[0] if most == STIMULUS_PLACES else 0
    return min(most, max(most * _PLACES_STEPS // time_steps, of_channels, _LEAST_PLACES))


def _numbers(name: str, n: int) -> npt.NDArray[np.int64]:
    return (raw_bits(name, n) >> np.uint64(1)).astype(np.int64)


def _bytes(name: str, n: int) -> Bytes:
    return raw_bits(name, -(-n // 8)).astype("<u8").view(np.uint8)[:n]


def raw_bits(name: str, n: int) -> Raw:
    """Returns n random numbers of 64 bits; the hash of the name is the seed."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.asarray(np.random.PCG64(seed).random_raw(n), np.uint64)
