"""Commands answer from the files that they checked, whatever becomes of the files after that."""

import json
import shutil

import numpy as np
import pytest

import tcja_runtime as tcja
from tcja_runtime.bundle.bundle import Bundle

from .. import networks
from ..streams import atis, drawn


@pytest.fixture(params=["fashion_mnist"])
def name(request) -> str:
    return request.param


def swap(folder):
    """Another program writes other weights and golden windows into the files, and cuts the models short."""
    for file in folder.rglob("*"):
        if file.suffix in (".bin", ".npz"):
            with file.open("r+b") as stream:
                content = stream.read()
                stream.seek(0)
                stream.write(content[::-1])
        elif file.is_file() and file.name != "manifest.json":
            with file.open("r+b") as stream:
                stream.truncate(1)


@pytest.fixture
def swapped(monkeypatch):
    """From now on, the files of a bundle are swapped as soon as it was opened and checked."""

    def do():
        check = Bundle.open.__func__

        def opened(cls, path, **options):
            bundle = check(cls, path, **options)
            swap(bundle.path)
            return bundle

        monkeypatch.setattr(Bundle, "open", classmethod(opened))

    return do


def lines(text):
    return [line for line in text.splitlines() if not line.startswith("✓")]


def test_run(run, bundle, data, name, swapped):
    expected = run("run", bundle, data[name], "--csv")
    swapped()
    found = run("run", bundle, data[name], "--csv")
    assert (found[0], found[1]) == (expected[0], expected[1]) == (0, expected[1])
    assert len(found[1].splitlines()) == 13


def test_a_loaded_network(bundle, data, name):
    with np.load(data[name]) as archive:
        images = archive["images"]
    with tcja.load(bundle) as net:
        before = net.outputs(images)
        swap(bundle)
        np.testing.assert_array_equal(net.outputs(images), before)
        assert net.info.taken.proven.values.most > 0


@pytest.mark.slow
def test_a_loaded_network_frame_by_frame_and_a_stream(streamed, tmp_path):
    gestures = shutil.copytree(streamed(networks.SMALL["dvs128"]), tmp_path / "a.bundle")
    recording = tmp_path / "a.bin"
    recording.write_bytes(atis(drawn(6000, seconds=0.6)))
    with tcja.load(gestures) as net:
        expected = [each.prediction.scores for each in net.stream(recording, "100ms")]
        swap(gestures)
        found = [each.prediction.scores for each in net.stream(recording, "100ms")]
        assert len(found) > 3
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [("verify", "--json"), ("inspect", "--device", "orin-nano", "--json"), ("bench", "--seconds", "0.1", "--json")],
    ids=lambda command: command[0],
)
def test_other_commands(run, bundle, swapped, command):
    first, *options = command
    expected = run(first, bundle, *options)
    swapped()
    code, out, err = run(first, bundle, *options)
    assert (code, expected[0]) == (0, 0), err
    if first != "bench":
        assert json.loads(out) == json.loads(expected[1])


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.rtx
def test_build_adds_its_engine_to_nothing_else_than_it_read(run, bundle, swapped, tmp_path):
    (bundle / "engines").mkdir()
    for name in ("a", "b"):
        (bundle / "engines" / name).symlink_to("..")  # copied, they would be without end
    assert run("build", bundle, "--target", "tensorrt-rtx")[0] == 0
    assert [each.is_symlink() for each in (bundle / "engines").iterdir()] == [False]
    manifest = (bundle / "manifest.json").read_bytes()
    swapped()
    code, _, err = run("build", bundle, "--target", "tensorrt-rtx", "--batch", "2")
    assert code == 2
    said = "golden.npz was changed while the engine was built, so the bundle is left as it is; copy the bundle again"
    assert said in err.splitlines()[-1]
    assert (bundle / "manifest.json").read_bytes() == manifest
    assert len(list((bundle / "engines").iterdir())) == 1
