"""The camera of a network: which recordings are of it, and the part of another camera's picture."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tcja_runtime.data.camera import (
    WHOLE,
    CameraView,
    check_camera,
    check_on_sensor,
    cropped,
    replaced_view,
    seen_through,
)
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput

from ..recordings import at_times

FRAMES = InputContract.frames(3, 128, 128)
RESIZED = InputContract.frames(3, 48, 48, sensor=(128, 128))


def seen(crop: str | None = None, resize: str | None = None, camera: tuple[int, int] | None = (480, 640)):
    return seen_through(FRAMES, CameraView.parse(crop, resize), camera, "a.raw")


@pytest.mark.parametrize(
    ("view", "fields"),
    [
        (("256,176,128,128",), {"crop": (256, 176, 128, 128), "sensor": (480, 640)}),
        (("256,176,128,128", None, None), {"crop": (256, 176, 128, 128)}),
        (("80,0,480,480", "bilinear"), {"crop": (80, 0, 480, 480), "sensor": (480, 640), "resize": "bilinear"}),
        ((None, "sum"), {"sensor": (480, 640), "resize": "sum"}),
        ((None, "nearest", (64, 64)), {"sensor": (64, 64), "resize": "nearest"}),
        ((None, "sum", (128, 128)), {}),  # it is as large already
        ((), {}),
    ],
)
def test_a_network_sees_through_a_view(view, fields):
    found = seen(*view)
    assert found == dataclasses.replace(FRAMES, **fields)
    assert InputContract.from_dict(dataclasses.asdict(found)) == found
    assert seen_through(found, WHOLE, (1, 1), "b.raw") == found


def test_a_view_replaces_another_and_says_so():
    stored, other = seen("256,176,128,128"), CameraView.parse("0,0,256,256", "sum")
    assert replaced_view(stored, other) == (
        "frames are made with `crop` 0,0,256,256 and `resize` sum; the bundle has `crop` 256,176,128,128"
    )
    assert seen_through(stored, other, None, "a.raw") == seen("0,0,256,256", "sum", None)
    assert replaced_view(stored, CameraView((256, 176, 128, 128))) == replaced_view(stored, WHOLE) == ""
    assert replaced_view(FRAMES, other) == ""


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (("1,2,3",), "`crop` 1,2,3 must be X,Y,WIDTH,HEIGHT, such as 256,176,128,128"),
        (("-1,2,3,4",), "`crop` -1,2,3,4 must be X,Y"),
        (("1,2,0,4",), "`crop` 1,2,0,4: the width and the height must be at least 1"),
        (("16383,0,2,2",), "the part must be within 16,384 x 16,384 pixels"),
        ((None, "cubic"), "`resize` cubic must be one of bilinear, nearest, sum"),
        (("0,0,128,100",), "`crop` has 128x100 pixels, and the network takes 128x128; crop as many, or give `resize`"),
        (("600,0,128,128",), "`crop` 600,0,128,128 reaches beyond the 640x480 pixels of a.raw; give a part of them"),
        (
            (None, "sum", (480, 100)),
            "`resize` sum makes pictures smaller, and 100x480 pixels are fewer than .* 128x128",
        ),
        ((None, "sum", None), "a.raw does not say the size of its camera, so `resize` sum needs `crop` too: 0,0,WIDTH"),
    ],
)
def test_views_that_cannot_be_are_refused(view, said):
    with pytest.raises(BadInput, match=said):
        seen(*view)


def test_views_of_python_are_checked():
    assert CameraView([1, 2, 3, 4]) == CameraView((1, 2, 3, 4))
    for crop, said in (
        ((1, 2, 3), "`crop` has 3 values, and must be a list or a tuple of 4"),
        ((1, 2, 3.5, 4), r"`crop`\[2\] is 3.5, and must be a whole number"),
        ((1, 2, -3, 4), "`crop` 1,2,-3,4: the width and the height must be at least 1"),
    ):
        with pytest.raises(BadInput, match=said):
            CameraView(crop)


def test_what_has_no_picture_is_not_seen_through_a_view():
    with pytest.raises(
        BadInput, match="`resize` sum: the network takes latents, which are no part of a camera's picture"
    ):
        seen_through(InputContract.latents(4, 4), CameraView(None, "sum"), None, "a.raw")


@pytest.mark.parametrize(
    ("view", "fields"),
    [
        (("2,1,16,12", None), {"crop": (2, 1, 16, 12)}),
        (("2,1,40,40", "nearest"), {"crop": (2, 1, 40, 40), "resize": "nearest"}),
        ((None, "bilinear"), {"resize": "bilinear"}),
    ],
)
def test_images_are_made_from_pictures_of_any_size(view, fields):
    images = InputContract.images(3, 12, 16)
    found = seen_through(images, CameraView.parse(*view), None, "a.png")
    assert found == dataclasses.replace(images, **fields)
    assert InputContract.from_dict(dataclasses.asdict(found)) == found
    assert seen_through(found, CameraView.parse(None, "nearest"), None, "a.png").crop is None


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (("2,1,16,13", None), "`crop` has 16x13 pixels, and the network takes 16x12; crop as many, or give `resize`"),
        ((None, "sum"), "`resize` sum adds up events; for pictures, choose bilinear or nearest"),
    ],
)
def test_views_of_pictures_that_cannot_be_are_refused(view, said):
    with pytest.raises(BadInput, match=said):
        seen_through(InputContract.images(3, 12, 16), CameraView.parse(*view), None, "a.png")


@pytest.mark.parametrize(
    ("contract", "camera", "said"),
    [
        (
            FRAMES,
            (480, 640),
            "a.raw is of a camera of 640x480 pixels; the network takes 128x128; as in training, take a",
        ),
        (FRAMES, (128, 129), "a.raw is of a camera of 129x128 pixels; .* `crop` X,Y,128,128, or make .* with `resize`"),
        (RESIZED, (129, 128), "a.raw is of a camera of 128x129 pixels; the network takes 128x128; .* `crop` X,Y,48,48"),
        (seen("0,0,128,128"), (720, 1280), "a.raw is of a camera of 1280x720 pixels; the network takes 640x480"),
        (
            seen("300,0,128,128", camera=None),
            (260, 346),
            "a.raw is of a camera of 346x260 pixels, and `crop` 300,0,128,128 reaches beyond them",
        ),
    ],
)
def test_another_camera_is_refused(contract, camera, said):
    with pytest.raises(BadInput, match=said):
        check_camera(contract, camera, "a.raw")


def test_a_camera_that_fits():
    for contract, camera in (
        (FRAMES, (128, 128)),
        (FRAMES, None),
        (RESIZED, (128, 128)),
        (seen("0,0,128,128"), (480, 640)),
        (seen("0,0,128,128", camera=None), (720, 1280)),
        (InputContract.images(1, 4, 4), (9, 9)),
    ):
        assert check_camera(contract, camera, "a.raw") == ""
    assert check_camera(FRAMES, (34, 128), "a.raw") == (
        "recorded with 128x34 pixels, fewer than the network's 128x128; the rest of the picture stays empty"
    )


def test_the_first_event_outside_is_named():
    events = at_times(range(20), rows=128, columns=128)
    check_on_sensor(FRAMES, events, "a.raw", 7)
    events.x[13], events.y[13], events.y[15] = 128, 3, 500
    with pytest.raises(BadInput, match="a.raw: event 1,013 is at column 128, row 3; the network takes 128x128; as in"):
        check_on_sensor(FRAMES, events, "a.raw", 1000)
    check_on_sensor(seen("0,0,128,128"), events, "a.raw", 0)


def test_events_are_cropped():
    events = at_times(range(500), rows=20, columns=30)
    x, y = events.x.astype(int), events.y.astype(int)
    within = (x >= 4) & (x < 14) & (y >= 9) & (y < 20)
    found = cropped(events, (4, 9, 10, 11))
    for name, wanted in (("t", events.t), ("x", x - 4), ("y", y - 9), ("p", events.p)):
        np.testing.assert_array_equal(getattr(found, name), wanted[within])
    assert cropped(events, None) is events
