"""What a network takes in: its input contract, data files that must meet it, and drawn windows where there are none."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputContract:
    """The one input of a network.

    Attributes:
        name: "frames" (event counts [N, T, P, H, W]) or "images" (static images [N, C, H, W]); the name of the ONNX
            input and of the array in a data file.
        shape: without the batch, (T, P, H, W) or (C, H, W).
        scaling: what the values are; "counts" are event counts as integrated, "unit" are intensities in [0, 1], for
            which integer data is divided by 255.
        split: how a recording is cut into T frames; "number" is an equal number of events each, the rest in the last
            (SpikingJelly ``split_by='number'``). None for images.
        polarity: what index 0 and 1 of P are. None for images.
    """

    name: Literal["frames", "images"]
    shape: tuple[int, ...]
    scaling: Literal["counts", "unit"]
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
    def from_dict(cls, fields: dict[str, Any]) -> InputContract:
        """The inverse of `dataclasses.asdict`, from JSON too."""
        polarity = fields["polarity"]
        return cls(**{**fields, "shape": tuple(fields["shape"]), "polarity": polarity and tuple(polarity)})

    @property
    def axes(self) -> str:
        """The axes of a batch in one word, for messages: "N, T, P, H, W"."""
        return "N, T, P, H, W" if self.name == "frames" else "N, C, H, W"


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


def load(path: Path, contract: InputContract, classes: int) -> Samples:
    """Read data: an .npz with the array the contract names and, where known, `labels` [N]; or a folder of such files.

    Args:
        path: the file, or the folder, whose files are taken in the order of their names.
        contract: what the network takes in.
        classes: how many classes it tells apart.

    Raises:
        BadInput: a file is missing, is not such a file, or holds what the network cannot take.
    """
    if not path.is_dir():
        return _load_file(path, contract, classes)
    files = sorted(path.glob("*.npz"))
    if not files:
        raise BadInput(f"--data {path} is a folder without .npz files")
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


def _load_file(path: Path, contract: InputContract, classes: int) -> Samples:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in (contract.name, "labels") if name in archive}
            found = ", ".join(archive.files)
    except FileNotFoundError:
        raise BadInput(f"--data {path} does not exist") from None
    except PermissionError as error:
        raise BadInput(f"--data {path} cannot be read: {error.strerror}") from error
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise BadInput(f"--data {path} is not an .npz file, or a damaged one") from error
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
    if least >= 0 and (contract.scaling == "counts" or most <= 1):
        return ""
    usual = "counts are not negative" if contract.scaling == "counts" else "intensities are in [0, 1]"
    return f", values from {least:g} to {most:g} although {usual}"


def _checked_labels(labels: npt.NDArray[Any], n: int, classes: int, path: Path) -> npt.NDArray[np.int64]:
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise BadInput(f"--data {path}: 'labels' must be {n} integers, it is {labels.dtype} of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        outside = labels[(labels < 0) | (labels >= classes)][0]
        raise BadInput(f"--data {path}: label {outside} is outside the network's {classes} classes (0..{classes - 1})")
    return labels.astype(np.int64)


def draw(contract: InputContract, n: int, seed: int = 0) -> Samples:
    """Windows drawn at random, for an export without data: a bright spot that drifts over sparse noise.

    Event counts are Poisson, images are the spot's intensity; both drive a network far from silence, but no accuracy
    can be measured on them.
    """
    rng = np.random.default_rng(seed)
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
    return Samples(
        inputs=inputs.reshape((n, *contract.shape)),
        labels=None,
        source=f"drawn at random, seed {seed}",
        real=False,
    )
