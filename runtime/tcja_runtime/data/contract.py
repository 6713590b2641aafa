"""The input contract of a network: the axes, the scaling, and how recordings are cut into frames."""

from __future__ import annotations

import dataclasses
import math
import re
from fractions import Fraction
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from tcja_runtime import records
from tcja_runtime.errors import BadInput

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Split = Literal["number", "time", "duration", "duration-grid"]
LARGEST = 2**28
"""The most values of a window: 1 GiB of float32."""
LONGEST = 2**40
"""The longest frame or window, in microseconds: 12 days."""
FARTHEST = 2**61
"""The limit of times, in microseconds: all are between -FARTHEST and FARTHEST. Their sums do not overflow int64."""
RULES = "number, time, duration:TIME or duration-grid:TIME, such as duration:50ms"
"""The rules that cut recordings into frames, for messages."""
_SCALINGS = {"frames": "counts", "images": "unit", "latents": "spikes"}
_RANKS = {"frames": 4, "images": 3, "latents": 2}
_SPLITS = ("number", "time", "duration", "duration-grid")
_TIMED = ("duration", "duration-grid")
_POLARITIES = (("off", "on"), ("on", "off"))
_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000}


def microseconds(text: str) -> int | None:
    """Returns the time in a text such as "50ms", "1.5s" or "20000us", in microseconds.

    Returns None if the text is not a time, if the time is not a whole number of microseconds, or if it is not from 1 us
    to 12 days (`LONGEST`).
    """
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)(us|ms|s)", text)
    time = Fraction(found[1]) * _UNITS[found[2]] if found else Fraction(0)
    return int(time) if time.denominator == 1 and 1 <= time <= LONGEST else None


def spoken(time: int) -> str:
    """A text for messages, such as "50 ms" or "1.5 s", from a time in microseconds."""
    unit = next(unit for unit, size in reversed(_UNITS.items()) if abs(time) >= size or size == 1)
    return f"{time / _UNITS[unit]:.6g} {unit}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputContract:
    """The input of a network. A network has one input.

    Attributes:
        name: the kind of input: "frames" (event counts [N, T, P, H, W]), "images" (static images [N, C, H, W]) or
            "latents" (spikes that an image is generated from, [N, T, units]). It is also the name of the ONNX input
            and of the array in a data file.
        shape: the shape of a window, without the batch axis: (T, P, H, W), (C, H, W) or (T, units).
        scaling: the unit of the values: "counts" (numbers of events), "unit" (intensities in [0, 1]; integer data is
            divided by 255) or "spikes" (0 or 1).
        split: the rule that cuts a recording into frames, as in SpikingJelly (`tcja_runtime.data.integration`):
            "number" (each frame has the same number of events), "time" (each frame has the same part of the
            recording's time), "duration" (each frame has a fixed duration and begins with an event; SpikingJelly up to
            0.0.0.0.14) or "duration-grid" (each frame has a fixed duration and begins where the frame before it ends;
            SpikingJelly 2). None if the input is not frames, or if the rule is not known.
        polarity: the polarities of index 0 and 1 of P, "off" (darker) and "on" (brighter) in either order; None where
            `split` is None.
        duration: the duration of a frame in microseconds, for the splits "duration" and "duration-grid"; else None.
        sensor: the rows and columns of the camera, if frames are resized to `shape`; None if frames are as large as
            the sensor.
        resize: how frames are resized: "bilinear", as torch's ``interpolate`` with ``antialias``; None if they are not
            resized.

    Raises:
        ValueError: the fields do not fit together.
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
        """The contract of frames as SpikingJelly integrates them: event counts of both polarities, not normalised.

        Args:
            time_steps: the number of frames in a window, T.
            height: the number of rows of a frame.
            width: the number of columns of a frame.
            sensor: the rows and columns that frames are resized from; None if they are not resized.
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
        """The contract of static images with values in [0, 1]."""
        return cls(name="images", shape=(channels, height, width), scaling="unit", split=None, polarity=None)

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> InputContract:
        """The contract of a network for which only the shape of a window is known: (T, P, H, W) or (C, H, W).

        Four axes are frames (event counts), whose `split` is not known. Three axes are images.

        Raises:
            BadInput: the shape has another number of axes, an axis is smaller than 1, or the window is too large.
        """
        text = ",".join(map(str, shape)) or "single numbers"
        if len(shape) not in (3, 4) or min(shape) < 1:
            raise BadInput(f"`shape` must be T,P,H,W (frames) or C,H,W (images), not {text}")
        if math.prod(shape) > LARGEST:
            raise BadInput(f"`shape` {text} is too large; a window can have {LARGEST:,} values at most")
        if len(shape) == 3:
            return cls.images(*shape)
        return cls(name="frames", shape=shape, scaling="counts", split=None, polarity=None)

    @classmethod
    def latents(cls, time_steps: int, units: int) -> InputContract:
        """The contract of a generator: spikes of its latent units."""
        return cls(name="latents", shape=(time_steps, units), scaling="spikes", split=None, polarity=None)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> InputContract:
        """The contract whose fields `dataclasses.asdict` returned. Its tuples may be lists, as after reading JSON.

        Raises:
            ValueError: a field is missing, unknown or wrong, or the fields do not fit together.
        """
        return records.read(cls, fields)

    def __post_init__(self) -> None:
        if _SCALINGS.get(self.name) != self.scaling:
            raise ValueError(f"an input '{self.name}' cannot have the scaling '{self.scaling}'")
        sizes = len(self.shape) == _RANKS[self.name] and all(type(n) is int and n > 0 for n in self.shape)
        if not sizes or math.prod(self.shape) > LARGEST:
            raise ValueError(f"an input '{self.name}' cannot have the shape {list(self.shape)}")
        if self.split not in (None, *_SPLITS) or self.polarity not in (None, *_POLARITIES):
            raise ValueError(f"frames cannot have the split {self.split!r} and the polarities {self.polarity!r}")
        if self.split and (self.polarity is None or self.name != "frames" or self.shape[1] != 2):
            raise ValueError(
                f"{self.name} {list(self.shape)} of polarities {self.polarity!r} cannot be cut from recordings"
            )
        if (self.split in _TIMED) != (self.duration is not None):
            raise ValueError(f"frames of the split {self.split!r} cannot have the duration {self.duration!r}")
        if self.duration is not None and not (type(self.duration) is int and 1 <= self.duration <= LONGEST):
            raise ValueError(f"a frame cannot take {self.duration!r} microseconds")
        if self.resize not in (None, "bilinear") or (self.resize is None) != (self.sensor is None):
            raise ValueError(f"frames cannot be resized by {self.resize!r} from {self.sensor!r}")
        if self.sensor is not None and not (
            self.name == "frames"
            and len(self.sensor) == 2
            and all(type(n) is int and 0 < n <= 2**14 for n in self.sensor)
        ):
            raise ValueError(f"{self.name} cannot come from a sensor of {list(self.sensor)}")

    def cut_by(self, rule: str) -> InputContract:
        """The same contract with another rule that cuts recordings into frames.

        Args:
            rule: "number", "time", "duration:TIME" or "duration-grid:TIME", such as "duration:50ms".

        Raises:
            BadInput: there is no such rule, or the input of the network is not frames of two polarities.
        """
        split, colon, time = rule.partition(":")
        duration = microseconds(time)
        if split not in _SPLITS or bool(colon) != (split in _TIMED) or (colon and duration is None):
            raise BadInput(f"`split` {rule} must be {RULES}")
        if self.name != "frames":
            raise BadInput(
                f"`split` {rule} cuts recordings into frames, but the network takes {self.name}; leave it out"
            )
        if self.shape[1] != 2:
            raise BadInput(
                f"`split` {rule}: events have 2 polarities, but the network's frames have {self.shape[1]}; leave it out"
            )
        return dataclasses.replace(
            self, split=cast(Split, split), duration=duration, polarity=self.polarity or _POLARITIES[0]
        )

    @property
    def rule(self) -> str | None:
        """The rule that cuts recordings into frames, as `cut_by` takes it; None if it is not known."""
        return f"{self.split}:{self.duration}us" if self.duration else self.split

    @property
    def pixels(self) -> tuple[int, int]:
        """The rows and columns of the camera whose events the network takes."""
        return self.sensor or (self.shape[-2], self.shape[-1])

    @property
    def axes(self) -> str:
        """The names of the axes of a batch, for messages: "N, T, P, H, W"."""
        return {"frames": "N, T, P, H, W", "images": "N, C, H, W", "latents": "N, T, units"}[self.name]
