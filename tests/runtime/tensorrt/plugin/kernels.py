"""The kernels that the tests compile, and what they are given."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.tensorrt.plugin.kernel import Kernel, width

SPECS = {
    "lif": NeuronSpec.leaky(decay_input=True, tau=2.0),
    "lif, tau 3": NeuronSpec.leaky(decay_input=True, tau=3.0, threshold=0.7),
    "lif, v_reset": NeuronSpec.leaky(decay_input=True, tau=2.0, v_reset=-0.5),
    "lif, v_rest": NeuronSpec.leaky(decay_input=True, tau=2.0, v_reset=-0.5, v_initial=0.75, v_rest=0.25),
    "plif, strict, soft": NeuronSpec.leaky(decay_input=True, rate=0.3, strict=True, reset="soft"),
    "leaky": NeuronSpec.leaky(decay_input=False, tau=4.0),
    "leaky, tau 7, v_reset": NeuronSpec.leaky(decay_input=False, tau=7.0, v_reset=-1.0),
    "tet": NeuronSpec.linear(decay=0.5, strict=True),
    "fsvae": NeuronSpec.linear(decay=0.2, strict=True, threshold=0.2),
    "integrate and fire": NeuronSpec.linear(decay=1.0, strict=False),
    "gain, bias, v_reset": NeuronSpec.linear(decay=0.9, gain=1.7, bias=0.1, strict=False, v_reset=-0.5),
    "v_initial": NeuronSpec.linear(decay=0.5, strict=True, v_initial=1.5),
    "soft": NeuronSpec.linear(decay=0.5, strict=False, reset="soft"),
    "late": NeuronSpec.linear(decay=0.9, strict=True, reset="late"),
    "refractory": NeuronSpec.linear(decay=0.9, bias=0.1, strict=False, threshold=0.7, reset="refractory"),
    "no reset": NeuronSpec.linear(decay=0.5, strict=True, reset="none"),
    "klif": dataclasses.replace(NeuronSpec.leaky(decay_input=True, tau=3.0, v_reset=-0.5), slope=1.3),
    "klif, soft, rescales": dataclasses.replace(
        NeuronSpec.leaky(decay_input=False, tau=2.0, threshold=0.7, reset="soft"), slope=0.7, rescales=True
    ),
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


def currents(rows_and_columns, dtype, others=(8, 3, 5), seed=0):
    """[T, N, C, H, W]: those that meet thresholds exactly, and those that come near them, from tiny to large."""
    generator = np.random.default_rng(seed)
    shape = (*others, *rows_and_columns)
    ties = generator.integers(-8, 9, shape) / 4
    drawn = generator.standard_normal(shape) * 10 ** generator.uniform(-6, 2, shape)
    return np.where(generator.random((1, *shape[1:])) < 0.5, ties, drawn).astype(dtype)


def pooled(spikes, k):
    rows, columns = (size // k for size in spikes.shape[-2:])
    cells = spikes[..., : rows * k, : columns * k].reshape(*spikes.shape[:-2], rows, k, columns, k)
    return cells.max((-3, -1))
