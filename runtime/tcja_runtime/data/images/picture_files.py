"""Pictures as windows: each file is one image of the network, or a part of it, resized.

A part of the picture (`crop`) and a method (`resize`) are those of `tcja_runtime.data.camera`, and the matrices are
those of `tcja_runtime.data.resizing`: with "bilinear", torchvision's `Resize` of tensors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tcja_runtime.data.camera import CameraView, check_picture, seen_through
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.data.images.decoding import CHANNELS, decode, read_header
from tcja_runtime.data.resizing import resize_matrix
from tcja_runtime.errors import BadInput
from tcja_runtime.files.content import Content


@dataclasses.dataclass(frozen=True)
class Picture:
    """The picture in a file, which is one window (a `tcja_runtime.data.dataset.Part`).

    Attributes:
        file: the file.
        contract: the input contract of the network, with the part of the picture and how it is resized.
    """

    file: Path
    contract: InputContract

    count = 1
    labels = None
    reading = None

    @property
    def checks(self) -> Sequence[object]:
        view = (self.contract.crop, self.contract.resize)
        return [*Content(self.file).checks, *[view] * any(view)]

    def windows(self, size: int, start: int = 0) -> Iterator[Floats]:  # noqa: ARG002  # it is one window
        """Yields the image, float32 [1, C, H, W] (`tcja_runtime.data.dataset.Part.windows`)."""
        if start < 1:
            yield self._image()[None]

    def _image(self) -> Floats:
        values = decode(self.file, self.contract.shape[0])
        check_picture(self.contract, values.shape[1:], str(self.file))
        if self.contract.crop is not None:
            x, y, width, height = self.contract.crop
            values = values[:, y : y + height, x : x + width]
        method = self.contract.resize
        if method is None or values.shape == self.contract.shape:
            return values
        rows, columns = (
            resize_matrix(method, before, after)
            for before, after in zip(values.shape[1:], self.contract.shape[1:], strict=True)
        )
        resized: Floats = np.clip(rows @ values @ columns.T, 0, 1)  # sums of weights can be above 1 by a rounding
        return resized


def open_picture(file: Path, contract: InputContract, view: CameraView) -> Picture:
    """Open a picture as a window.

    Args:
        file: the file.
        contract: the input contract of the network, which takes images.
        view: the part of the picture and how it is resized, instead of what the contract says.

    Raises:
        BadInput: the file cannot be read, or it has not the size that the network takes.
        Unavailable: Pillow is missing or too old.
    """
    if contract.shape[0] not in CHANNELS:
        raise BadInput(f"{file} is a picture, of 1 or 3 channels; the network takes {contract.wanted}")
    contract = seen_through(contract, view, None, str(file))
    check_picture(contract, read_header(file).size, str(file))
    return Picture(file, contract)


def image_shape(file: Path) -> tuple[int, int, int]:
    """The channels, rows and columns of a picture, as a network takes it that was trained on such pictures.

    Raises:
        BadInput: the file cannot be read.
        Unavailable: Pillow is missing or too old.
    """
    header = read_header(file)
    return header.channels, *header.size
