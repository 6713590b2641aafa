"""What a network takes in: its input contract, windows that meet it, and drawn ones where there are no data."""

from __future__ import annotations

import dataclasses
import math
import re
from fractions import Fraction
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Split = Literal["number", "time", "duration", "duration-grid"]
LARGEST = 2**28
"""Values of a window at most: 1 GiB."""
LONGEST = 2**40
"""Microseconds of a frame or window at most: 12 days."""
FARTHEST = 2**61
"""Microseconds from 0 that no time is away, so that what is computed of times does not overflow."""
RULES = "number, time, duration:TIME or duration-grid:TIME, such as duration:50ms"
"""How recordings can be cut into frames, for messages."""
_SCALINGS = {"frames": "counts", "images": "unit", "latents": "spikes"}
_RANKS = {"frames": 4, "images": 3, "latents": 2}
_SPLITS = ("number", "time", "duration", "duration-grid")
_TIMED = ("duration", "duration-grid")
_POLARITIES = (("off", "on"), ("on", "off"))
_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000}


def microseconds(said: str) -> int | None:
    """A time such as "50ms", "1.5s" or "20000us"; None if it is none, or no whole number of 1 us to 12 days."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)(us|ms|s)", said)
    time = Fraction(found[1]) * _UNITS[found[2]] if found else Fraction(0)
    return int(time) if time.denominator == 1 and 1 <= time <= LONGEST else None


def spoken(time: int) -> str:
    """Microseconds as people say them: "50 ms", "1.5 s"."""
    unit = next(unit for unit, size in reversed(_UNITS.items()) if abs(time) >= size or size == 1)
    return f"{time / _UNITS[unit]:.6g} {unit}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputContract:
    """The one input of a network.

    Attributes:
        name: "frames" (event counts [N, T, P, H, W]), "images" (static images [N, C, H, W]) or "latents" (what an image
            is generated from, spikes [N, T, units]); the name of the ONNX input and of the array in a data file.
        shape: without the batch, (T, P, H, W), (C, H, W) or (T, units).
        scaling: what the values are; "counts" are event counts as integrated, "unit" are intensities in [0, 1], for
            which integer data is divided by 255, "spikes" are 0 or 1.
        split: how a recording is cut into frames (`tcja_runtime.data.integration`), as SpikingJelly does it: "number"
            (an equal number of events each), "time" (an equal time each), "duration" (a fixed time each, from an event
            on; its versions up to 0.0.0.0.14) or "duration-grid" (likewise, on a grid; its version 2). None but for
            frames, and where it is not known.
        polarity: what index 0 and 1 of P are: "off" (darker) and "on" (brighter), in either order; None likewise.
        duration: of a frame in microseconds, for the splits that have one.
        sensor: rows and columns that events come in, where those of frames are made from more or fewer.
        resize: how they are made from them: "bilinear", as torch's ``interpolate`` with ``antialias``.
    """

    name: Literal["frames", "images", "latents"]
    shape: tuple[int, ...]
    scaling: Literal["counts", "unit", "spikes"]
    split: Split | None
    polarity: tuple[str, str] | None
    duration: int | None = None
    sensor: tuple[int, int] | None = None
    resize: Literal["bilinear"] | None = None

    @classmethod
    def frames(
        cls, time_steps: int, height: int, width: int, *, sensor: tuple[int, int] | None = None
    ) -> InputContract:
        """Event counts of both polarities, as SpikingJelly integrates them: no normalisation.

        Args:
            time_steps: T.
            height: rows of a frame.
            width: columns of a frame.
            sensor: rows and columns that frames are resized from; None for those of the frame.
        """
        return cls(
            name="frames",
            shape=(time_steps, 2, height, width),
            scaling="counts",
            split="number",
            polarity=("off", "on"),
            sensor=sensor,
            resize=sensor and "bilinear",
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
            raise BadInput(f"`shape` {said} is too large; windows have at most {LARGEST:,} values")
        if len(shape) == 3:
            return cls.images(*shape)
        return cls(name="frames", shape=shape, scaling="counts", split=None, polarity=None)

    @classmethod
    def latents(cls, time_steps: int, units: int) -> InputContract:
        """Spikes of the latent units of a generator."""
        return cls(name="latents", shape=(time_steps, units), scaling="spikes", split=None, polarity=None)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> InputContract:
        """The inverse of `dataclasses.asdict`, from JSON too.

        Raises:
            ValueError: there is no such contract; KeyError and TypeError, too, where fields are missing or none.
        """
        pairs = {name: tuple(value) for name in ("polarity", "sensor") if (value := fields.get(name)) is not None}
        contract = cls(**{**fields, **pairs, "shape": tuple(fields["shape"])})
        contract._check()
        return contract

    def _check(self) -> None:
        if _SCALINGS.get(self.name) != self.scaling:
            raise ValueError(f"an input is no '{self.name}' of '{self.scaling}'")
        sizes = len(self.shape) == _RANKS[self.name] and all(type(n) is int and n > 0 for n in self.shape)
        if not sizes or math.prod(self.shape) > LARGEST:
            raise ValueError(f"an input has no shape {list(self.shape)}")
        if self.split not in (None, *_SPLITS) or self.polarity not in (None, *_POLARITIES):
            raise ValueError(f"frames are not cut by {self.split!r}, with polarities {self.polarity!r}")
        if self.split and (self.polarity is None or self.name != "frames" or self.shape[1] != 2):
            raise ValueError(
                f"no {self.name} {list(self.shape)} of polarities {self.polarity!r} are cut from recordings"
            )
        if (self.split in _TIMED) != (self.duration is not None):
            raise ValueError(f"frames cut by {self.split!r} have no duration {self.duration!r}")
        if self.duration is not None and not (type(self.duration) is int and 1 <= self.duration <= LONGEST):
            raise ValueError(f"a frame takes no {self.duration!r} microseconds")
        if self.resize not in (None, "bilinear") or (self.resize is None) != (self.sensor is None):
            raise ValueError(f"frames are not resized by {self.resize!r} from {self.sensor!r}")
        if self.sensor is not None and not (
            self.name == "frames"
            and len(self.sensor) == 2
            and all(type(n) is int and 0 < n <= 2**14 for n in self.sensor)
        ):
            raise ValueError(f"no {self.name} come from a sensor of {list(self.sensor)}")

    def cut_by(self, rule: str) -> InputContract:
        """The same, with recordings cut into frames by a rule: "number", "time", "duration:50ms", "duration-grid:50ms".

        Raises:
            BadInput: there is no such rule, or the network takes nothing that is cut from recordings.
        """
        split, colon, time = rule.partition(":")
        duration = microseconds(time)
        if split not in _SPLITS or bool(colon) != (split in _TIMED) or (colon and duration is None):
            raise BadInput(f"`split` {rule} must be {RULES}")
        if self.name != "frames":
            raise BadInput(
                f"`split` {rule} says how recordings become frames, the network takes {self.name}; leave it out"
            )
        if self.shape[1] != 2:
            raise BadInput(
                f"`split` {rule}: events have 2 polarities, the network takes frames of {self.shape[1]}; leave it out"
            )
        return dataclasses.replace(
            self, split=cast(Split, split), duration=duration, polarity=self.polarity or _POLARITIES[0]
        )

    @property
    def rule(self) -> str | None:
        """How recordings are cut into frames, as `cut_by` takes it; None where that is not known."""
        return f"{self.split}:{self.duration}us" if self.duration else self.split

    @property
    def pixels(self) -> tuple[int, int]:
        """Rows and columns that events come in."""
        return self.sensor or (self.shape[-2], self.shape[-1])

    @property
    def axes(self) -> str:
        """The axes of a batch in one word, for messages: "N, T, P, H, W"."""
        return {"frames": "N, T, P, H, W", "images": "N, C, H, W", "latents": "N, T, units"}[self.name]
