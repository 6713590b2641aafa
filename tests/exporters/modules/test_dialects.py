"""Inputs that meet the threshold, where > and >= part: every dialect fires as its training code does."""

import numpy as np
import onnxruntime
import pytest
import torch

from tcja_exporters.graph.export import export_onnx
from tcja_exporters.graph.exported import save
from tcja_exporters.modules.dialects import FSVAE, MS_RESNET, SPIKINGJELLY, TET, Dialect
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_runtime.data.contract import InputContract

T = 12


def published(dialect: Dialect, x: np.ndarray, strict: bool) -> np.ndarray:
    """The training code's neuron written out, in float32, with either comparison; x and spikes [N, T, units]."""
    f = np.float32
    charge, threshold = {
        "spikingjelly": (lambda v, c: v + (c - v) / f(2), f(1)),
        "tet": (lambda v, c: v * f(0.5) + c, f(1)),
        "ms_resnet": (lambda v, c: v * f(0.25) + c, f(0.5)),
        "fsvae": (lambda v, c: v * f(0.25) + c, f(0.2)),
    }[dialect.name]
    v, spikes = np.zeros_like(x[:, 0]), np.empty_like(x)
    for t in range(x.shape[1]):
        v = charge(v, x[:, t])
        spikes[:, t] = v > threshold if strict else v >= threshold
        v = v * (1 - spikes[:, t])
    return spikes


SLOW = [pytest.param(dialect, marks=pytest.mark.slow) for dialect in (MS_RESNET, FSVAE)]


@pytest.mark.parametrize("dialect", [SPIKINGJELLY, TET, *SLOW], ids=lambda dialect: dialect.name)
def test_strict_and_inclusive_thresholds_are_told_apart(dialect, tmp_path):
    """Half-integer multiples of the threshold, in PyTorch and in ONNX Runtime."""
    neuron = SpikingNeuron(dialect.neuron, time_axis=1)
    halves = np.random.default_rng(0).integers(-3, 7, (3, T, 2000)).astype(np.float32)
    x = halves * np.float32(dialect.neuron.threshold) / np.float32(2)
    expected = published(dialect, x, dialect.neuron.strict)
    other = published(dialect, x, not dialect.neuron.strict)
    assert (expected != other).mean() > 0.01  # else this data would prove nothing
    np.testing.assert_array_equal(neuron(torch.from_numpy(x)).numpy(), expected)

    exported = export_onnx(neuron, InputContract.latents(T, 2000), "spikes", {"producer": "tests"})
    save(exported, tmp_path)
    for name in ("model.onnx", "model.plain.onnx"):
        session = onnxruntime.InferenceSession(tmp_path / name)
        (fired,) = session.run(None, {"latents": x})
        np.testing.assert_array_equal(fired, expected)


def test_strict_is_per_dialect():
    assert [d.neuron.strict for d in (SPIKINGJELLY, TET, MS_RESNET, FSVAE)] == [False, True, True, True]
