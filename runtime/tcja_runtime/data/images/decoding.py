"""Pictures in PNG and JPEG files as arrays, read with Pillow (the package `pillow`, the extra `images`).

A picture becomes the C channels of a network's images, C = 1 (grey) or C = 3 (red, green, blue):

* A grey picture for C = 3 has its values in each channel. A picture in colour for C = 1 becomes grey as in Pillow's
  `convert("L")`, with the weights of ITU-R 601-2: (299 R + 587 G + 114 B) / 1000. Palettes become colours.
* Values of 8 bits are divided by 255, and grey values of 16 bits by 65535, in float32.
* The picture is turned as its EXIF orientation says. Colour profiles are not applied.

Not read are pictures that are transparent somewhere, as what is behind them is not known; colours of 16 bits, of which
Pillow reads 8; the colours of print (CMYK); moving pictures; and pictures with more pixels than
`tcja_runtime.files.limits.PIXELS`, which a small file can have.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput, TcjaError, Unavailable, first_line, user_error
from tcja_runtime.files import kinds, limits
from tcja_runtime.files.kinds import Kind
from tcja_runtime.files.reading import open_file, read_file
from tcja_runtime.machine.versions import too_old, version

if TYPE_CHECKING:
    import PIL.Image

PACKAGE = "pillow"
INSTALL = "pip install 'tcja-deploy[images]'"
SUFFIXES = frozenset((".png", ".jpg", ".jpeg"))
"""The suffixes of pictures in a folder."""
KINDS = (Kind.PNG, Kind.JPEG)
"""The kinds of files that are read."""
CHANNELS = {1: "L", 3: "RGB"}
"""The numbers of channels that a picture can have, and Pillow's modes for them."""

_PLAIN = ("1", "L", "P", "RGB")
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that swap rows and columns
_DEPTH, _COLOURS = 24, 25  # bytes of a PNG file: the bits of a value, and the type of its colours, 0 for grey


@dataclasses.dataclass(frozen=True)
class PictureHeader:
    """What a file says of its picture before it is decoded.

    Attributes:
        size: the rows and columns of the picture, turned as its EXIF orientation says.
        channels: 1 if it is grey, else 3.
    """

    size: tuple[int, int]
    channels: int


def is_picture(file: Path) -> bool:
    """Whether a file is a picture by its first bytes, or by its suffix if its first bytes are of no known kind."""
    kind = kinds.kind_in(file)
    return kind in KINDS or (kind is None and file.suffix.lower() in SUFFIXES)


def read_header(file: Path) -> PictureHeader:
    """What a file says of its picture.

    Raises:
        BadInput: the file is not a picture that can be read.
        Unavailable: Pillow is missing or too old.
    """
    with _reading(file), open_file(file, limits.PICTURE) as stream:
        image = _opened(file, stream)
        # A PNG that has its orientation behind the picture is found out when it is decoded.
        turned = "exif" in image.info and image.getexif().get(_ORIENTATION) in _TURNED
        columns, rows = image.size
        grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
        return PictureHeader((columns, rows) if turned else (rows, columns), 1 if grey else 3)


def decode(file: Path, channels: int) -> Floats:
    """The picture in a file, float32 [channels, rows, columns] with values in [0, 1].

    Args:
        file: the file.
        channels: 1 or 3.

    Raises:
        BadInput: the file is not a picture that can be read, or it is damaged.
        Unavailable: Pillow is missing or too old.
    """
    with _reading(file):
        import PIL.ImageOps

        content = read_file(file, limits.PICTURE)
        checked = _opened(file, io.BytesIO(content))
        if checked.format == "PNG":
            checked.verify()  # the checksums, which Pillow leaves out when it decodes
        upright = PIL.ImageOps.exif_transpose(_opened(file, io.BytesIO(content)))
        if upright.mode.startswith("I"):
            if "transparency" in upright.info:
                raise BadInput(f"{file} {_SEE_THROUGH}")
            grey = np.asarray(upright).astype(np.float32) / np.float32(65535)
            return np.repeat(grey[None], channels, axis=0)
        if upright.mode in _TRANSPARENT or "transparency" in upright.info:
            upright = upright.convert("RGBA")
            if upright.getextrema()[3][0] < 255:
                raise BadInput(f"{file} {_SEE_THROUGH}")
        if upright.mode != CHANNELS[channels]:
            upright = upright.convert(CHANNELS[channels])
        pixels = np.asarray(upright)
        values = np.array(pixels[None] if channels == 1 else pixels.transpose(2, 0, 1), np.float32, order="C")
    values /= np.float32(255)
    return values


_NO_PICTURE = "is not a picture (PNG or JPEG), or it is damaged"
_SEE_THROUGH = "is transparent somewhere, and what is behind it is not known; save it without an alpha channel"


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Check that Pillow can be used, and let all errors in the block name the file."""
    _require(file)
    try:
        yield
    except TcjaError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise many kinds of errors
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise user_error(error, file) or error from error
        raise BadInput(f"{file} {_NO_PICTURE}: {first_line(error)}") from error


def _opened(file: Path, stream: IO[bytes]) -> PIL.Image.Image:
    """A picture that Pillow has opened and not yet decoded, and that can be read.

    `PIL.Image.open` warns of pictures with too many pixels. What warnings do is decided for all threads of a
    process. So the classes of the formats open pictures here, and the size is checked.
    """
    import PIL.Image
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin

    head = stream.read(_COLOURS + 1)
    stream.seek(0)
    kind = kinds.kind_of(head)
    if kind not in KINDS:
        raise BadInput(f"{file} {_NO_PICTURE}: its first bytes are those of neither")
    is_png = kind is Kind.PNG
    image = (PIL.PngImagePlugin.PngImageFile if is_png else PIL.JpegImagePlugin.JpegImageFile)(stream)
    if image.width * image.height > limits.PIXELS:
        raise BadInput(f"{file} has more than {limits.PIXELS:,} pixels, and is not decoded; give a smaller picture")
    if is_png and getattr(image, "is_animated", False):
        raise BadInput(f"{file} is a moving picture of {image.n_frames} frames; give single pictures")
    if image.mode not in (*_PLAIN, *_TRANSPARENT) and not image.mode.startswith("I"):
        raise BadInput(f"{file} has the colours {image.mode}; save it in grey or RGB")
    if is_png and head[_DEPTH] == 16 and head[_COLOURS] != 0:
        raise BadInput(f"{file} has colours of 16 bits, of which Pillow reads 8; save it with 8 bits, or as an .npz")
    return image


def _require(file: Path) -> None:
    """Check that Pillow is installed, in a version that works."""
    if importlib.util.find_spec("PIL") is None:
        raise Unavailable(f'{file} is a picture; Pillow, which reads it, is missing: run "{INSTALL}"')
    old = too_old(PACKAGE, version(PACKAGE))
    if old:
        raise Unavailable(f"{file} is a picture; {old}: run 'pip install -U {PACKAGE}'")
