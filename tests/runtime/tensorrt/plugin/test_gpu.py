"""The kernel on a GPU: the comparisons of `test_kernel`, where there is one, and more of them.

`pytest --noconftest` runs them where torch and onnx are not installed.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tcja_runtime.machine.gpu import gpu
from tcja_runtime.neuron import NeuronSpec, fire, membranes
from tcja_runtime.tensorrt.plugin import launch, nvrtc
from tcja_runtime.tensorrt.plugin.kernel import Kernel, width

from .kernels import KERNELS, POOLS, SPECS, VARIANTS, currents, pooled

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
    kernel = KERNELS[list(SPECS).index(name) * len(VARIANTS) + VARIANTS.index((dtype, pool, traced))]
    compare(kernel, currents(POOLS[pool], dtype))


def compare(kernel, current):
    """What the GPU computes with the specification, to the bit."""
    got, *got_h = launch.run(kernel, current)
    spikes = fire(kernel.spec, current.astype(np.float32))
    np.testing.assert_array_equal(got, pooled(spikes, kernel.pool).astype(current.dtype))
    if kernel.traced:
        h = membranes(kernel.spec, current.astype(np.float32), spikes)
        rows, columns = (size // kernel.pool * kernel.pool for size in current.shape[-2:])
        np.testing.assert_array_equal(got_h[0][..., :rows, :columns], h[..., :rows, :columns])


def drawn(generator):
    """A neuron with any constants."""
    reset = str(generator.choice(["hard", "soft", "late", "refractory", "none"]))
    strict, threshold = bool(generator.random() < 0.5), float(generator.choice([0.25, 0.7, 1.0]))
    v_reset = float(generator.choice([0.0, -0.5, 0.1])) if reset == "hard" else 0.0
    rest = {"strict": strict, "threshold": threshold, "reset": reset, "v_reset": v_reset}
    if generator.random() < 0.4:
        decay, gain, bias = (float(value) for value in generator.random(3))
        return NeuronSpec.linear(decay=decay, gain=gain, bias=bias - 0.5, **rest)
    if reset in ("late", "refractory"):
        return NeuronSpec.linear(decay=float(generator.choice([0.5, 0.9, 1.0])), **rest)
    leak = {"tau": float(1 + 9 * generator.random())} if generator.random() < 0.7 else {"rate": 0.3}
    return NeuronSpec.leaky(decay_input=bool(generator.random() < 0.5), **leak, **rest)


@pytest.mark.parametrize("seed", range(64))
def test_any_neurons_of_any_size(seed):
    """Blocks that are not full, steps that are not read four at a time, rows that are not pooled whole."""
    generator = np.random.default_rng(seed)
    pool = int(generator.integers(1, 5))
    sizes = (int(generator.choice([1, 3, 4, 20, 33])), *map(int, generator.integers(1, (6, 24))))
    rows_and_columns = tuple(map(int, generator.integers(pool, 40, 2)))
    current = currents(rows_and_columns, np.float16 if seed % 2 else np.float32, sizes, seed)
    half, window = current.dtype == np.float16, current.shape[2:]
    compare(Kernel(drawn(generator), half, width(window, half, pool), pool, seed % 3 > 0), current)
