"""The input contract of a network: the axes, the scaling, and how recordings are cut into frames."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tcja_runtime import records
from tcja_runtime.choices import INPUTS, RESIZES
from tcja_runtime.data.split_rules import LONGEST, SPLITS, Split, SplitRule, parsed
from tcja_runtime.errors import BadInput, check_choice

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Resize = Literal["bilinear", "nearest", "sum"]
LARGEST = 2**28
"""The most values of a window: 1 GiB of float32."""
FARTHEST = 2**61
"""The limit of times, in microseconds: all are between -FARTHEST and FARTHEST. Their sums do not overflow int64."""
WIDEST = 2**14
"""The most rows or columns of a camera."""
_SCALINGS = {"frames": "counts", "images": "unit", "features": "real", "latents": "spikes"}
_VALUES = {
    "counts": "counts of events",
    "unit": "intensities from 0 to 1",
    "real": "real numbers, as in training",
    "spikes": "0 or 1",
}
_AXES = {
    ("frames", 4): "T, P, H, W",
    ("images", 3): "C, H, W",
    ("features", 2): "T, F",
    ("features", 3): "T, C, L",
    ("latents", 2): "T, units",
}
"""The names of the axes of a window, by the kind of input and the number of axes."""
_KINDS = {4: "frames", 3: "images", 2: "features"}
"""The kind of input that a number of axes means, unless another one is named."""
_POLARITIES = (("off", "on"), ("on", "off"))


def within(crop: tuple[int, int, int, int], sensor: tuple[int, int]) -> bool:
    """Whether a part of the picture (`InputContract.crop`) is in the picture of a camera (rows, columns)."""
    x, y, width, height = crop
    return y + height <= sensor[0] and x + width <= sensor[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputContract:
    """The input of a network. A network has one input.

    Attributes:
        name: the kind of input: "frames" (event counts [N, T, P, H, W]), "images" (static images [N, C, H, W]),
            "features" (real numbers over time: F of them at each time step [N, T, F], or C channels of length L
            [N, T, C, L]) or "latents" (spikes that an image is generated from, [N, T, units]). It is also the name of
            the ONNX input and of the array in a data file.
        shape: the shape of a window, without the batch axis: (T, P, H, W), (C, H, W), (T, F), (T, C, L) or (T, units).
        scaling: the unit of the values: "counts" (numbers of events), "unit" (intensities in [0, 1]; integer data is
            divided by 255), "real" (any numbers, taken as they are) or "spikes" (0 or 1).
        split: the rule that cuts a recording into frames, a key of `tcja_runtime.data.split_rules.SPLITS`. None if the
            input is not frames, or if the rule is not known.
        polarity: the polarities of index 0 and 1 of P, "off" (darker) and "on" (brighter) in either order; None where
            `split` is None.
        duration: the duration of a frame in microseconds, for the splits "duration", "duration-grid" and "time-window";
            else None.
        sensor: the rows and columns of the camera, if frames are made from a part of its picture or are resized. None
            if frames are as large as the camera's picture, or if `crop` is taken from cameras of any size.
        resize: how frames or images are resized, one of `tcja_runtime.choices.RESIZES`; None if they are not resized.
            Images are resized from pictures of any size, and not by "sum".
        crop: the part of the picture that frames or images are made from: its first column, its first row, its width
            and its height. None for the whole picture.
        count: the number of events of a frame, for the split "event-count"; else None.

    Raises:
        ValueError: the fields do not fit together.
    """

    name: Literal["frames", "images", "features", "latents"]
    shape: tuple[int, ...]
    scaling: Literal["counts", "unit", "real", "spikes"]
    split: Split | None
    polarity: tuple[str, str] | None
    duration: int | None = None
    sensor: tuple[int, int] | None = None
    resize: Resize | None = None
    crop: tuple[int, int, int, int] | None = None
    count: int | None = None

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
    def of(cls, shape: tuple[int, ...], kind: str | None = None) -> InputContract:
        """The contract of a network for which only the shape of a window is known, and the kind of its input.

        Args:
            shape: the shape: (T, P, H, W) of frames, whose `split` is not known; (C, H, W) of images; (T, F) or
                (T, C, L) of features.
            kind: the kind, one of `tcja_runtime.choices.INPUTS`. None: four axes are frames, three are images, and two
                are features.

        Raises:
            BadInput: the kind is unknown or has another number of axes, an axis is smaller than 1, or the window is too
                large.
        """
        text = ",".join(map(str, shape)) or "single numbers"
        if kind is not None:
            check_choice("input", kind, INPUTS)
        kinds = [name for name, axes in _AXES if axes == len(shape) and name in (kind or INPUTS)]
        if not kinds or min(shape) < 1:
            known = [
                f"{axes.replace(' ', '')} ({name})" for (name, _), axes in _AXES.items() if name in (kind or INPUTS)
            ]
            raise BadInput(
                f"`shape` must be {', '.join(known[:-1]) + ' or ' * (len(known) > 1) + known[-1]}, not {text}"
            )
        if math.prod(shape) > LARGEST:
            raise BadInput(f"`shape` {text} is too large; a window can have {LARGEST:,} values at most")
        name = kind or _KINDS[len(shape)]
        return cls(name=name, shape=shape, scaling=_SCALINGS[name], split=None, polarity=None)  # type: ignore[arg-type]

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
        sizes = (self.name, len(self.shape)) in _AXES and all(type(n) is int and n > 0 for n in self.shape)
        if not sizes or math.prod(self.shape) > LARGEST:
            raise ValueError(f"an input '{self.name}' cannot have the shape {list(self.shape)}")
        if self.split not in (None, *SPLITS) or self.polarity not in (None, *_POLARITIES):
            raise ValueError(f"frames cannot have the split {self.split!r} and the polarities {self.polarity!r}")
        if self.split and (self.polarity is None or self.name != "frames" or self.shape[1] != 2):
            raise ValueError(
                f"{self.name} {list(self.shape)} of polarities {self.polarity!r} cannot be cut from recordings"
            )
        for name, size in (("duration", self.duration), ("count", self.count)):
            if (self.split is not None and SPLITS[self.split].size == name) != (size is not None):
                raise ValueError(f"frames of the split {self.split!r} cannot have the {name} {size!r}")
            if size is not None and not (type(size) is int and 1 <= size <= LONGEST):
                unit = "microseconds" if name == "duration" else "events"
                raise ValueError(f"a frame cannot take {size!r} {unit}")
        self._check_picture()

    def _check_picture(self) -> None:
        """Raise a ValueError if frames cannot be made from the camera's picture, or images from one, in this way."""
        pictures = self.name == "images"
        if self.sensor is not None and not (self.name == "frames" and all(0 < n <= WIDEST for n in self.sensor)):
            raise ValueError(f"{self.name} cannot come from a sensor of {list(self.sensor)}")
        if self.crop is not None and not (
            self.name in ("frames", "images")
            and all(least <= n for n, least in zip(self.crop, (0, 0, 1, 1), strict=True))
            and within(self.crop, self.sensor or (WIDEST, WIDEST))
        ):
            raise ValueError(f"{self.name} cannot come from the part {list(self.crop)} of a sensor of {self.sensor}")
        resized = self.resize is not None
        methods = (None, *RESIZES[:2]) if pictures else (None, *RESIZES)
        from_any = pictures or self.crop is not None
        if self.resize not in methods or (not from_any and resized != (self.sensor is not None)):
            raise ValueError(f"{self.name} cannot be resized by {self.resize!r} from {self.sensor!r}")
        if self.crop is not None and not resized and self.area != self.shape[-2:]:
            raise ValueError(f"{self.name} {list(self.shape)} cannot be the part {list(self.crop)} of a sensor")
        if self.resize == "sum" and (self.area[0] < self.shape[-2] or self.area[1] < self.shape[-1]):
            raise ValueError(f"frames {list(self.shape)} cannot be sums of {self.area[0]} x {self.area[1]} pixels")

    def cut_by(self, rule: str) -> InputContract:
        """The same contract with another rule that cuts recordings into frames.

        Args:
            rule: the name of the rule and the size of its frames, such as "number", "duration:50ms" or
                "event-count:3000" (`tcja_runtime.data.split_rules.RULES`).

        Raises:
            BadInput: there is no such rule, or the input of the network is not frames of two polarities.
        """
        split, size = parsed(rule)
        if self.name != "frames":
            raise BadInput(
                f"`split` {rule} cuts recordings into frames, but the network takes {self.name}; leave it out"
            )
        if self.shape[1] != 2:
            raise BadInput(
                f"`split` {rule}: events have 2 polarities, but the network's frames have {self.shape[1]}; leave it out"
            )
        sizes: dict[str, Any] = {"duration": None, "count": None}
        sizes.update({SPLITS[split].size or "count": size})
        return dataclasses.replace(self, split=split, polarity=self.polarity or _POLARITIES[0], **sizes)

    def scaled(self, values: npt.NDArray[Any]) -> Floats:
        """The values of windows as the network takes them: float32, and integer intensities divided by 255.

        Args:
            values: numbers of any type, an array of any shape. If they are float32, the same array is returned.
        """
        if values.dtype == np.float32:
            return values
        with np.errstate(over="ignore"):  # values that are too large become infinite
            numbers: Floats = values.astype(np.float32)
        return numbers / np.float32(255) if self.divides(values.dtype) else numbers

    def hint(self, found: tuple[int, ...]) -> str:
        """What may be wrong with the shape of windows, for messages; empty if it is not known.

        Args:
            found: the shape of an array, of one window or of several.
        """
        wanted, last = self.shape, self.shape[-3:]
        if self.name == "features":
            return _hint_of_features(wanted, found)
        if found[-3:] == (*last[1:], last[0]) and len(found) >= 3 and found[:-3] in ((), found[:1], wanted[:-3]):
            return "; the channels are its last axis: give numpy.moveaxis(values, -1, -3)"
        if len(wanted) == 3 and wanted[0] == 1 and found[-2:] == wanted[1:]:
            return "; it has no axis of channels: give values[..., None, :, :]"
        if len(wanted) == 4 and len(found) == 5 and found[0] == wanted[0] and found[2:] == wanted[1:]:
            return "; time is its first axis: give values.swapaxes(0, 1)"
        return ""

    def divides(self, kind: np.dtype[Any]) -> bool:
        """Whether `scaled` divides values of a type by 255: integers, if the network takes intensities."""
        return self.scaling == "unit" and kind.kind in "iu"

    @property
    def values(self) -> str:
        """What the values of the input are, for people: "counts of events"."""
        return _VALUES[self.scaling]

    @property
    def rule(self) -> str | None:
        """The rule that cuts recordings into frames, as `cut_by` takes it; None if it is not known."""
        if self.count:
            return f"{self.split}:{self.count}"
        return f"{self.split}:{self.duration}us" if self.duration else self.split

    @property
    def cut(self) -> SplitRule:
        """The properties of the rule that cuts recordings into frames.

        Raises:
            BadInput: the network does not take frames, or the rule is not known.
        """
        if self.name != "frames":
            raise BadInput(f"the network takes {self.name}, not events; give it a data file (.npz)")
        if self.split is None:
            raise BadInput(
                "the rule that cuts recordings into frames is not known for this network; export it again with `split` "
                "number, or the rule of its training"
            )
        return SPLITS[self.split]

    @property
    def area(self) -> tuple[int, int]:
        """The rows and columns of the part of the camera's picture that frames are made from."""
        if self.crop is not None:
            return self.crop[3], self.crop[2]
        return self.sensor or (self.shape[-2], self.shape[-1])

    @property
    def wanted(self) -> str:
        """What the network takes, for messages: "recordings of events, or an .npz with 'frames' [N, 4, 2, 32, 32]"."""
        array = f"an .npz with '{self.name}' [N, {', '.join(map(str, self.shape))}]"
        if self.name == "images" and self.shape[0] in (1, 3):
            return f"pictures (PNG, JPEG), or {array}"
        return f"recordings of events, or {array}" if self.name == "frames" else array

    @property
    def axes(self) -> str:
        """The names of the axes of a batch, for messages: "N, T, P, H, W"."""
        return f"N, {_AXES[self.name, len(self.shape)]}"

    @property
    def step_name(self) -> str:
        """The name of one time step of the input: "frame"."""
        return "step" if self.name == "features" else self.name.removesuffix("s")

    @property
    def steps(self) -> int:
        """The number of time steps of a window, T; 0 for images, which have no time."""
        return 0 if self.name == "images" else self.shape[0]


def _hint_of_features(wanted: tuple[int, ...], found: tuple[int, ...]) -> str:
    """`InputContract.hint` for features, whose windows have the shape `wanted`."""
    if len(found) == len(wanted) + 1 and found[0] == wanted[0] and found[2:] == wanted[1:]:
        return "; time is its first axis: give values.swapaxes(0, 1)"
    if found[-len(wanted) :] == (*wanted[:-2], wanted[-1], wanted[-2]):
        return "; its last two axes are in the other order: give values.swapaxes(-1, -2)"
    return ""
