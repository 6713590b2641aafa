"""The camera of a network: the check that events come from it, and the part of another camera's picture that is taken.

All sizes of cameras are (rows, columns). Messages have them as cameras are named: 640x480 has 640 columns and 480 rows.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import numpy.typing as npt

from tcja_runtime.choices import RESIZES
from tcja_runtime.data.contract import WIDEST, InputContract, Resize, within
from tcja_runtime.errors import BadInput, check_choice
from tcja_runtime.events import Events
from tcja_runtime.records import check_arguments


@dataclasses.dataclass(frozen=True)
class CameraView:
    """What a network's frames are made from: a part of the camera's picture, then resized.

    Attributes:
        crop: the part of the picture: its first column, its first row, its width and its height; None for the whole
            picture.
        resize: how the part is resized to the network's frames, one of `RESIZES`; None if it is as large as they are.

    Raises:
        BadInput: the part is not four whole numbers, has no pixel or is too large, or there is no such method.
    """

    crop: tuple[int, int, int, int] | None = None
    resize: Resize | None = None

    def __post_init__(self) -> None:
        if self.resize is not None:
            check_choice("resize", self.resize, RESIZES)
        check_arguments(self)
        if self.crop is None:
            return
        x, y, width, height = self.crop
        if not (min(x, y) >= 0 and min(width, height) >= 1 and max(x + width, y + height) <= WIDEST):
            raise BadInput(
                f"`crop` {_listed(self.crop)}: the width and the height must be at least 1, and the part must be "
                f"within {WIDEST:,} x {WIDEST:,} pixels"
            )

    @classmethod
    def parse(cls, crop: str | None, resize: Resize | None) -> CameraView:
        """The view from a text such as "10,0,128,128" and the name of a method.

        Raises:
            BadInput: the text is not four numbers, the part has no pixel or is too large, or there is no such method.
        """
        if crop is None:
            return cls(None, resize)
        if not re.fullmatch(r"[0-9]{1,5}(,[0-9]{1,5}){3}", crop):
            raise BadInput(f"`crop` {crop} must be X,Y,WIDTH,HEIGHT, such as 256,176,128,128")
        x, y, width, height = map(int, crop.split(","))
        return cls((x, y, width, height), resize)

    def __str__(self) -> str:
        crop = [] if self.crop is None else [f"`crop` {_listed(self.crop)}"]
        resize = [] if self.resize is None else [f"`resize` {self.resize}"]
        return " and ".join([*crop, *resize]) or "the whole picture"


WHOLE = CameraView()
"""The whole picture of the camera, not resized."""


def view_of(contract: InputContract) -> CameraView:
    """The view that a contract has."""
    return CameraView(contract.crop, contract.resize)


def replaced_view(contract: InputContract, view: CameraView) -> str:
    """A note for the user if a view replaces another one that the contract has; else an empty text."""
    own = view_of(contract)
    if view == WHOLE or own in (WHOLE, view):
        return ""
    return f"{contract.name} are made with {view}; the bundle has {own}"


def seen_through(
    contract: InputContract, view: CameraView, camera: tuple[int, int] | None, title: str
) -> InputContract:
    """The contract whose frames or images are made through a view, which replaces the view that the contract has.

    Args:
        contract: the input contract of the network.
        view: the view; `WHOLE` does not change the contract.
        camera: the rows and columns of the camera; None if they are not known, and for images.
        title: the name of the recording or the stream, for messages.

    Raises:
        BadInput: the network takes neither frames of events nor images, or they cannot be made from this camera so.
    """
    if view == WHOLE:
        return contract
    if contract.name == "images":
        return _pictures_through(contract, view)
    if contract.name != "frames":
        raise BadInput(
            f"{view}: the network takes {contract.name}, which are no part of a camera's picture; leave it out"
        )
    contract.cut  # noqa: B018  # raises if it is not known how events become frames
    plain = dataclasses.replace(contract, sensor=None, crop=None, resize=None)
    area = camera if view.crop is None else (view.crop[3], view.crop[2])
    if area is None:
        raise BadInput(
            f"{title} does not say the size of its camera, so `resize` {view.resize} needs `crop` too: "
            "0,0,WIDTH,HEIGHT for the whole picture"
        )
    if camera is not None and view.crop is not None and not within(view.crop, camera):
        raise BadInput(f"{view} reaches beyond the {_size(camera)} pixels of {title}; give a part of them")
    _check_as_large(view, area, plain)
    if view.resize == "sum" and (area[0] < plain.area[0] or area[1] < plain.area[1]):
        raise BadInput(
            f"`resize` sum makes pictures smaller, and {_size(area)} pixels are fewer than the network's "
            f"{_size(plain.area)}; choose bilinear or nearest"
        )
    if view.crop is None and area == plain.area:
        return plain
    return dataclasses.replace(plain, crop=view.crop, sensor=camera, resize=view.resize)


def _pictures_through(contract: InputContract, view: CameraView) -> InputContract:
    """`seen_through` for a network that takes images, from pictures of any size."""
    if view.resize == "sum":
        raise BadInput("`resize` sum adds up events; for pictures, choose bilinear or nearest")
    plain = dataclasses.replace(contract, crop=None, resize=None)
    if view.crop is not None:
        _check_as_large(view, (view.crop[3], view.crop[2]), plain)
    return dataclasses.replace(plain, crop=view.crop, resize=view.resize)


def _check_as_large(view: CameraView, area: tuple[int, int], plain: InputContract) -> None:
    """Check that a part of the picture that is not resized is as large as the network's frames or images."""
    if view.resize is None and area != plain.area:
        raise BadInput(
            f"`crop` has {_size(area)} pixels, and the network takes {_size(plain.area)}; crop as many, or give "
            "`resize` too"
        )


def check_picture(contract: InputContract, size: tuple[int, ...], title: str) -> None:
    """Check the size of a picture against the images of the network.

    Args:
        contract: the input contract of the network, which takes images.
        size: the rows and columns of the picture.
        title: the name of its file, for messages.

    Raises:
        BadInput: the picture is not as large as the network's images, and not resized; or the crop reaches beyond it.
    """
    rows, columns = size
    if contract.crop is not None:
        if not within(contract.crop, (rows, columns)):
            raise BadInput(f"{title} has {_size((rows, columns))} pixels, and {view_of(contract)} reaches beyond them")
    elif contract.resize is None and (rows, columns) != contract.area:
        raise BadInput(f"{title} has {_size((rows, columns))} pixels; {_remedy(contract)}")


def check_camera(contract: InputContract, camera: tuple[int, int] | None, title: str) -> str:
    """Check the size of a camera against the camera of the network.

    Args:
        contract: the input contract of the network.
        camera: the rows and columns of the camera; None if they are not known, which cannot be checked.
        title: the name of the recording or the stream, for messages.

    Returns:
        A note for the user if the camera is smaller than the network's; else an empty text.

    Raises:
        BadInput: the camera is larger than the network's, or the crop reaches beyond its picture.
    """
    if camera is None or contract.name != "frames":
        return ""
    if contract.crop is not None and contract.sensor is None:
        if not within(contract.crop, camera):
            view = view_of(contract)
            raise BadInput(f"{title} is of a camera of {_size(camera)} pixels, and {view} reaches beyond them")
        return ""
    wanted = contract.sensor or contract.area
    if camera[0] > wanted[0] or camera[1] > wanted[1]:
        raise BadInput(f"{title} is of a camera of {_size(camera)} pixels; {_remedy(contract)}")
    if camera != wanted:
        return (
            f"recorded with {_size(camera)} pixels, fewer than the network's {_size(wanted)}; the rest of the picture "
            "stays empty"
        )
    return ""


def check_on_sensor(contract: InputContract, events: Events, title: str, before: int) -> None:
    """Check that all events are within the picture that the network takes. With a crop, events may be anywhere.

    Args:
        contract: the input contract of the network.
        events: the next events of a recording or a stream.
        title: its name, for messages.
        before: the number of its events before these.

    Raises:
        BadInput: an event is outside.
    """
    rows, columns = contract.area
    if contract.crop is not None or not len(events):
        return
    if int(events.y.max()) < rows and int(events.x.max()) < columns:
        return
    at = int(((events.y >= rows) | (events.x >= columns)).argmax())
    raise BadInput(
        f"{title}: event {before + at:,} is at column {events.x[at]}, row {events.y[at]}; {_remedy(contract)}"
    )


def cropped(events: Events, crop: tuple[int, int, int, int] | None) -> Events:
    """The events in a part of the picture, with columns and rows counted from the corner of the part.

    Args:
        events: the events.
        crop: the first column, the first row, the width and the height; None returns all events unchanged.
    """
    if crop is None:
        return events
    moved = dataclasses.replace(events, x=events.x - crop[0], y=events.y - crop[1])
    return moved.where(inside(events, crop))


def inside(events: Events, crop: tuple[int, int, int, int] | None) -> npt.NDArray[np.bool_]:
    """Whether each event is in a part of the picture (`cropped`), bool [E]."""
    if crop is None:
        return np.ones(len(events), bool)
    x, y, width, height = crop
    # Columns before the part wrap around to large ones, as they are unsigned.
    found: npt.NDArray[np.bool_] = (events.x - x < width) & (events.y - y < height)
    return found


def _remedy(contract: InputContract) -> str:
    """What the network takes, and what to do with events of another camera."""
    rows, columns = contract.sensor or contract.area
    return (
        f"the network takes {columns}x{rows}; as in training, take a part with `crop` X,Y,{contract.shape[-1]},"
        f"{contract.shape[-2]}, or {'resize it' if contract.name == 'images' else 'make the picture smaller'} with "
        "`resize`"
    )


def _listed(crop: tuple[int, int, int, int]) -> str:
    """A crop as the user writes it."""
    return ",".join(map(str, crop))


def _size(size: tuple[int, int]) -> str:
    """A size as cameras are named: columns x rows."""
    return f"{size[1]}x{size[0]}"
