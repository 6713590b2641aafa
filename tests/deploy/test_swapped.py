"""Commands answer from the files that they checked, whatever becomes of the files after that."""

import json

import numpy as np
import pytest

import tcja_runtime as tcja
from tcja_runtime.bundle.bundle import Bundle


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

        def opened(cls, *arguments, **options):
            bundle = check(cls, *arguments, **options)
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
@pytest.mark.parametrize(
    "command",
    [("verify", "--json"), ("inspect", "--json"), ("bench", "--seconds", "0.1", "--json")],
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
    (bundle / "engines" / "a").symlink_to("..")  # followed, it would have no end
    code, _, err = run("build", bundle, "--target", "tensorrt-rtx")
    assert (code, "engines/a is a link, which is not followed here" in err.splitlines()[-1]) == (2, True)
    (bundle / "engines" / "a").unlink()
    check, others = Bundle.open.__func__, []

    def opened(cls, *arguments, **options):
        """Another process builds when this one reads the manifest. Its engine would be lost."""
        if not others:
            others.append(None)
            others.append(run("build", bundle, "--target", "tensorrt-rtx", "--batch", "4"))
        return check(cls, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Bundle, "open", classmethod(opened))
        assert run("build", bundle, "--target", "tensorrt-rtx")[0] == 0
    assert others[1][0] == 2
    assert f"another process is changing {bundle}; wait for its end" in others[1][2].splitlines()[-1]
    manifest = (bundle / "manifest.json").read_bytes()
    swapped()
    code, _, err = run("build", bundle, "--target", "tensorrt-rtx", "--batch", "2")
    assert code == 2
    said = "golden.npz was changed while the engine was built, so the bundle is left as it is; copy the bundle again"
    assert said in err.splitlines()[-1]
    assert (bundle / "manifest.json").read_bytes() == manifest
    assert len(list((bundle / "engines").iterdir())) == 1
