"""The input of a user's own network: what it takes, as the options and the data say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tcja_deploy.export.request import ExportRequest
from tcja_runtime.choices import INPUTS
from tcja_runtime.data import class_folders
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.images import decoding, picture_files
from tcja_runtime.data.windows import GivenWindows
from tcja_runtime.errors import BadInput
from tcja_runtime.events import ReadOptions, recording
from tcja_runtime.events.formats.arrays import numpy_files
from tcja_runtime.files import kinds, npz
from tcja_runtime.files.npz import Array

_AXES = {"frames": "[N, T, P, H, W]", "images": "[N, C, H, W]", "features": "[N, T, F] or [N, T, C, L]"}
_RANKS = {"frames": (5,), "images": (4,), "features": (3, 4)}


def contract_of(request: ExportRequest, *, timed: bool = False) -> InputContract:
    """Return the contract of the windows that `model`, or a NIR graph, takes.

    The kind of the input is `input`; without it, the name of the array in `data`; without data, the number of axes. The
    shape is `shape`; without it, that of the windows in `data`.

    Args:
        request: the request.
        timed: whether the network takes time steps only, as a NIR graph does: three axes are then features.

    Raises:
        BadInput: the shape is not known, or the kind and the shape do not fit together; or the data is no file of
            windows; or the input is images where time steps are wanted.
        Unavailable: the data is a picture, and Pillow is missing or too old.
    """
    contract = _told(request, "features" if timed else None)
    if timed and contract.name == "images":
        raise BadInput(f"{request.checkpoint} is a NIR graph, which takes time steps, and images have none")
    return contract


def _told(request: ExportRequest, of_three: str | None) -> InputContract:
    """`contract_of`; three axes are of the kind `of_three` if nothing else tells the kind."""
    data = request.data
    if request.shape is not None:
        found = _arrays(data) if isinstance(data, Path) else None
        kind = request.input or next(iter(_windows_in(found or {})), None)
        return InputContract.of(request.shape, kind or (of_three if len(request.shape) == 3 else None))
    if data is None:
        raise BadInput("the shape of the network's windows is not known; give `shape` or `data`")
    if isinstance(data, GivenWindows):
        return _of_given(data, request.input or (of_three if len(data.shape) == 4 else None))
    return _of_file(data, request.input)


def camera_of(data: Path | GivenWindows | None, reading: ReadOptions | None = None) -> tuple[int, int] | None:
    """Return the rows and columns of the camera of a recording, or of the first data file of a folder.

    It is None without data, if the data has windows, or if the recording does not store the size of its camera.

    Raises:
        BadInput: there is no data file, or the recording cannot be read.
    """
    if not isinstance(data, Path):
        return None
    file = class_folders.data_files(data).files[0]
    return None if _archived(file) else recording(file, options=reading or ReadOptions()).sensor


def _of_given(data: GivenWindows, kind: str | None) -> InputContract:
    """The contract of windows that a program gives."""
    if len(data.shape) not in (_RANKS[kind] if kind else (3, 4, 5)):
        wanted = f"{kind} {_AXES[kind]}" if kind else ", or ".join(f"{name} {axes}" for name, axes in _AXES.items())
        raise BadInput(f"{data.file} has shape {data.shape}, it must be {wanted}")
    return InputContract.of(data.shape[1:], kind)


def _of_file(path: Path, kind: str | None) -> InputContract:
    """The contract of the windows in a file, or in the first data file of a folder."""
    file = _first(path)
    if decoding.is_picture(file):
        return InputContract.of(picture_files.image_shape(file), kind or "images")
    other = kinds.other_kind(file)
    if other is not None:
        raise BadInput(
            f"{file} is {other}, not data; give recordings, pictures, or an .npz of 'frames', 'images' or 'features'"
        )
    found = npz.arrays(file) if _archived(file) else None
    windows = _windows_in(found or {})
    if found is None or (not windows and numpy_files.holds_events(found, file)):
        raise BadInput(f"{file} is a recording, which does not store the shape of windows; give `shape` T,P,H,W")
    name = kind or next(iter(windows), "")
    if name not in windows:
        has = ", ".join(found) or "nothing"
        none = f"no '{kind}'" if kind else "neither 'frames' nor 'images' nor 'features'"
        raise BadInput(f"{file} has {none} (it has: {has})")
    shape = windows[name].shape
    if name == "frames" and len(shape) == 4 and shape[1] == 2:  # one window
        return InputContract.of(shape, name)
    if len(shape) not in _RANKS[name]:
        raise BadInput(f"{file}: '{name}' has shape {shape}, it must be {_AXES[name]}")
    return InputContract.of(shape[1:], name)


def _arrays(path: Path) -> Mapping[str, Array]:
    """The arrays of a file, or of the first data file of a folder; none if it is no .npz."""
    file = _first(path)
    return npz.arrays(file) if _archived(file) else {}


def _windows_in(found: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of windows among the arrays of a file, by the kind of input."""
    return {name: found[name] for name in INPUTS if name in found}


def _first(path: Path) -> Path:
    """The first data file of a folder; recordings may have pictures beside them."""
    files = class_folders.data_files(path, decoding.SUFFIXES).files
    return next((file for file in files if not decoding.is_picture(file)), files[0])


def _archived(file: Path) -> bool:
    """Whether a file is an .npz, by its suffix."""
    return file.suffix.lower() == ".npz"
