"""Simulate what an event camera sees of Fashion-MNIST while it makes three saccades.

    python examples/event_fashion_mnist/simulate.py --images examples/fashion_mnist/test_1000.npz --count 500 OUT

OUT is a folder, which receives a recording an image, CLASS/NUMBER.bin (ATIS), as `tcja-deploy` reads them.

**Scene.** An image I(c, r), 28x28 grey values 0..255 on black, is seen by a sensor of 32x32 pixels. At time t the
camera's saccades have displaced it by u(t), v(t) pixels from the middle of the sensor, so that pixel (x, y) sees

    g(x, y, t) = I(x - 2 - u(t), y - 2 - v(t)),   bilinear between the image's pixels.

As in the recording of N-MNIST [1], the camera makes three saccades of 100 ms each along a triangle A -> B -> C -> A.
Within a saccade of T from P to Q it goes as smoothly as a movement can (minimum jerk [2]), s = (t - t_P) / T:

    (u, v)(t) = P + (Q - P) (10 s^3 - 15 s^4 + 6 s^5).

**Pixel.** It sees the logarithm of the intensity, flattened in the dark, where a real one loses its contrast:

    L(x, y, t) = ln(g(x, y, t) + 20).

Each pixel remembers a level M, at first L at time 0, and has thresholds of its own, theta_on and theta_off. Whenever
L >= M + theta_on it emits an ON event and M += theta_on; whenever L <= M - theta_off, an OFF event and M -= theta_off.
So, as in ESIM [3], at any time

    L(t) - L(0) = theta_on * (ON events so far) - theta_off * (OFF events so far) + rest,
    -theta_off < rest < theta_on.

L is sampled 16 times a saccade (the image moves by less than a quarter of a pixel between two samples) and taken as
linear in between; an event's time is where that line crosses the level, in whole microseconds, rounded down.

**Imperfections**, as in v2e [4]: the thresholds are drawn, theta ~ N(0.25, 0.03^2) for each pixel and polarity, and
every pixel emits noise events, of either polarity alike, as a Poisson process of 0.5 Hz. Noise leaves M as it is.

The same image, seed and number give the same events. Random numbers come from NumPy's frozen generator (NEP 19);
what else may differ between machines is the last bit of a logarithm, which seldom reaches the microseconds.

1. Orchard, Jayawant, Cohen, Thakor, "Converting static image datasets to spiking neuromorphic datasets using saccades",
   Frontiers in Neuroscience 9:437, 2015.
2. Flash, Hogan, "The coordination of arm movements: an experimentally confirmed mathematical model",
   Journal of Neuroscience 5(7), 1985.
3. Rebecq, Gehrig, Scaramuzza, "ESIM: an open event camera simulator", Conference on Robot Learning (CoRL), 2018.
4. Hu, Liu, Delbruck, "v2e: from video frames to realistic DVS events", CVPR Workshops, 2021, arXiv:2006.07722.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tcja_runtime.events import Events

Floats = npt.NDArray[np.float64]
Images = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

SIDE = 32
"""Of the sensor, in pixels."""
IMAGE = 28
CORNERS = ((-1.0, -0.75), (0.0, 0.75), (1.0, -0.75))
"""A, B and C: displacement (u, v) of the image, pixels."""
SACCADE_US = 100_000
SAMPLES = 16
"""Of the intensity, a saccade."""
DURATION_US = SACCADE_US * len(CORNERS)
DARK = 20.0
"""Grey value below which the response is rather linear than logarithmic."""
LEAST_THRESHOLD = 0.01
BATCH = 64
"""Recordings simulated at once: their arrays fit in a processor's cache."""
_TIMES = DURATION_US + 1
"""Microseconds at which there can be an event."""


class Sensor(NamedTuple):
    """What varies from camera to camera."""

    threshold: float = 0.25
    """Mean contrast threshold, natural logarithm of intensity."""
    mismatch: float = 0.03
    """Standard deviation of the thresholds."""
    noise_hz: float = 0.5
    """Noise events a pixel and second."""


def displacements(corners: Sequence[tuple[float, float]] = CORNERS) -> Floats:
    """Where the image is at each sample, (u, v) in pixels: [samples + 1, 2], back at the first corner in the end."""
    s = np.arange(1, SAMPLES + 1) / SAMPLES
    smooth = (s**3 * (10 - 15 * s + 6 * s**2))[:, None]
    ends = np.array([*corners, corners[0]])
    legs = [start + (end - start) * smooth for start, end in pairwise(ends)]
    return np.concatenate([ends[:1], *legs])


def log_intensity(images: Images, displacement: Floats) -> Floats:
    """L of images [N, 28, 28] displaced by (u, v), at most 2 pixels either way: [N, 32, 32]."""
    margin = SIDE - IMAGE + 1
    scene = np.pad(images, ((0, 0), (margin, margin), (margin, margin))).astype(np.float64)
    (left, right), (top, bottom) = (divmod(margin - (SIDE - IMAGE) / 2 - d, 1) for d in displacement)
    column, row = int(left), int(top)
    rows = scene[:, row : row + SIDE] * (1 - bottom) + scene[:, row + 1 : row + SIDE + 1] * bottom
    seen = rows[:, :, column : column + SIDE] * (1 - right) + rows[:, :, column + 1 : column + SIDE + 1] * right
    return np.asarray(np.log(seen + DARK))


def thresholds(random: np.random.RandomState, sensor: Sensor) -> Floats:
    """theta_off and theta_on of every pixel: [2, 32, 32]."""
    drawn = sensor.threshold + sensor.mismatch * random.standard_normal((2, SIDE, SIDE))
    return np.maximum(drawn, LEAST_THRESHOLD)


def simulate(
    images: Images,
    numbers: Sequence[int] | None = None,
    *,
    seed: int = 0,
    sensor: Sensor | None = None,
    corners: Sequence[tuple[float, float]] = CORNERS,
) -> Iterator[Events]:
    """Recordings of images [N, 28, 28], one after the other.

    Args:
        images: grey values.
        numbers: which recording each is, for drawing its thresholds and noise; 0, 1, ... if not given.
        seed: together with the number, what is drawn.
        sensor: its thresholds and noise; the default is what ``Sensor`` says.
        corners: of the camera's path.
    """
    sensor = sensor or Sensor()
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        chosen = range(start, start + len(batch)) if numbers is None else numbers[start : start + len(batch)]
        keys = _keys(batch, [np.random.RandomState([seed, number]) for number in chosen], sensor, corners)
        for each in np.split(keys, np.searchsorted(keys, _key(np.arange(1, len(batch)), 0, 0, 0))):
            pixel = each // 2 % (SIDE * SIDE)
            yield Events(
                t=each // (2 * SIDE * SIDE) % _TIMES,
                x=(pixel % SIDE).astype(np.uint16),
                y=(pixel // SIDE).astype(np.uint16),
                p=(each & 1).astype(np.bool_),
            )


def _key(recording: Integers | int, t: Integers | int, pixel: Integers | int, p: npt.NDArray[Any] | int) -> Integers:
    """An event as one integer, whose order is that of recording, time, pixel and polarity."""
    return np.asarray(((recording * _TIMES + t) * (SIDE * SIDE) + pixel) * 2 + p, np.int64)


def _keys(
    images: Images,
    randoms: Sequence[np.random.RandomState],
    sensor: Sensor,
    corners: Sequence[tuple[float, float]],
) -> Integers:
    """All events of a batch of recordings, sorted."""
    off, on = np.stack([thresholds(random, sensor) for random in randoms], 1).reshape(2, -1)
    found = [_noise(recording, random, sensor) for recording, random in enumerate(randoms)]
    path = displacements(corners)
    before = log_intensity(images, path[0]).ravel()
    memory = before.copy()
    for k in range(1, len(path)):
        after = log_intensity(images, path[k]).ravel()
        change = after - memory
        (active,) = np.nonzero((change >= on) | (change <= -off))
        rises = change[active] > 0
        step = np.where(rises, on[active], -off[active])
        count = (change[active] / step).astype(np.int64)
        # An entry an event: the how manieth of its pixel since the last sample, and where the line crosses its level.
        event = np.repeat(np.arange(len(active)), count)
        nth = np.arange(len(event)) - np.repeat(np.cumsum(count) - count, count) + 1
        place = active[event]
        passed = (memory[place] + nth * step[event] - before[place]) / (after[place] - before[place])
        t = ((k - 1 + passed) * (SACCADE_US / SAMPLES)).astype(np.int64)
        found.append(_key(place // (SIDE * SIDE), t, place % (SIDE * SIDE), rises[event]))
        memory[active] += count * step
        before = after
    return np.sort(np.concatenate(found))


def _noise(recording: int, random: np.random.RandomState, sensor: Sensor) -> Integers:
    """Noise events of a recording, in no order."""
    count = random.poisson(sensor.noise_hz * SIDE * SIDE * DURATION_US / 1e6)
    t, pixel, p = (random.randint(0, end, count) for end in (DURATION_US, SIDE * SIDE, 2))
    return _key(recording, t, pixel, p)


def atis(events: Events) -> bytes:
    """A recording as the content of an ATIS .bin file, 5 bytes an event: x, y, polarity and 23 bits of time."""
    t, p = events.t, events.p.astype(np.int64)
    return np.stack([events.x, events.y, p << 7 | t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8).tobytes()


def labelled_images(path: Path, count: int | None) -> tuple[Images, Integers]:
    """The first images [N, 28, 28] of a file as subset.py writes it, and their labels [N].

    Raises:
        SystemExit: there is no such file, or it holds something else.
    """
    try:
        with np.load(path) as data:
            images, labels = data["images"], data["labels"]
    except (OSError, KeyError, ValueError) as error:
        raise SystemExit(f"{path}: not a file of images and labels ({error}); subset.py writes one") from None
    if images.dtype != np.uint8 or images.shape != (len(labels), 1, IMAGE, IMAGE):
        raise SystemExit(
            f"{path}: images are {images.dtype} {images.shape}, not uint8 (N, 1, 28, 28); subset.py writes such"
        )
    return images[:count, 0], labels[:count].astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the recordings")
    parser.add_argument("--images", type=Path, required=True, help=".npz of images and labels")
    parser.add_argument("--count", type=int, help="how many, from the first on (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of thresholds and noise (default: %(default)s)")
    args = parser.parse_args()
    images, labels = labelled_images(args.images, args.count)
    for number, (label, events) in enumerate(zip(labels, simulate(images, seed=args.seed), strict=True)):
        file = args.out / str(label) / f"{number:05}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(atis(events))
    print(f"{args.out}: {len(labels)} recordings")


if __name__ == "__main__":
    main()
