"""The kernel on a GPU: the comparisons of `test_kernel`, where there is one."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tcja_runtime.machine import gpu
from tcja_runtime.neuron import fire, membranes
from tcja_runtime.plugin import launch, nvrtc

from .test_kernel import KERNELS, POOLS, SPECS, VARIANTS, currents, pooled

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        gpu() is None or importlib.util.find_spec("cuda") is None or nvrtc.installed() is None,
        reason="needs a GPU, cuda-bindings and NVRTC",
    ),
]


@pytest.mark.parametrize(("dtype", "pool", "traced"), VARIANTS)
@pytest.mark.parametrize("name", SPECS)
def test_spikes_and_membranes_are_the_specifications(name, dtype, pool, traced):
    spec, current = SPECS[name], currents(POOLS[pool], dtype)
    kernel = KERNELS[list(SPECS).index(name) * len(VARIANTS) + VARIANTS.index((dtype, pool, traced))]
    got, *got_h = launch.run(kernel, current)
    spikes = fire(spec, current.astype(np.float32))
    np.testing.assert_array_equal(got, pooled(spikes, pool).astype(dtype))
    if traced:
        h = membranes(spec, current.astype(np.float32), spikes)
        rows, columns = (size // pool * pool for size in POOLS[pool])
        np.testing.assert_array_equal(got_h[0][..., :rows, :columns], h[..., :rows, :columns])
