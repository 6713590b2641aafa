"""Windows in memory with their labels: given by a program, or random for an export without data."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tcja_runtime.counting import counted
from tcja_runtime.data.contract import Floats, InputContract, Labels
from tcja_runtime.errors import BadInput
from tcja_runtime.files.npz import Array


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


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class GivenWindows:
    """Windows that a program gives as arrays, before the network that takes them is known.

    Attributes:
        batches: the windows, [n, ...] each. All have the same type and, but for n, the same shape.
        labels: the class indices, [N]; None if they are not known.
        source: the origin of the windows, for reports.
        file: the name of the windows for messages, where an .npz has its path.
    """

    batches: tuple[npt.NDArray[Any], ...]
    labels: npt.NDArray[Any] | None
    source: str
    file: Path = Path("`data`")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all windows, [N, ...]."""
        return (sum(map(len, self.batches)), *self.batches[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return self.batches[0].dtype

    @functools.cached_property
    def checks(self) -> tuple[tuple[int, str], ...]:
        """The size in bytes and the SHA-256 of the windows, and of the labels, in an .npz that numpy writes."""
        labels = () if self.labels is None else (_check((self.labels,), self.labels.shape),)
        return (_check(self.batches, self.shape), *labels)

    def rows(self, size: int, start: int = 0) -> Iterator[npt.NDArray[Any]]:
        """Yields the windows from number `start` on, [n, ...] with at most `size` windows at a time."""
        for batch in self.batches:
            yield from (batch[at : at + size] for at in range(start, len(batch), size))
            start = max(0, start - len(batch))


def _check(batches: tuple[npt.NDArray[Any], ...], shape: tuple[int, ...]) -> tuple[int, str]:
    """The size in bytes and the SHA-256 of the .npy that numpy writes for the batches of an array."""
    head = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(batches[0].dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, described)
    size, digest = len(head.getvalue()), hashlib.sha256(head.getvalue())
    for batch in batches:
        size += batch.nbytes
        digest.update(np.ascontiguousarray(batch).data)
    return size, digest.hexdigest()


def check_array(array: Array | GivenWindows, contract: InputContract, single: bool) -> None:
    """Check the shape and the type of an array of windows."""
    wanted = ", ".join(map(str, contract.shape))
    if not single and (array.shape[1:] != contract.shape or not array.shape):
        raise BadInput(
            f"{array.file}: '{contract.name}' has shape {array.shape}, the network takes [N, {wanted}] "
            f"({contract.axes}){contract.hint(array.shape)}"
        )
    if array.shape[0] == 0:
        raise BadInput(f"{array.file}: '{contract.name}' is empty")
    if array.dtype.kind not in "biuf":
        raise BadInput(f"{array.file}: '{contract.name}' has type {array.dtype}, it must have numbers")


def checked(rows: npt.NDArray[Any], contract: InputContract, file: Path) -> Floats:
    """The windows of an array as the network takes them: float32, scaled, and finite."""
    inputs = contract.scaled(rows)
    if not np.isfinite(inputs).all():
        raise BadInput(f"{file}: '{contract.name}' has values that are NaN, infinite or too large for float32")
    return inputs


def unusual(inputs: Floats, contract: InputContract) -> str:
    """A remark on values that are unusual for the contract; empty if no value is unusual."""
    least, most = float(inputs.min()), float(inputs.max()) + 0.0  # never -0
    usual = {
        "counts": "counts are not negative",
        "unit": "intensities are in [0, 1]",
        "real": "",  # they have no usual range
        "spikes": "spikes are 0 or 1",
    }[contract.scaling]
    if not usual:
        return ""
    if least >= 0 and (contract.scaling == "counts" or most <= 1):
        return ""
    return f", values from {least:g} to {most:g} although {usual}"


def checked_labels(labels: npt.NDArray[Any], n: int, classes: Sequence[str] | None, path: Path) -> Labels:
    """The labels of n windows as int64, checked against the classes of the network."""
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise BadInput(f"{path}: 'labels' must be {n} integers, it is {labels.dtype} of shape {labels.shape}")
    if classes is None:
        return labels.astype(np.int64)
    if not classes:
        raise BadInput(f"{path} has 'labels', but the network does not classify")
    if labels.min() < 0 or labels.max() >= len(classes):
        outside = labels[(labels < 0) | (labels >= len(classes))][0]
        raise BadInput(
            f"{path}: label {outside} is outside the network's {counted(len(classes), 'class')} (0..{len(classes) - 1})"
        )
    return labels.astype(np.int64)


def random_windows(contract: InputContract, n: int, seed: int = 0) -> InMemoryWindows:
    """Random windows for an export without data: a bright spot that drifts over sparse noise, or waves.

    Event counts are Poisson distributed; images are the intensity of the spot. Features are a wave over time in each
    channel, with noise; their mean is about 0 and their standard deviation about 1, as of normalised features. All of
    them make a network fire, but they do not measure its accuracy. For a generator, each latent unit fires at random
    with its own rate.

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
    if contract.scaling == "real":
        return _random(_waves(contract, n, rng), seed)
    steps = contract.steps or 1
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


def _waves(contract: InputContract, n: int, rng: np.random.Generator) -> Floats:
    """A wave over time in each channel of features, [N, *contract.shape], with noise."""
    steps, channels, length = (*contract.shape, 1)[:3]
    cycles = rng.uniform(0.5, 4.0, (n, 1, channels, 1))
    phase = rng.uniform(0.0, 2 * np.pi, (n, 1, channels, 1)) + np.linspace(0.0, 2 * np.pi, length)
    moment = np.arange(steps)[:, None, None] / steps
    waves = np.sin(2 * np.pi * cycles * moment + phase) + rng.normal(0.0, 0.7, (n, steps, channels, length))
    return waves.reshape(n, *contract.shape).astype(np.float32)


def _random(inputs: Floats, seed: int) -> InMemoryWindows:
    """Random windows, with the seed in their source."""
    return InMemoryWindows(inputs=inputs, labels=None, source=f"drawn at random, seed {seed}", real=False)
