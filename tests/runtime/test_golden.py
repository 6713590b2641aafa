import numpy as np
import pytest

from tcja_runtime import golden
from tcja_runtime.frames import InputContract, draw
from tcja_runtime.golden import Recorder
from tcja_runtime.trace import Trace

CONTRACT = InputContract.frames(3, 8, 8)


def random_trace(windows: int, neurons: int = 13, seed: int = 0) -> Trace:
    rng = np.random.default_rng(seed)
    spikes = {"a.1": rng.random((3, windows, neurons)) < 0.3, "b": rng.random((3, windows, 2, 2, 2)) < 0.5}
    return Trace(rng.random((windows, 4), np.float32), spikes)


@pytest.mark.parametrize("labelled", [True, False])
def test_round_trip(tmp_path, labelled):
    samples = draw(CONTRACT, 5)
    if labelled:
        samples = type(samples)(inputs=samples.inputs, labels=np.arange(5), source="x.npz", real=True)
    recorder = Recorder()
    recorder.add(random_trace(2, seed=1))
    recorder.add(random_trace(3, seed=2))
    saved = recorder.golden(samples)
    golden.save(tmp_path / "golden.npz", saved, CONTRACT)
    loaded = golden.load(tmp_path / "golden.npz", CONTRACT)

    np.testing.assert_array_equal(loaded.samples.inputs, samples.inputs)
    for part, expected in ((slice(2), random_trace(2, seed=1)), (slice(2, 5), random_trace(3, seed=2))):
        trace = loaded.trace(part)
        np.testing.assert_array_equal(trace.output, expected.output)
        assert list(trace.spikes) == ["a.1", "b"]
        for layer in trace.spikes:
            np.testing.assert_array_equal(trace.spikes[layer], expected.spikes[layer])
    assert loaded.samples.source == samples.source
    assert loaded.samples.real is labelled
    assert (loaded.samples.labels is not None) is labelled


def test_counts_are_by_layer_window_and_step(tmp_path):
    trace = random_trace(2)
    counts = trace.spike_counts()
    assert counts.shape == (2, 2, 3)
    assert counts[1, 0, 2] == trace.spikes["b"][2, 0].sum()
    recorder = Recorder()
    recorder.add(trace)
    golden.save(tmp_path / "golden.npz", recorder.golden(draw(CONTRACT, 2)), CONTRACT)
    with np.load(tmp_path / "golden.npz") as archive:
        np.testing.assert_array_equal(archive["spike_counts"], counts)
        assert archive["layers"].tolist() == ["a.1", "b"]


def test_what_is_kept_is_bounded(monkeypatch):
    recorder = Recorder()
    for _ in range(5):
        recorder.add(random_trace(7))
    assert len(recorder.golden(draw(CONTRACT, 35)).samples) == golden.MAX_WINDOWS

    monkeypatch.setattr(golden, "MAX_BYTES", 20)  # a window has 3 * (13 + 8) = 63 bits
    recorder = Recorder()
    recorder.add(random_trace(7))
    assert len(recorder.golden(draw(CONTRACT, 7)).samples) == 20 * 8 // 63

    monkeypatch.setattr(golden, "MAX_BYTES", 1)
    recorder = Recorder()
    recorder.add(random_trace(7))
    assert len(recorder.golden(draw(CONTRACT, 7)).samples) == 1
