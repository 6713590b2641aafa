"""The neuron's CUDA kernel: the very source that GPUs run, compiled for this machine's processor, to the bit."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tcja_runtime.neuron import fire, membranes
from tcja_runtime.tensorrt.plugin.kernel import Kernel, width

from . import host
from .kernels import KERNELS, POOLS, SPECS, VARIANTS, currents, pooled


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    return host.compiled(KERNELS, tmp_path_factory.mktemp("kernels"))


@pytest.mark.releases
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


@pytest.mark.releases
def test_membranes_of_integrators_are_the_specifications(tmp_path):
    specs = [spec.integrator() for spec in SPECS.values() if not spec.v_reset and spec.slope is None]
    current = currents(POOLS[1], np.float32)
    kernels = [Kernel(spec, width=width(current.shape[2:], False)) for spec in specs]
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    library = host.compiled(kernels, tmp_path)
    for i, (spec, kernel) in enumerate(zip(specs, kernels, strict=True)):
        found, _ = host.run(library, i, kernel, current)
        np.testing.assert_array_equal(found, membranes(spec, current, np.zeros(current.shape, np.bool_)))


def test_currents_meet_thresholds_exactly():
    """Or the comparisons above could not tell >= from >."""
    current = currents(POOLS[1], np.float32)
    for name in ("lif", "tet"):
        spec = SPECS[name]
        spikes = fire(spec, current)
        assert (membranes(spec, current, spikes) == spec.threshold).sum() > 20


@pytest.mark.releases
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
    with pytest.raises(ValueError, match="the kernel of an integrator computes in float32, without pooling"):
        Kernel(SPECS["lif"].integrator(), half=True)
