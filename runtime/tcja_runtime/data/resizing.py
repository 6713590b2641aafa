"""Resizing the picture of a camera to a network's frames. Rows and columns are resized by themselves.

An axis has n elements before and m after. With the scale s = n / m, the matrix R [m, n] of an axis is

    bilinear   R[i, j] = max(0, 1 - |j + 1/2 - c| / w)   for floor(c - w + 1/2) <= j < floor(c + w + 1/2), else 0;
               w = max(s, 1), c = (i + 1/2) s; then each row of R is divided by its sum
    nearest    R[i, j] = 1   for j = floor(i s), else 0
    sum        R[i, j] = 1   for i = floor(j m / n), else 0

and frame[p] = R_rows counts[p] R_columns^T.

* bilinear is torch's ``interpolate(mode="bilinear", antialias=True)``, torchvision's ``Resize`` of tensors and Pillow's
  BILINEAR for float images.
* nearest is torch's ``interpolate``, whose mode is "nearest" by default.
* sum adds up the events of all pixels that become one, as tonic's ``Downsample`` does by moving each event. The product
  j (m / n) is computed in float64, as there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import Floats, Resize


def resize_matrix(method: Resize, before: int, after: int) -> Floats:
    """The matrix R [after, before] that resizes an axis from `before` to `after` elements."""
    if method == "bilinear":
        return _triangles(before, after)
    matrix = np.zeros((after, before), np.float32)
    if method == "nearest":
        at = np.arange(after, dtype=np.float32) * (np.float32(before) / np.float32(after))  # float32, as torch computes
        matrix[np.arange(after), np.minimum(at.astype(np.int64), before - 1)] = 1
    else:
        matrix[summed_index(before, after), np.arange(before)] = 1
    return matrix


def summed_index(before: int, after: int) -> npt.NDArray[np.int64]:
    """The element of the resized axis that each of `before` elements is added to by "sum", int64 [before]."""
    index: npt.NDArray[np.int64] = (np.arange(before) * (after / before)).astype(np.int64)
    return index


def _triangles(before: int, after: int) -> Floats:
    """The matrix [after, before] that resizes an axis from `before` to `after` elements with a triangular filter."""
    scale = before / after
    width = max(scale, 1.0)
    centre = ((np.arange(after) + 0.5) * scale)[:, None]
    at = np.arange(before)
    within = (at >= np.floor(centre - width + 0.5)) & (at < np.floor(centre + width + 0.5))
    weights = np.where(within, np.maximum(0.0, 1.0 - np.abs(at + 0.5 - centre) / width), 0.0)
    matrix: Floats = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return matrix
