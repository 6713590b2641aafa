"""What is given to a network from Python fits its contract, or is refused in words."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tcja_runtime.backends import checked
from tcja_runtime.backends.select import opened
from tcja_runtime.bundle.bundle import GOLDEN, Bundle
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden

from ... import networks

IMAGES = np.linspace(0, 1, 2 * 28 * 28, dtype=np.float32).reshape(2, 1, 28, 28)


@pytest.fixture
def name() -> str:
    """The network that takes images."""
    return "fashion_mnist"


def run(bundle, feeds):
    session = opened(Bundle.open(bundle), "onnxruntime").session
    try:
        return session.run(feeds)["rates"]
    finally:
        session.close()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_intensities_are_taken(bundle, dtype):
    given = IMAGES.astype(dtype)
    np.testing.assert_array_equal(run(bundle, {"images": given}), run(bundle, {"images": given.astype(np.float32)}))


NAN = np.where(IMAGES > 0.5, np.float32(np.nan), IMAGES)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        (
            {"images": (IMAGES * 255).astype(np.uint8)},
            r"'images' is uint8 \[2, 1, 28, 28\]; it must be float32 \[N, 1, 28, 28\]: intensities from 0 to 1; divide",
        ),
        ({"images": IMAGES * 255}, "'images' has values from 0 to 255; the network takes intensities from 0 to 1; div"),
        ({"images": IMAGES - 0.5}, "'images' has values from -0.5 to 0.5; the network takes intensities from 0 to 1"),
        ({"images": NAN}, "'images' has values that are NaN; give finite numbers"),
        ({"images": IMAGES > 0.5}, "'images' is bool"),
        ({"images": IMAGES.astype(complex)}, "'images' is complex128"),
        ({"images": IMAGES[0]}, r"'images' is float32 \[1, 28, 28\]; it must be float32 \[N, 1, 28, 28\]$"),
        ({"images": IMAGES[:0]}, "'images' has no windows"),
        ({"images": IMAGES.tolist()}, "'images' is a list; it must be an array of numpy"),
        ({"frames": IMAGES}, r"the network takes 'images' \[N, C, H, W\], not frames"),
        ({}, "the network takes 'images' .*, not nothing"),
    ],
)
def test_all_else_is_refused_in_words(bundle, feeds, message):
    with pytest.raises(BadInput, match=message):
        run(bundle, feeds)


def test_a_network_that_was_proven_on_other_values_takes_them(bundle):
    """Its training normalised the images, say."""
    manifest = Bundle.open(bundle).manifest
    vectors = golden.load(bundle / GOLDEN, manifest.input)
    samples = dataclasses.replace(vectors.samples, inputs=vectors.samples.inputs * 2 - 1)
    golden.save(bundle / GOLDEN, dataclasses.replace(vectors, samples=samples), manifest.input)
    write_manifest(bundle, manifest)
    assert run(bundle, {"images": IMAGES * 2 - 1}).shape[0] == 2


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("scaling", "value", "taken"),
    [
        *(("unit", value, True) for value in (0.0, -0.0, 1e-45, 1.0)),
        *(("unit", value, False) for value in (np.nextafter(np.float32(1), np.float32(2)), -1e-45, np.nan, -np.nan)),
        *(("unit", value, False) for value in (np.inf, -np.inf)),
        *(("counts", value, True) for value in (0.0, -0.0, 7.0, LARGEST)),
        *(("counts", value, False) for value in (-1.0, np.inf, -np.inf, np.nan)),
        *(("spikes", value, taken) for value, taken in ((0.0, True), (1.0, True), (2.0, False))),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("strided", [False, True])
def test_every_value_is_looked_at(scaling, value, taken, dtype, strided):
    """The smallest floats, -0, infinity and NaN are what the bits could confuse."""
    contract = {
        "unit": InputContract.images(1, 4, 5),
        "counts": InputContract.frames(4, 4, 5),
        "spikes": InputContract.latents(4, 5),
    }[scaling]
    values = np.zeros((2, *contract.shape), dtype)
    if strided:
        values = values.swapaxes(-1, -2).copy().swapaxes(-1, -2)
    assert checked.in_range(values, contract)
    values.flat[values.size // 2] = value
    assert checked.in_range(values, contract) == taken


class OneBuffer:
    """A session that has one buffer for all runs, as an engine has. ONNX Runtime computes what is in it."""

    inputs = ("images",)

    def __init__(self, inner) -> None:
        self._inner, self._buffer, self._meet = inner, None, threading.Event()
        self.closed = 0

    def run(self, feeds):
        self._buffer = feeds["images"]
        self._meet.wait(0.002)  # in which another thread would put its own windows into the buffer
        return self._inner.run({"images": self._buffer})

    def close(self) -> None:
        self.closed += 1


def test_each_thread_gets_its_own(bundle):
    images = networks.SMALL["fashion_mnist"].inputs(24, seed=3).numpy()
    session = opened(Bundle.open(bundle), "onnxruntime").session
    expected = session.run({"images": images})["rates"]
    locked = checked.ContractSession(OneBuffer(session), session.bundle)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda at: locked.run({"images": images[at : at + 1]})["rates"], range(24)))
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-6)
    assert len(np.unique(expected, axis=0)) > 12


def test_what_is_closed_says_so(bundle):
    session = checked.ContractSession(OneBuffer(None), Bundle.open(bundle))
    session.close()
    session.close()
    assert session.inner.closed == 1
    with pytest.raises(BadInput, match=f"^the network of {bundle} is closed; load it again$"):
        session.run({"images": IMAGES})


@pytest.mark.parametrize("value", [0.0, -0.0, -1.0, LARGEST, -LARGEST, np.inf, -np.inf, np.nan, -np.nan])
def test_what_is_finite_is_what_numpy_says(value):
    for least in (0, -5):
        values = np.full((3, 4), least, np.float32)
        values[1, 2] = value
        assert checked.finite(values) == np.isfinite(value)
