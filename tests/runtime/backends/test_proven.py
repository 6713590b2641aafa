"""Windows that a network was not proven on are named; others are not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import tcja_runtime as tcja
from tcja_deploy.cli import app
from tcja_runtime.backends.proven import WATCHED, InputWatch, Proven
from tcja_runtime.bundle.bundle import GOLDEN, Bundle
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden

from ... import networks
from ...described import described

BROKEN = "the inputs hold fractions, and the network was proven on whole numbers of events: do not divide or "
BEYOND = "the inputs hold counts of up to 20,000,000, and the network was proven on counts of up to 16,777,215"


@pytest.fixture
def name() -> str:
    return "dvs128"


def frames(n: int, seed: int = 5) -> np.ndarray:
    """Windows of counts, as those of the bundle."""
    return np.asarray(networks.SMALL["dvs128"].inputs(n, seed=seed))


def far(windows: np.ndarray) -> np.ndarray:
    """The same windows with one count that float32 holds, and that is beyond those of the range stimulus."""
    changed = windows.copy()
    changed[0, 0, 0, 0, 0] = 2e7
    return changed


CASES = {
    "counts": (lambda windows: windows, ""),
    "divided": (lambda windows: windows / 255, BROKEN),
    "large": (far, BEYOND),
}


@pytest.mark.parametrize(("change", "said"), CASES.values(), ids=CASES)
def test_calls_name_fractions_and_large_counts_once(bundle, caplog, change, said):
    """The proof of this bundle has fewer windows than a comparison of their figures needs."""
    windows = change(frames(2))
    with tcja.load(bundle) as net:
        found = net(windows)
        net(windows)
    assert found.unlike.startswith(said)
    assert bool(found.unlike) == bool(said)
    assert caplog.messages == ([found.unlike] if said else [])
    assert {(each.name, each.levelname) for each in caplog.records} <= {("tcja_runtime", "WARNING")}
    assert (found.unlike in str(found).splitlines()) == bool(said)


COMMANDS = [*((("run",), case) for case in CASES), (("verify", "--data"), "divided")]


@pytest.mark.parametrize(("command", "case"), COMMANDS)
def test_commands_name_them(bundle, tmp_path, capsys, command, case):
    change, said = CASES[case]
    np.savez(tmp_path / "a.npz", frames=change(frames(2)))
    assert app.run([command[0], str(bundle), *command[1:], str(tmp_path / "a.npz")]) == 0
    text = " ".join("".join(capsys.readouterr()).split())
    assert (BROKEN in text, BEYOND in text) == (said == BROKEN, said == BEYOND)


def test_only_the_first_windows_are_compared(bundle):
    said: list[str] = []
    watch = InputWatch(Proven(Bundle.open(bundle)), most=WATCHED, note=said.append)
    watch.add(np.zeros((WATCHED, *frames(1).shape[1:]), np.float32))
    watch.add(frames(2) / 255)
    assert (watch.over, watch.unlike, said) == (True, "", [])


def test_the_newest_windows_are_compared(bundle):
    """Of all windows, so what has passed is not said any more."""
    watch = InputWatch(Proven(Bundle.open(bundle)), span=WATCHED)
    watch.add(frames(2) / 255)
    assert watch.unlike == BROKEN + "normalise them"
    for _ in range(WATCHED // 2 - 1):
        watch.add(frames(2))
    assert (watch.over, watch.unlike) == (False, BROKEN + "normalise them")
    watch.add(frames(2))
    assert watch.unlike == ""


def test_fractions_that_were_proven_are_none_to_name(bundle, caplog):
    """Nor are those of a network whose frames are resized with weights."""
    manifest = Bundle.open(bundle).manifest
    resized = dataclasses.replace(manifest.input, sensor=(128, 128), resize="bilinear")
    assert isinstance(resized, InputContract)
    vectors = golden.load(bundle / GOLDEN, manifest.input)
    samples = dataclasses.replace(vectors.samples, inputs=vectors.samples.inputs / 4 - 1)
    golden.save(bundle / GOLDEN, dataclasses.replace(vectors, samples=samples), manifest.input)
    write_manifest(bundle, manifest)
    with tcja.load(bundle) as net:
        assert not net(frames(2) / 255).unlike
        least, most = samples.inputs.min(), samples.inputs.max()
        assert f": the network was proven on values from {least:g} to {most:g}, or recordings" in str(net)
        net(-frames(2))
        with pytest.raises(BadInput, match="'frames' has values that are NaN; give finite numbers"):
            net(frames(2) * np.nan)
    described(bundle, input=resized)
    with tcja.load(bundle) as net:
        assert not net(frames(2) / 255).unlike
    assert caplog.messages == []
