"""What a network takes in: its input contract, data files that must meet it, and drawn windows where there are none."""

from __future__ import annotations

import dataclasses
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput

Floats = npt.NDArray[np.float32]

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
        return cls(**{**fields, "shape": tuple(fields["shape"]), "polarity": polarity and tuple(polarity)})

    @property
    def axes(self) -> str:
        """The axes of a batch in one word, for messages: "N, T, P, H, W"."""
        return {"frames": "N, T, P, H, W", "images": "N, C, H, W", "latents": "N, T, units"}[self.name]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """Inputs that meet a contract.

    Attributes:
        inputs: float32 [N, *contract.shape].
        labels: class indices int64 [N], where known.
        source: where they come from, for reports.
        real: whether they are data; False for drawn windows.
    """

    inputs: Floats
    labels: npt.NDArray[np.int64] | None
    source: str
    real: bool

    def __len__(self) -> int:
        return len(self.inputs)

    def first(self, n: int) -> Samples:
        """The first n of them."""
        labels = None if self.labels is None else self.labels[:n]
        return dataclasses.replace(self, inputs=self.inputs[:n], labels=labels)


def shape_of(path: Path | None) -> tuple[int, ...]:
    """Shape of the windows in a data file, or in the first of a folder.

    Raises:
        BadInput: there is no data, or none that says it.
    """
    if path is None:
        raise BadInput("the shape of the network's windows is not known; say it with --shape, or give --data")
    file = _files(path)[0] if path.is_dir() else path
    arrays, found = _arrays(file, ("frames", "images"))
    if not arrays:
        raise BadInput(f"--data {file} has neither 'frames' nor 'images' (it has: {found or 'nothing'})")
    name, array = next(iter(arrays.items()))
    rank, axes = {"frames": (5, "N, T, P, H, W"), "images": (4, "N, C, H, W")}[name]
    if array.ndim != rank:
        raise BadInput(f"--data {file}: '{name}' has shape {array.shape}, it should be [{axes}]")
    return array.shape[1:]


def load(path: Path, contract: InputContract, classes: int | None) -> Samples:
    """Read data: an .npz with the array the contract names and, where known, `labels` [N]; or a folder of such files.

    Args:
        path: the file, or the folder, whose files are taken in the order of their names.
        contract: what the network takes in.
        classes: how many classes it tells apart; None if that is not known yet.

    Raises:
        BadInput: a file is missing, is not such a file, or holds what the network cannot take.
    """
    if not path.is_dir():
        return _load_file(path, contract, classes)
    files = _files(path)
    parts = [_load_file(file, contract, classes) for file in files]
    labels = [part.labels for part in parts if part.labels is not None]
    if labels and len(labels) != len(parts):
        raise BadInput(f"--data {path}: some of its files have 'labels' and some have not")
    inputs = np.concatenate([part.inputs for part in parts])
    return Samples(
        inputs=inputs,
        labels=np.concatenate(labels) if labels else None,
        source=f"{path.name}/ ({len(files)} files)" + _remark(inputs, contract),
        real=True,
    )


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise BadInput(f"--data {folder} is a folder without .npz files")
    return files


def _arrays(path: Path, names: Sequence[str]) -> tuple[dict[str, npt.NDArray[Any]], str]:
    """Those of the named arrays that a file has, and the names of all that it has."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive}, ", ".join(archive.files)
    except FileNotFoundError:
        raise BadInput(f"--data {path} does not exist") from None
    except PermissionError as error:
        raise BadInput(f"--data {path} cannot be read: {error.strerror}") from error
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        if "Object arrays" in str(error):
            raise BadInput(f"--data {path} holds an array of Python objects; save arrays of numbers") from error
        raise BadInput(f"--data {path} is not an .npz file, or a damaged one") from error


def _load_file(path: Path, contract: InputContract, classes: int | None) -> Samples:
    arrays, found = _arrays(path, (contract.name, "labels"))
    if contract.name not in arrays:
        raise BadInput(f"--data {path} has no array '{contract.name}' (it has: {found or 'nothing'})")
    inputs = _checked_inputs(arrays[contract.name], contract, path)
    labels = arrays.get("labels")
    if labels is not None:
        labels = _checked_labels(labels, len(inputs), classes, path)
    return Samples(inputs=inputs, labels=labels, source=path.name + _remark(inputs, contract), real=True)


def _checked_inputs(array: npt.NDArray[Any], contract: InputContract, path: Path) -> Floats:
    wanted = ", ".join(map(str, contract.shape))
    if array.ndim != len(contract.shape) + 1 or array.shape[1:] != contract.shape:
        raise BadInput(
            f"--data {path}: '{contract.name}' has shape {array.shape}, the network takes [N, {wanted}] "
            f"({contract.axes})"
        )
    if len(array) == 0:
        raise BadInput(f"--data {path}: '{contract.name}' is empty")
    if array.dtype.kind not in "biuf":
        raise BadInput(f"--data {path}: '{contract.name}' has type {array.dtype}, numbers are needed")
    with np.errstate(over="ignore"):
        inputs = array.astype(np.float32)
    if contract.scaling == "unit" and array.dtype.kind in "iu":
        inputs /= np.float32(255)
    if not np.isfinite(inputs).all():
        raise BadInput(f"--data {path}: '{contract.name}' holds values that are NaN, infinite or too large for float32")
    return inputs


def _remark(inputs: Floats, contract: InputContract) -> str:
    """What a reader should know of values that are unusual for the contract; empty if they are not."""
    least, most = float(inputs.min()), float(inputs.max())
    usual = {
        "counts": "counts are not negative",
        "unit": "intensities are in [0, 1]",
        "spikes": "spikes are 0 or 1",
    }[contract.scaling]
    if least >= 0 and (contract.scaling == "counts" or most <= 1):
        return ""
    return f", values from {least:g} to {most:g} although {usual}"


def _checked_labels(labels: npt.NDArray[Any], n: int, classes: int | None, path: Path) -> npt.NDArray[np.int64]:
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise BadInput(f"--data {path}: 'labels' must be {n} integers, it is {labels.dtype} of shape {labels.shape}")
    if classes is None:
        return labels.astype(np.int64)
    if classes == 0:
        raise BadInput(f"--data {path} has 'labels', but the network does not classify")
    if labels.min() < 0 or labels.max() >= classes:
        outside = labels[(labels < 0) | (labels >= classes)][0]
        raise BadInput(f"--data {path}: label {outside} is outside the network's {classes} classes (0..{classes - 1})")
    return labels.astype(np.int64)


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
