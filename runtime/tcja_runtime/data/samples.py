"""Windows in memory, with their labels, and windows that are drawn at random."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from tcja_runtime.data.contract import Floats, InputContract, Labels


class Windows(Protocol):
    """Windows that meet a contract, in memory (`Samples`) or in files (`tcja_runtime.data.dataset.Data`).

    Attributes:
        labels: class indices int64 [N], where known.
        source: where they come from, for reports.
        real: whether they are data; False for drawn windows.
        digest: tells these data from others; empty for windows that cannot be met again.
        stamp: tells whether their files were written since.
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
        """The first n of them, or all."""
        ...

    def batches(self, size: int, start: int = 0) -> Iterator[Floats]:
        """Those from `start` on, float32 [size, ...] at a time and fewer at the end."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """Windows in memory.

    Attributes:
        inputs: float32 [N, *contract.shape].
        labels: class indices int64 [N], where known.
        source: where they come from, for reports.
        real: whether they are data; False for drawn windows.
    """

    inputs: Floats
    labels: Labels | None
    source: str
    real: bool

    digest = stamp = ""

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int, start: int = 0) -> Iterator[Floats]:
        """Those from `start` on, [size, ...] at a time and fewer at the end."""
        for at in range(start, len(self), size):
            yield self.inputs[at : at + size]

    def first(self, n: int) -> Samples:
        """The first n of them, or all."""
        labels = None if self.labels is None else self.labels[:n]
        return dataclasses.replace(self, inputs=self.inputs[:n], labels=labels)


def draw(contract: InputContract, n: int, seed: int = 0) -> Samples:
    """Windows drawn at random, for an export without data: a bright spot that drifts over sparse noise.

    Event counts are Poisson, images are the spot's intensity; both drive a network far from silence, but no accuracy
    can be measured on them. Latent units fire at random, each at a rate of its own.
    """
    rng = np.random.default_rng(seed)
    if contract.scaling == "spikes":
        rates = rng.uniform(0.0, 0.6, (n, 1, contract.shape[-1]))
        spikes = (rng.uniform(size=(n, *contract.shape)) < rates).astype(np.float32)
        return _drawn(spikes, seed)
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
    return _drawn(inputs.reshape((n, *contract.shape)), seed)


def _drawn(inputs: Floats, seed: int) -> Samples:
    return Samples(inputs=inputs, labels=None, source=f"drawn at random, seed {seed}", real=False)
