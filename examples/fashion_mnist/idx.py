"""Fashion-MNIST as its four IDX files, plain or gzipped."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts them."""


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """One IDX file of unsigned bytes, as an array of its own shape.

    Format: big-endian; two zero bytes, type 0x08, number of dimensions, one uint32 a dimension, the bytes
    (http://yann.lecun.com/exdb/mnist/).

    Raises:
        SystemExit: the file is missing or is not an IDX file of unsigned bytes.
    """
    found = next((p for p in (path, path.with_name(path.name + ".gz")) if p.exists()), None)
    if found is None:
        raise SystemExit(
            f"{path}[.gz] not found: install Debian's dataset-fashion-mnist, or pass --data FOLDER with the IDX files"
        )
    raw = found.read_bytes()
    if found.suffix == ".gz":
        raw = gzip.decompress(raw)
    if raw[:3] != b"\0\0\x08":
        raise SystemExit(f"{found}: not an IDX file of unsigned bytes (it begins with {raw[:4].hex()})")
    shape = np.frombuffer(raw, ">u4", raw[3], 4)
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])
    if values.size != shape.prod():
        raise SystemExit(f"{found}: holds {values.size} bytes, its header says {shape.prod()}: download it again")
    return values.reshape(shape)


def load(folder: Path, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images [N, 28, 28] and labels [N] of a split, "train" (60,000) or "t10k" (10,000)."""
    return read_idx(folder / f"{split}-images-idx3-ubyte"), read_idx(folder / f"{split}-labels-idx1-ubyte")
