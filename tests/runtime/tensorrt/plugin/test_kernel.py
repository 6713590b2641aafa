"""The neuron's CUDA kernel: the very source that GPUs run, compiled for this machine's processor, to the bit."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest

from tcja_runtime.neuron import NeuronSpec, fire, membranes
from tcja_runtime.tensorrt.plugin.kernel import Kernel, width

from . import host

SPECS = {
    "lif": NeuronSpec.leaky(decay_input=True, tau=2.0),
    "lif, tau 3": NeuronSpec.leaky(decay_input=True, tau=3.0, threshold=0.7),
    "lif, v_reset": NeuronSpec.leaky(decay_input=True, tau=2.0, v_reset=-0.5),
    "plif, strict, soft": NeuronSpec.leaky(decay_input=True, rate=0.3, strict=True, reset="soft"),
    "leaky": NeuronSpec.leaky(decay_input=False, tau=4.0),
    "leaky, tau 7, v_reset": NeuronSpec.leaky(decay_input=False, tau=7.0, v_reset=-1.0),
    "tet": NeuronSpec.linear(decay=0.5, strict=True),
    "fsvae": NeuronSpec.linear(decay=0.2, strict=True, threshold=0.2),
    "integrate and fire": NeuronSpec.linear(decay=1.0, strict=False),
    "gain, bias, v_reset": NeuronSpec.linear(decay=0.9, gain=1.7, bias=0.1, strict=False, v_reset=-0.5),
    "soft": NeuronSpec.linear(decay=0.5, strict=False, reset="soft"),
    "late": NeuronSpec.linear(decay=0.9, strict=True, reset="late"),
    "no reset": NeuronSpec.linear(decay=0.5, strict=True, reset="none"),
    "threshold below 0": NeuronSpec.linear(decay=0.5, strict=False, threshold=-0.25, v_reset=-2.0),
}
POOLS = {1: (6, 8), 2: (7, 6), 3: (7, 8)}
"""Rows and columns for each pooling; those of 2 and 3 leave neurons over."""
VARIANTS = list(itertools.product((np.float32, np.float16), POOLS, (False, True)))
KERNELS = [
    Kernel(spec, dtype is np.float16, width((5, *POOLS[pool]), dtype is np.float16, pool), pool, traced)
    for spec in SPECS.values()
    for dtype, pool, traced in VARIANTS
]


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    return host.compiled(KERNELS, tmp_path_factory.mktemp("kernels"))


def currents(rows_and_columns, dtype, others=(8, 3, 5), seed=0):
    """[T, N, C, H, W]: those that meet thresholds exactly, and those that come near them, from tiny to large."""
    generator = np.random.default_rng(seed)
    shape = (*others, *rows_and_columns)
    ties = generator.integers(-8, 9, shape) / 4
    drawn = generator.standard_normal(shape) * 10 ** generator.uniform(-6, 2, shape)
    return np.where(generator.random((1, *shape[1:])) < 0.5, ties, drawn).astype(dtype)


@pytest.mark.parametrize(("dtype", "pool", "traced"), VARIANTS)
@pytest.mark.parametrize("name", SPECS)
def test_spikes_and_membranes_are_the_specifications(library, name, dtype, pool, traced):
    spec, current = SPECS[name], currents(POOLS[pool], dtype)
    i = list(SPECS).index(name) * len(VARIANTS) + VARIANTS.index((dtype, pool, traced))
    got, got_h = host.run(library, i, KERNELS[i], current)
    spikes = fire(spec, current.astype(np.float32))
    assert 0.02 < spikes.mean() < 0.98
    np.testing.assert_array_equal(got, pooled(spikes, pool).astype(dtype))
    if traced:
        h = membranes(spec, current.astype(np.float32), spikes)
        rows, columns = (size // pool * pool for size in POOLS[pool])
        np.testing.assert_array_equal(got_h[..., :rows, :columns], h[..., :rows, :columns])
        assert np.isnan(got_h[..., rows:, :]).all()


def pooled(spikes, k):
    rows, columns = (size // k for size in spikes.shape[-2:])
    cells = spikes[..., : rows * k, : columns * k].reshape(*spikes.shape[:-2], rows, k, columns, k)
    return cells.max((-3, -1))


def test_currents_meet_thresholds_exactly():
    """Or the comparisons above could not tell >= from >."""
    current = currents(POOLS[1], np.float32)
    for name in ("lif", "tet"):
        spec = SPECS[name]
        spikes = fire(spec, current)
        assert (membranes(spec, current, spikes) == spec.threshold).sum() > 20


def test_the_shim_converts_every_half(library):
    values = np.empty(2**16, np.float32)
    library.widen(2**16, values.ctypes.data_as(host.ctypes.c_void_p))
    np.testing.assert_array_equal(values, np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "half", "pool", "wide"),
    [
        ((128, 16, 16), False, 1, 4),
        ((128, 16, 16), True, 1, 8),
        ((10,), False, 1, 2),
        ((110,), True, 1, 2),
        ((3, 5), False, 1, 1),
        ((128, 16, 16), True, 2, 2),
        ((128, 16, 15), False, 2, 1),
        ((128, 16, 16), False, 4, 4),
        ((128, 15, 15), False, 3, 1),
    ],
)
def test_as_many_neurons_are_read_at_once_as_are_aligned_in_any_batch(shape, half, pool, wide):
    assert width(shape, half, pool) == wide


@pytest.mark.parametrize(("arguments", "said"), [({"pool": 9}, "1 to 8"), ({"pool": 2, "width": 4}, "4 at a time")])
def test_impossible_kernels_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        Kernel(SPECS["lif"], **arguments)
