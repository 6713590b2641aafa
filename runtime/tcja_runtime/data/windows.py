"""Windows in memory with their labels, and random windows for an export without data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from tcja_runtime.data.contract import Floats, InputContract, Labels


class Windows(Protocol):
    """Windows that fit an input contract, in memory (`InMemoryWindows`) or in files (`tcja_runtime.data.dataset.Data`).

    Attributes:
        labels: the class indices, int64 [N]; None if they are not known.
        source: the origin of the windows, for reports.
        real: whether the windows are data; False for random windows.
        digest: a hash of the content, the same for the same windows; empty for windows in memory.
        stamp: a text with the names of the files and the times when they were written; empty for windows in memory.
    """

    @property
    def labels(self) -> Labels | None: ...
    @property
    def source(self) -> str: ...
    @property
    def real(self) -> bool: ...
    @property
    def digest(self) -> str: ...
    @property
    def stamp(self) -> str: ...
    def __len__(self) -> int: ...

    def first(self, n: int) -> Windows:
        """The first n windows; all of them if there are fewer."""
        ...

    def batches(self, size: int, start: int = 0) -> Iterator[Floats]:
        """Yields the windows from number `start` on, in batches float32 [size, ...]; the last batch may be smaller."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class InMemoryWindows:
    """Windows in memory.

    Attributes:
        inputs: the windows, float32 [N, *contract.shape].
        labels: the class indices, int64 [N]; None if they are not known.
        source: the origin of the windows, for reports.
        real: whether the windows are data; False for random windows.
    """

    inputs: Floats
    labels: Labels | None
    source: str
    real: bool

    digest = stamp = ""

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int, start: int = 0) -> Iterator[Floats]:
        """Yields the windows from number `start` on, in batches [size, ...]; the last batch may be smaller."""
        for at in range(start, len(self), size):
            yield self.inputs[at : at + size]

    def first(self, n: int) -> InMemoryWindows:
        """The first n windows; all of them if there are fewer."""
        labels = None if self.labels is None else self.labels[:n]
        return dataclasses.replace(self, inputs=self.inputs[:n], labels=labels)


def random_windows(contract: InputContract, n: int, seed: int = 0) -> InMemoryWindows:
    """Random windows for an export without data: a bright spot that drifts over sparse noise.

    Event counts are Poisson distributed; images are the intensity of the spot. Both make a network fire, but they do
    not measure its accuracy. For a generator, each latent unit fires at random with its own rate.

    Args:
        contract: the input contract of the network.
        n: the number of windows.
        seed: the seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    if contract.scaling == "spikes":
        rates = rng.uniform(0.0, 0.6, (n, 1, contract.shape[-1]))
        spikes = (rng.uniform(size=(n, *contract.shape)) < rates).astype(np.float32)
        return _random(spikes, seed)
    steps = contract.shape[0] if contract.name == "frames" else 1
    channels, height, width = contract.shape[-3:]
    row = np.arange(height)[:, None] / height
    column = np.arange(width)[None, :] / width
    inputs = np.empty((n, steps, channels, height, width), np.float32)
    for window in inputs:
        y, x = rng.uniform(0.3, 0.7, 2)
        dy, dx = rng.uniform(-0.3, 0.3, 2) / steps
        for t, frame in enumerate(window):
            spot = np.exp(-((row - y - dy * t) ** 2 + (column - x - dx * t) ** 2) / 0.02)
            if contract.scaling == "counts":
                frame[:] = rng.poisson(0.02 + 2.0 * spot, frame.shape)
            else:
                frame[:] = np.clip(spot + rng.uniform(0.0, 0.1, frame.shape), 0.0, 1.0)
    return _random(inputs.reshape((n, *contract.shape)), seed)


def _random(inputs: Floats, seed: int) -> InMemoryWindows:
    """Random windows, with the seed in their source."""
    return InMemoryWindows(inputs=inputs, labels=None, source=f"drawn at random, seed {seed}", real=False)
