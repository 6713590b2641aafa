"""What users give to a network: arrays and tensors become what ONNX Runtime takes, all else is refused in words."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.network.inputs import frame, windows

IMAGES, FRAMES = InputContract.images(3, 8, 9), InputContract.frames(5, 8, 9)
LATENTS = InputContract.latents(5, 7)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("contract", [IMAGES, FRAMES, LATENTS], ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8, np.int64, np.bool_])
@pytest.mark.parametrize("tensor", [False, True])
def test_one_window_or_several_of_any_type(contract, dtype, tensor):
    integers = np.issubdtype(dtype, np.integer)
    high = 256 if contract.scaling == "unit" and integers else 2
    given = RNG.integers(0, high, (2, *contract.shape)).astype(dtype)
    expected = given / np.float32(255) if high == 256 else given.astype(np.float32)
    several, single = (windows(torch.from_numpy(each) if tensor else each, contract) for each in (given, given[0]))
    assert several.dtype == single.dtype == np.float32
    np.testing.assert_allclose(several, expected, rtol=2e-7, atol=0)
    np.testing.assert_array_equal(single, several[:1])


def test_nothing_is_copied_that_is_right_already():
    given = np.ones((2, *FRAMES.shape), np.float32)
    assert windows(given, FRAMES) is given
    assert np.shares_memory(windows(torch.from_numpy(given), FRAMES), given)
    strided = np.ones((*FRAMES.shape, 2), np.float32).transpose(4, 0, 1, 2, 3)
    np.testing.assert_array_equal(windows(strided, FRAMES), given)


SIZES = "the network takes [3, 8, 9] for one window, or [N, 3, 8, 9] for several"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((8, 9, 3), np.uint8), f"'images' is uint8 [8, 9, 3]; {SIZES}; the channels are its last axis: give "),
        (np.zeros((4, 8, 9, 3)), f"'images' is float64 [4, 8, 9, 3]; {SIZES}; the channels are its last axis"),
        (np.zeros((3, 9, 8)), f"'images' is float64 [3, 9, 8]; {SIZES}$"),
        (np.zeros((0, 3, 8, 9)), f"'images' is float64 [0, 3, 8, 9]; {SIZES}$"),
        (np.zeros((1, 1, 3, 8, 9)), f"'images' is float64 [1, 1, 3, 8, 9]; {SIZES}$"),
        (np.zeros(()), f"'images' is float64 []; {SIZES}$"),
        ([[1.0]], "'images' is a list; give an array of numpy or a tensor$"),
        (None, "'images' is a NoneType; give an array"),
        ("a.png", "'images' is a str; give an array or a tensor, or call `classify` with the file$"),
        (Path("a.png"), "'images' is a PosixPath; give an array or a tensor, or call `classify` with the file$"),
        (np.zeros((3, 8, 9), complex), "'images' is complex128; give numbers$"),
        (np.full((3, 8, 9), "x"), "'images' is <U1; give numbers$"),
        (
            torch.zeros(3, 8, 9, requires_grad=True),
            "'images' is a Tensor that numpy cannot read (Can't export tensors ",
        ),
        (torch.zeros(3, 8, 9, dtype=torch.bfloat16), "'images' is a Tensor that numpy cannot read ("),
        (torch.zeros(3, 8, 9, device="meta"), "'images' is a Tensor that numpy cannot read ("),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_all_else_is_refused_in_words(values, message):
    expected = re.escape(message.removesuffix("$")) + "$" * message.endswith("$")
    with pytest.raises(BadInput, match=f"^{expected}"):
        windows(values, IMAGES)


@pytest.mark.parametrize(
    ("contract", "shape", "way"),
    [
        (IMAGES, (8, 9, 3), "numpy.moveaxis(values, -1, -3)"),
        (IMAGES, (4, 8, 9, 3), "numpy.moveaxis(values, -1, -3)"),
        (FRAMES, (5, 8, 9, 2), "numpy.moveaxis(values, -1, -3)"),
        (FRAMES, (5, 4, 2, 8, 9), "values.swapaxes(0, 1)"),
        (InputContract.images(1, 8, 9), (8, 9), "values[..., None, :, :]"),
        (InputContract.images(1, 8, 9), (4, 8, 9), "values[..., None, :, :]"),
    ],
)
def test_the_way_out_that_is_named_is_one(contract, shape, way):
    values = RNG.random(shape)
    with pytest.raises(BadInput, match=re.escape(f": give {way}")):
        windows(values, contract)
    assert windows(eval(way, {"numpy": np, "values": values}), contract).shape[1:] == contract.shape


def test_a_frame():
    given = RNG.integers(0, 9, (2, 8, 9))
    np.testing.assert_array_equal(frame(torch.from_numpy(given), FRAMES), given[None].astype(np.float32))
    with pytest.raises(BadInput, match=re.escape("'frame' is int64 [1, 2, 8, 9]; the network takes [2, 8, 9], one fr")):
        frame(given[None], FRAMES)
