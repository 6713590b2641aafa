"""What a network takes in: its input contract, windows that meet it, and drawn ones where there are no data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

LARGEST = 2**28
"""Values of a window at most: 1 GiB."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputContract:
    """The one input of a network.

    Attributes:
        name: "frames" (event counts [N, T, P, H, W]), "images" (static images [N, C, H, W]) or "latents" (what an image
            is generated from, spikes [N, T, units]); the name of the ONNX input and of the array in a data file.
        shape: without the batch, (T, P, H, W), (C, H, W) or (T, units).
        scaling: what the values are; "counts" are event counts as integrated, "unit" are intensities in [0, 1], for
            which integer data is divided by 255, "spikes" are 0 or 1.
        split: how a recording is cut into T frames; "number" is an equal number of events each, the rest in the last
            (SpikingJelly ``split_by='number'``). None but for frames, and where it is not known.
        polarity: what index 0 and 1 of P are; None likewise.
    """

    name: Literal["frames", "images", "latents"]
    shape: tuple[int, ...]
    scaling: Literal["counts", "unit", "spikes"]
    split: Literal["number"] | None
    polarity: tuple[str, str] | None

    @classmethod
    def frames(cls, time_steps: int, height: int, width: int) -> InputContract:
        """Event counts of both polarities, as SpikingJelly integrates them: no normalisation."""
        return cls(
            name="frames",
            shape=(time_steps, 2, height, width),
            scaling="counts",
            split="number",
            polarity=("off", "on"),
        )

    @classmethod
    def images(cls, channels: int, height: int, width: int) -> InputContract:
        """Static images with values in [0, 1]."""
        return cls(name="images", shape=(channels, height, width), scaling="unit", split=None, polarity=None)

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> InputContract:
        """Of a network that is known by the shape of its windows alone: (T, P, H, W) or (C, H, W).

        Raises:
            BadInput: it is neither.
        """
        said = ",".join(map(str, shape)) or "single numbers"
        if len(shape) not in (3, 4) or min(shape) < 1:
            raise BadInput(f"windows are T,P,H,W (frames) or C,H,W (images), not {said}")
        if math.prod(shape) > LARGEST:
            raise BadInput(f"--shape {said} is too large; windows have at most {LARGEST:,} values")
        if len(shape) == 3:
            return cls.images(*shape)
        return cls(name="frames", shape=shape, scaling="counts", split=None, polarity=None)

    @classmethod
    def latents(cls, time_steps: int, units: int) -> InputContract:
        """Spikes of the latent units of a generator."""
        return cls(name="latents", shape=(time_steps, units), scaling="spikes", split=None, polarity=None)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> InputContract:
        """The inverse of `dataclasses.asdict`, from JSON too."""
        polarity = fields["polarity"]
        if fields["scaling"] not in ("counts", "unit", "spikes") or fields["name"] not in (
            "frames",
            "images",
            "latents",
        ):
            raise ValueError(f"an input is no '{fields['name']}' of '{fields['scaling']}'")
        if not all(type(size) is int and 0 < size <= LARGEST for size in fields["shape"]):
            raise ValueError(f"an input has no shape {fields['shape']}")
        return cls(**{**fields, "shape": tuple(fields["shape"]), "polarity": polarity and tuple(polarity)})

    @property
    def axes(self) -> str:
        """The axes of a batch in one word, for messages: "N, T, P, H, W"."""
        return {"frames": "N, T, P, H, W", "images": "N, C, H, W", "latents": "N, T, units"}[self.name]


class Windows(Protocol):
    """Windows that meet a contract, in memory (`Samples`) or in files (`tcja_runtime.data.Data`).

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
