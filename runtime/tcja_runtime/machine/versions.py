"""The versions of packages that are installed, and the oldest ones that work.

`doctor` and all commands take the oldest versions from here. A test compares them with those of pyproject.toml.
"""

from __future__ import annotations

import importlib.metadata
import re

OLDEST = {
    "numpy": (1, 24),
    "rich": (13, 8),
    "typer": (0, 12),
    "onnx": (1, 17),
    "onnx-graphsurgeon": (0, 5, 7),
    "onnxruntime": (1, 21),  # older ones do not find the weights of a model that is passed as bytes
    "onnxruntime-gpu": (1, 21),
    "onnxscript": (0, 5),
    "safetensors": (0, 4),
    "torch": (2, 8),
    "cuda-bindings": (12, 8),
    "tensorrt": (10, 3),  # older ones do not support strongly typed networks
    "tensorrt-rtx": (1, 4),
    "aedat": (2, 2),
    "h5py": (3, 8),
    "hdf5plugin": (4, 1),
    "nir": (1, 0, 6),
    "pillow": (10, 0),
    "ray": (2, 60),
    "rosbags": (0, 11),
    "tritonclient": (2, 51),
    "model-signing": (1, 1),
    "pyopenssl": (24, 0),
}
"""The oldest version of each package that works."""


def version(package: str) -> str | None:
    """Returns the version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """Returns the numbers at the begin of a version, (1, 21) for "1.21rc1"; empty if it begins with no number."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def too_old(package: str, number: str | None) -> str | None:
    """Returns the words "PACKAGE VERSION is too old, OLDEST is needed"; None if the version is new enough.

    Args:
        package: the package, one of `OLDEST`.
        number: its version; None if it is not known.
    """
    oldest, found = OLDEST[package], numbers(number or "")
    if not found or found[: len(oldest)] >= oldest:
        return None
    return f"{package} {number} is too old, {'.'.join(map(str, oldest))} is needed"
