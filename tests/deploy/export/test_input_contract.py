"""What a user's own network takes is told by its options, or by the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tcja_deploy.export.input_contract import contract_of
from tcja_deploy.export.request import ExportRequest
from tcja_runtime.data.windows import GivenWindows
from tcja_runtime.errors import BadInput


def told(data: Path | tuple[int, ...] | None = None, **options) -> tuple[str, tuple[int, ...]]:
    """The kind and the shape of the input; a tuple is the shape of an array that Python gives."""
    if isinstance(data, tuple):
        data = GivenWindows(batches=(np.zeros(data, np.float32),), labels=None, source="given")
    contract = contract_of(ExportRequest(out=Path("x"), model=nn.Identity(), data=data, **options))
    return contract.name, contract.shape


@pytest.mark.parametrize(
    ("arrays", "options", "wanted"),
    [
        ({"frames": (2, 3, 2, 4, 5)}, {}, ("frames", (3, 2, 4, 5))),
        ({"frames": (3, 2, 4, 5)}, {}, ("frames", (3, 2, 4, 5))),  # one window, as SpikingJelly saves it
        ({"images": (2, 3, 4, 5)}, {}, ("images", (3, 4, 5))),
        ({"features": (2, 20, 6)}, {}, ("features", (20, 6))),
        ({"features": (2, 20, 6, 9)}, {}, ("features", (20, 6, 9))),
        ({"features": (2, 20, 6, 9)}, {"shape": (20, 6, 9)}, ("features", (20, 6, 9))),
        ({"images": (2, 3, 4, 5), "features": (2, 7, 8)}, {"input": "features"}, ("features", (7, 8))),
    ],
)
def test_files_tell_their_kind(tmp_path, arrays, options, wanted):
    np.savez(tmp_path / "a.npz", **{name: np.zeros(shape) for name, shape in arrays.items()})
    assert told(tmp_path / "a.npz", **options) == told(tmp_path, **options) == wanted


@pytest.mark.parametrize(
    ("data", "options", "wanted"),
    [
        ((2, 3, 2, 4, 5), {}, ("frames", (3, 2, 4, 5))),
        ((2, 3, 4, 5), {}, ("images", (3, 4, 5))),
        ((2, 3, 4, 5), {"input": "features"}, ("features", (3, 4, 5))),
        ((2, 20, 6), {}, ("features", (20, 6))),
        (None, {"shape": (20, 6)}, ("features", (20, 6))),
        (None, {"shape": (3, 4, 5)}, ("images", (3, 4, 5))),
        (None, {"shape": (3, 4, 5), "input": "features"}, ("features", (3, 4, 5))),
    ],
)
def test_arrays_and_shapes_tell_it_by_their_axes(data, options, wanted):
    assert told(data, **options) == wanted


def test_a_graph_of_nir_has_time_steps(tmp_path):
    def told(**options) -> tuple[str, tuple[int, ...]]:
        contract = contract_of(ExportRequest(out=Path("x"), checkpoint=Path("a.nir"), **options), timed=True)
        return contract.name, contract.shape

    assert told(shape=(5, 6, 7)) == ("features", (5, 6, 7))
    assert told(shape=(5, 6)) == ("features", (5, 6))
    given = GivenWindows(batches=(np.zeros((2, 5, 6, 7), np.float32),), labels=None, source="given")
    assert told(data=given) == ("features", (5, 6, 7))
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 5, 6, 7)))
    for options in ({"data": tmp_path / "a.npz"}, {"shape": (5, 6, 7), "input": "images"}):
        with pytest.raises(BadInput, match=r"a\.nir is a NIR graph, which takes time steps, and images have none"):
            told(**options)


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"frames": (3, 4, 2, 8)}, {}, r"'frames' has shape \(3, 4, 2, 8\), it must be \[N, T, P, H, W\]"),
        ({"images": ()}, {}, r"'images' has shape \(\), it must be \[N, C, H, W\]"),
        ({"features": (3, 4)}, {}, r"'features' has shape \(3, 4\), it must be \[N, T, F\] or \[N, T, C, L\]"),
        ({"frames": (2, 3, 2, 4, 4)}, {"input": "features"}, r"a\.npz has no 'features' \(it has: frames\)"),
        ({"w": (2,)}, {}, r"a\.npz has neither 'frames' nor 'images' nor 'features' \(it has: w\)"),
        (dict.fromkeys("txyp", (3,)), {}, "is a recording, which does not store the shape of windows; give `shape`"),
        ({"events": (3, 4)}, {}, "is a recording, which does not store the shape of windows; give `shape` T,P,H,W"),
    ],
)
def test_files_that_do_not_tell_it_are_refused(tmp_path, arrays, options, said):
    np.savez(tmp_path / "a.npz", **{name: np.zeros(shape, np.int64) for name, shape in arrays.items()})
    with pytest.raises(BadInput, match=said):
        told(tmp_path / "a.npz", **options)


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (None, {}, "the shape of the network's windows is not known; give `shape` or `data`"),
        (
            (2, 3),
            {},
            r"`data` has shape \(2, 3\), it must be frames \[N, T, P, H, W\], or images .* or features \[N, T",
        ),
        ((2, 3, 4, 5, 6), {"input": "features"}, r"it must be features \[N, T, F\] or \[N, T, C, L\]$"),
        (None, {"shape": (3, 4, 5), "input": "frames"}, r"`shape` must be T,P,H,W \(frames\), not 3,4,5"),
        (None, {"shape": (3, 4), "input": "sounds"}, "`input` sounds .*frames"),
    ],
)
def test_options_that_do_not_tell_it_are_refused(data, options, said):
    with pytest.raises(BadInput, match=said):
        told(data, **options)


def test_what_is_no_data_tells_nothing(tmp_path):
    with pytest.raises(BadInput, match="is a folder without data files; their suffixes are "):
        told(tmp_path)
    torch.save({"w": torch.zeros(1)}, tmp_path / "net.pth")
    said = r"net\.pth is a checkpoint of PyTorch, not data; give recordings, pictures, or an .npz of 'frames', 'images'"
    with pytest.raises(BadInput, match=said):
        told(tmp_path / "net.pth")


def test_pictures_are_images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (12, 8)).save(tmp_path / "a.jpg")
    image.new("L", (9, 6)).save(tmp_path / "bb.png")
    assert told(tmp_path) == ("images", (3, 8, 12))
    assert told(tmp_path / "bb.png") == ("images", (1, 6, 9))
    np.savez(tmp_path / "c.npz", frames=np.zeros((2, 3, 2, 4, 4), np.uint8))
    assert told(tmp_path) == ("frames", (3, 2, 4, 4))  # a picture beside data shows it
