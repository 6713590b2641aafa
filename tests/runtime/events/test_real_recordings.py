"""Recordings of real cameras, and what other readers make of them and of recordings that are made here."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tcja_runtime.events import Events, recording

from . import writers

ROOT = Path(__file__).parents[3]
REAL = ROOT.parent / "shared" / "recordings"
SECOND = Path(sys.prefix) / "spikingjelly-2"
real = pytest.mark.skipif(
    not REAL.is_dir(), reason="no real recordings in ../shared/recordings: their licences do not let them be shipped"
)


def read(path: Path) -> Events:
    return Events.joined(recording(path).chunks())


def same(events: Events, other: dict[str, np.ndarray]) -> bool:
    return len(events) > 0 and all(np.array_equal(getattr(events, key), other[key]) for key in "txyp")


@real
@pytest.mark.parametrize(
    ("file", "format_", "count", "sensor"),
    [
        ("sample_nmnist.bin", "atis", 4_325, None),
        ("sample_ncars.dat", "dat", 2_009, None),
        ("sample.aedat4", "aedat4", 111_954, (240, 320)),
        ("evt2.raw", "evt2", 521_252, None),
        ("evt3_sample.raw", "evt3", 219_596, None),
    ],
)
def test_what_is_known_of_them(file, format_, count, sensor):
    if format_ == "aedat4":
        pytest.importorskip("aedat")
    found = recording(REAL / file)
    events = Events.joined(found.chunks())
    assert (found.format, len(events), found.sensor) == (format_, count, sensor)
    assert np.all(np.diff(events.t) >= 0)
    assert 0.2 < events.p.mean() < 0.8


@real
@pytest.mark.releases
@pytest.mark.parametrize("file", ["sample.aedat4", "evt2.raw", "evt3_sample.raw"])
def test_as_faery_reads_them(file):
    faery = pytest.importorskip("faery")
    if file == "sample.aedat4":
        pytest.importorskip("aedat")
    theirs = np.concatenate(list(faery.events_stream_from_file(REAL / file)))
    ours = read(REAL / file)
    np.testing.assert_array_equal(ours.x, theirs["x"])
    np.testing.assert_array_equal(ours.y, theirs["y"])
    np.testing.assert_array_equal(ours.p, theirs["on"])
    if file != "evt3_sample.raw":
        np.testing.assert_array_equal(ours.t, theirs["t"])
        return
    # The camera's clock steps back by some microseconds at times, and faery then waits until it is there again.
    ahead = theirs["t"].astype(np.int64) - ours.t
    assert ahead.min() == 0
    assert ahead.max() < 20
    assert np.mean(ahead == 0) > 0.99


@real
@pytest.mark.releases
@pytest.mark.parametrize("file", ["sample_nmnist.bin", "sample_ncars.dat"])
def test_as_evio_reads_them(file):
    evio = pytest.importorskip("evio")
    theirs = evio.read(REAL / file)
    assert same(read(REAL / file), {key: theirs[key] for key in "txyp"})


class StandIn(types.ModuleType):
    """A package that SpikingJelly imports to load and draw, not to read: it has every name, and nothing behind it."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


STAND_INS = (
    *("h5py", "matplotlib", "matplotlib.pyplot", "scipy", "scipy.io", "tqdm"),
    *("torchaudio", "torchaudio.datasets", "torchaudio.datasets.speechcommands", "torchaudio.datasets.utils"),
    *("torchvision", "torchvision.datasets", "torchvision.datasets.utils", "torchvision.transforms"),
)


@pytest.fixture(scope="module", params=["first", pytest.param("second", marks=pytest.mark.releases)])
def spikingjelly(request) -> types.SimpleNamespace:
    """SpikingJelly's own readers, of both versions."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "second":
            if not SECOND.is_dir():
                pytest.skip("the second SpikingJelly is not installed")
            patch.syspath_prepend(SECOND)
        else:
            pytest.importorskip("spikingjelly")
        held = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "spikingjelly"}
        for name in held:
            del sys.modules[name]
        missing = {name for name in STAND_INS if "." not in name and importlib.util.find_spec(name) is None}
        for name in STAND_INS:
            if name.partition(".")[0] in missing:
                patch.setitem(sys.modules, name, StandIn(name))
        patch.setattr(np, "fromstring", np.frombuffer)  # for bytes, which NumPy has taken from the former
        try:
            datasets = importlib.import_module("spikingjelly.datasets")
            cifar = importlib.import_module("spikingjelly.datasets.cifar10_dvs")
            yield types.SimpleNamespace(
                aedat3=datasets.load_aedat_v3,
                atis=datasets.load_ATIS_bin,
                aedat2=getattr(cifar, "_load_origin_data", None) or cifar.CIFAR10DVS.load_origin_data,
                save=datasets.np_savez,
            )
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "spikingjelly"]:
                del sys.modules[name]
            sys.modules.update(held)


@real
def test_as_spikingjelly_reads_n_mnist(spikingjelly):
    assert same(read(REAL / "sample_nmnist.bin"), spikingjelly.atis(str(REAL / "sample_nmnist.bin")))


@pytest.mark.parametrize("name", ["atis", "aedat2", "aedat3"])
def test_as_spikingjelly_reads_what_is_made_here(spikingjelly, tmp_path, name):
    made = writers.FORMATS[name]
    file = tmp_path / f"a{made.suffix}"
    file.write_bytes(made.write(writers.some(made, 500)))
    assert same(read(file), getattr(spikingjelly, name)(str(file)))


def test_what_spikingjelly_stores(spikingjelly, tmp_path):
    made = writers.FORMATS["aedat3"]
    (tmp_path / "a.aedat").write_bytes(made.write(writers.some(made, 500)))
    stored = spikingjelly.aedat3(str(tmp_path / "a.aedat"))
    spikingjelly.save(str(tmp_path / "a.npz"), **stored)
    assert same(read(tmp_path / "a.npz"), stored)
