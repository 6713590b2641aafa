"""Pictures as windows, alone and in folders of classes, against Pillow's and torch's resizing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_runtime.data.camera import CameraView
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.dataset import load
from tcja_runtime.data.recordings import DataOptions
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput
from tcja_runtime.events import ReadOptions

pytest.importorskip("PIL")
from PIL import Image

ROWS, COLUMNS = 6, 9
GREY, COLOUR = InputContract.images(1, ROWS, COLUMNS), InputContract.images(3, ROWS, COLUMNS)
CLASSES = ["cat", "dog"]


def draw(file: Path, rows: int = ROWS, columns: int = COLUMNS, channels: int = 3) -> np.ndarray:
    """Writes a picture. Returns its values, uint8 [rows, columns, channels]."""
    shape = (rows, columns, channels)[: 2 if channels == 1 else 3]
    values = np.random.default_rng(len(file.stem)).integers(0, 256, shape).astype(np.uint8)
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(values).save(file, quality=95)
    return values


def whole(path: Path, contract: InputContract, **options) -> np.ndarray:
    (windows,) = load(path, contract, CLASSES, DataOptions(**options)).batches(99)
    return windows


def view(crop: str | None = None, resize: str | None = None) -> CameraView:
    return CameraView.parse(crop, resize)


def test_a_picture_is_a_window(tmp_path):
    values = draw(tmp_path / "a.png")
    data = load(tmp_path / "a.png", COLOUR, CLASSES)
    assert (len(data), data.labels, data.source) == (1, None, "a.png")
    np.testing.assert_array_equal(whole(tmp_path / "a.png", COLOUR)[0], np.float32(values.transpose(2, 0, 1) / 255))


def test_folders_of_pictures_are_classes(tmp_path):
    for name in ("dog/b.png", "cat/aaa.jpg", "cat/aa.JPEG", "dog/bbbb.jpg"):
        draw(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("not used")
    data = load(tmp_path, COLOUR, CLASSES)
    assert [part.file.name for part in data.parts] == ["aa.JPEG", "aaa.jpg", "b.png", "bbbb.jpg"]
    np.testing.assert_array_equal(data.labels, [0, 0, 1, 1])
    assert data.remarks == (f"{tmp_path}: 1 entry is not used: 1 with .txt",)
    batches = list(data.batches(3))
    assert [len(batch) for batch in batches] == [3, 1]
    np.testing.assert_array_equal(np.concatenate(batches)[2], whole(tmp_path / "dog" / "b.png", COLOUR)[0])
    np.testing.assert_array_equal(next(data.batches(2, 1)), np.concatenate(batches)[1:3])


def test_pictures_and_arrays_are_mixed(tmp_path):
    values = draw(tmp_path / "a.png", channels=1)
    np.savez(tmp_path / "b.npz", images=values[None, None])
    np.testing.assert_array_equal(*whole(tmp_path, GREY))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("rows", "columns"), [(13, 31), (3, 4), (6, 20)])
def test_resized_pictures_are_those_of_pillow_and_torch(tmp_path, channels, rows, columns):
    values = np.float32(draw(tmp_path / "a.png", rows, columns, channels).reshape(rows, columns, channels) / 255)
    contract = COLOUR if channels == 3 else GREY
    found = whole(tmp_path / "a.png", contract, camera_view=view(None, "bilinear"))[0]
    for channel, made in zip(np.moveaxis(values, 2, 0), found, strict=True):
        pillow = Image.fromarray(channel).resize((COLUMNS, ROWS), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(made, np.asarray(pillow), atol=1e-6)
    tensor = torch.tensor(values).permute(2, 0, 1)[None]
    smooth = torch.nn.functional.interpolate(tensor, (ROWS, COLUMNS), mode="bilinear", antialias=True)
    np.testing.assert_allclose(found, smooth[0], atol=1e-6)
    nearest = torch.nn.functional.interpolate(tensor, (ROWS, COLUMNS))
    np.testing.assert_array_equal(whole(tmp_path / "a.png", contract, camera_view=view(None, "nearest")), nearest)


def test_resized_white_stays_within_the_unit_interval(tmp_path):
    Image.new("L", (101, 67), 255).save(tmp_path / "a.png")
    found = whole(tmp_path / "a.png", GREY, camera_view=view(None, "bilinear"))
    assert found.max() <= 1
    np.testing.assert_allclose(found, 1, atol=1e-6)


def test_a_part_of_a_picture_is_taken(tmp_path):
    values = draw(tmp_path / "a.png", 20, 30).transpose(2, 0, 1)
    found = whole(tmp_path / "a.png", COLOUR, camera_view=view(f"4,3,{COLUMNS},{ROWS}"))
    np.testing.assert_array_equal(found[0], np.float32(values[:, 3 : 3 + ROWS, 4 : 4 + COLUMNS] / 255))
    half = whole(tmp_path / "a.png", COLOUR, camera_view=view("0,0,18,12", "nearest"))
    np.testing.assert_array_equal(half[0], np.float32(values[:, 0:12:2, 0:18:2] / 255))


def test_a_part_that_a_contract_stores_is_taken(tmp_path):
    draw(tmp_path / "a.png", 20, 30)
    stored = InputContract(
        name="images", shape=(3, ROWS, COLUMNS), scaling="unit", split=None, polarity=None, resize="bilinear"
    )
    given = whole(tmp_path / "a.png", COLOUR, camera_view=view(None, "bilinear"))
    np.testing.assert_array_equal(whole(tmp_path / "a.png", stored), given)
    other = load(tmp_path / "a.png", stored, CLASSES, DataOptions(camera_view=view(None, "nearest")))
    assert other.remarks == ("images are made with `resize` nearest; the bundle has `resize` bilinear",)


@pytest.mark.parametrize(
    ("contract", "options", "said"),
    [
        (
            GREY,
            {},
            r"a\.png has 12x8 pixels; the network takes 9x6; as in training, take a part with `crop` X,Y,9,6, ",
        ),
        (GREY, {"camera_view": view("4,3,9,6")}, r"a\.png has 12x8 pixels, and `crop` 4,3,9,6 reaches beyond them"),
        (GREY, {"camera_view": view(None, "sum")}, "`resize` sum adds up events; for pictures, choose bilinear or"),
        (GREY, {"window": Window.parse("1s", None)}, r"a\.png is a picture; `window` is for recordings only, so leave"),
        (GREY, {"reading": ReadOptions(time_unit="us")}, r"a\.png is a picture; `time_unit` is for recordings only"),
        (
            InputContract.images(2, 8, 12),
            {},
            "is a picture, of 1 or 3 channels; the network takes an .npz with",
        ),
        (
            InputContract.frames(3, 8, 12),
            {},
            r"a\.png is a picture \(PNG\); the network takes recordings of",
        ),
    ],
)
def test_pictures_that_do_not_fit_are_refused(tmp_path, contract, options, said):
    draw(tmp_path / "a.png", 8, 12)
    with pytest.raises(BadInput, match=said):
        load(tmp_path / "a.png", contract, CLASSES, DataOptions(**options))


def test_arrays_are_not_resized(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((1, *GREY.shape), np.uint8))
    with pytest.raises(BadInput, match=r"a\.npz has windows already; `resize` is for pictures only, so leave it out"):
        load(tmp_path / "a.npz", GREY, CLASSES, DataOptions(camera_view=view(None, "nearest")))


def test_the_digest_is_of_the_bytes_and_the_view(tmp_path):
    draw(tmp_path / "a.png", 8, 12)
    digests = {load(tmp_path, GREY, None, DataOptions(camera_view=view(*each))).digest for each in VIEWS}
    assert digests == {load(tmp_path, GREY, None, DataOptions(camera_view=view(*each))).digest for each in VIEWS}
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    assert digests == {load(tmp_path, GREY, None, DataOptions(camera_view=view(*each))).digest for each in VIEWS}
    draw(tmp_path / "bb.png", 8, 12)
    (tmp_path / "bb.png").rename(tmp_path / "b.png")
    others = {load(tmp_path, GREY, None, DataOptions(camera_view=view(*each))).digest for each in VIEWS}
    assert len(digests | others) == 2 * len(VIEWS)


VIEWS = [(None, "nearest"), (None, "bilinear"), ("1,1,9,6", None)]


def test_pictures_beside_recordings_are_passed_over(tmp_path):
    draw(tmp_path / "a.png")
    np.savez(tmp_path / "b.npz", frames=np.zeros((1, 3, 2, 4, 5), np.uint8))
    data = load(tmp_path, InputContract.frames(3, 4, 5), CLASSES)
    assert (len(data), data.remarks) == (1, (f"{tmp_path}: 1 entry is not used: 1 with .png",))
