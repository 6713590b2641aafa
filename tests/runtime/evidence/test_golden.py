import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.windows import random_windows
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden, stimulus
from tcja_runtime.evidence.golden import Recorder
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.trace import Reference, Witnesses
from tcja_runtime.files import limits

CONTRACT = InputContract.frames(3, 8, 8)
SHAPES = {"a.1": (13,), "b": (2, 2, 2)}


def random_reference(windows: int, seed: int = 0) -> Reference:
    rng = np.random.default_rng(seed)

    def witnesses(neurons: int) -> Witnesses:
        window = np.sort(rng.integers(0, windows, 6)).astype(np.int32)
        element = rng.integers(0, neurons, 6)
        return Witnesses(window, element, rng.random((3, 6)), rng.random((3, 6)).astype(np.float32))

    return Reference(
        output=rng.random((windows, 4)),
        output_bound=rng.random((windows, 4)).astype(np.float32),
        spikes={name: rng.random((3, windows, *shape)) < 0.3 for name, shape in SHAPES.items()},
        undecided={name: rng.integers(0, 3, (windows, 3)) for name in SHAPES},
        witnesses={name: witnesses(int(np.prod(shape))) for name, shape in SHAPES.items()} | {"c.gate": witnesses(5)},
    )


PREDICTIONS = Predictions(
    likeliest=np.array([[1, 0], [0, 1], [1, 0]], np.int32),
    early=np.array([[0, 1, 1], [0, 0, 0], [1, 0, 1]], np.int32),
    shown=np.array([[1, 1, 1], [1, 0, 0]], np.int32),
    digest="abc",
)


def assert_same(found: Reference, expected: Reference) -> None:
    np.testing.assert_array_equal(found.output, expected.output)
    np.testing.assert_array_equal(found.output_bound, expected.output_bound)
    assert list(found.spikes) == list(expected.spikes)
    for layer, spikes in expected.spikes.items():
        np.testing.assert_array_equal(found.spikes[layer], spikes)
    for layer, undecided in expected.undecided.items():
        np.testing.assert_array_equal(found.undecided[layer], undecided)
    assert list(found.witnesses) == list(expected.witnesses)
    for signal, witnesses in expected.witnesses.items():
        for name, array in vars(witnesses).items():
            np.testing.assert_array_equal(getattr(found.witnesses[signal], name), array)
            assert getattr(found.witnesses[signal], name).dtype == array.dtype


@pytest.mark.parametrize("labelled", [True, False])
def test_round_trip(tmp_path, labelled):
    samples = random_windows(CONTRACT, 5)
    if labelled:
        samples = type(samples)(inputs=samples.inputs, labels=np.arange(5), source="x.npz", real=True)
    drawn = random_reference(2, seed=3)
    given = {name: stimulus.spikes(name, shape, 3, 2) for name, shape in SHAPES.items()}
    drawn = dataclasses.replace(drawn, spikes=given, undecided={})
    recorder = Recorder()
    recorder.add_scene("drawn", drawn)
    recorder.add(random_reference(2, seed=1))
    recorder.add(random_reference(3, seed=2))
    golden.save(tmp_path / "golden.npz", recorder.golden(samples, PREDICTIONS), CONTRACT)
    loaded = golden.load(tmp_path / "golden.npz", CONTRACT)

    np.testing.assert_array_equal(loaded.samples.inputs, samples.inputs)
    assert_same(loaded.reference(slice(2)), random_reference(2, seed=1))
    assert_same(loaded.reference(slice(2, 5)), random_reference(3, seed=2))
    assert list(loaded.scenes) == ["drawn"]
    assert_same(loaded.scenes["drawn"], drawn)
    assert loaded.samples.source == samples.source
    assert loaded.predictions.digest == "abc"
    for name in ("likeliest", "early", "shown"):
        np.testing.assert_array_equal(getattr(loaded.predictions, name), getattr(PREDICTIONS, name))
    assert loaded.samples.real is labelled
    assert (loaded.samples.labels is not None) is labelled


def saved(path: Path) -> dict[str, np.ndarray]:
    """Golden vectors with a stimulus; returns the arrays in the file."""
    recorder = Recorder()
    given = {name: stimulus.spikes(name, shape, 3, 2) for name, shape in SHAPES.items()}
    recorder.add_scene("drawn", dataclasses.replace(random_reference(2), spikes=given, undecided={}))
    recorder.add(random_reference(3))
    golden.save(path, recorder.golden(random_windows(CONTRACT, 3), PREDICTIONS), CONTRACT)
    with np.load(path) as file:
        return dict(file)


BOMBS = {
    "an array that nobody needs": (
        lambda _: {"x": np.zeros(2**22, np.uint8)},
        r"golden\.npz unpacks to 4,2\d\d,\d{3} bytes, and may have 2,\d{3},\d{3}; copy the bundle again",
    ),
    "a stimulus of 10^9 windows": (
        lambda _: {"drawn/output": np.zeros((10**9, 0)), "drawn/output_bound": np.zeros((10**9, 0), np.float32)},
        "the array drawn/output has a wrong type, shape or value",
    ),
    "a layer of 2^40 neurons": (
        lambda _: {"shape:b": np.array([2**20, 2**20]), "spikes:b": np.zeros((0, 2**37), np.uint8)},
        "the array spikes:b has a wrong type, shape or value",
    ),
    "no windows": (
        lambda arrays: {"frames": arrays["frames"][:0], "spikes:a.1": arrays["spikes:a.1"][:0]},
        "the array spikes:a.1 has a wrong type, shape or value",
    ),
}


@pytest.mark.parametrize(("change", "message"), BOMBS.values(), ids=BOMBS)
def test_golden_vectors_that_take_any_memory_are_refused(tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(limits, "FREE", 2**21)
    arrays = saved(tmp_path / "golden.npz")
    np.savez_compressed(tmp_path / "golden.npz", **arrays | change(arrays))
    with pytest.raises(BadInput, match=message):
        golden.load(tmp_path / "golden.npz", CONTRACT)


def test_counts_are_by_layer_window_and_step(tmp_path):
    reference = random_reference(2)
    recorder = Recorder()
    recorder.add(reference)
    golden.save(tmp_path / "golden.npz", recorder.golden(random_windows(CONTRACT, 2), PREDICTIONS), CONTRACT)
    with np.load(tmp_path / "golden.npz") as archive:
        assert archive["spike_counts"].shape == (2, 2, 3)
        assert archive["spike_counts"][1, 0, 2] == reference.spikes["b"][2, 0].sum()
        assert archive["layers"].tolist() == ["a.1", "b"]


def test_what_is_kept_is_bounded(monkeypatch):
    recorder = Recorder()
    for _ in range(5):
        recorder.add(random_reference(7))
    assert len(recorder.golden(random_windows(CONTRACT, 35), PREDICTIONS).samples) == golden.MAX_WINDOWS

    # A window has 3 * 13 and 3 * 8 bits, and 3 * 3 * 6 witnesses of 12 bytes in 7 windows.
    monkeypatch.setattr(golden, "MAX_BYTES", 3 * (4 + 3 + 3 * 3 * 6 * 12 // 7))
    recorder = Recorder()
    recorder.add(random_reference(7))
    assert len(recorder.golden(random_windows(CONTRACT, 7), PREDICTIONS).samples) == 3

    monkeypatch.setattr(golden, "MAX_BYTES", 1)
    recorder = Recorder()
    recorder.add(random_reference(7))
    assert len(recorder.golden(random_windows(CONTRACT, 7), PREDICTIONS).samples) == 1


def test_an_element_that_a_signal_does_not_have():
    one = np.zeros(1, np.int32)
    found = Witnesses(one, np.array([2**40]), np.zeros((3, 1)), np.zeros((3, 1), np.float32))
    with pytest.raises(BadInput, match=r"name element 1,099,511,627,776 of a signal of 8; export the bundle"):
        found.of(np.zeros((3, 1, 2, 2, 2)))


def test_windows_without_elements_are_repeated():
    one = np.ones(1, np.int32)
    found = Witnesses(one, one, np.zeros((3, 1)), np.zeros((3, 1), np.float32)).repeated(np.array([0, 1, 1]), 2)
    assert found.window.tolist() == [1, 2]
