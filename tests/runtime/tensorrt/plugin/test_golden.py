"""The kernel on golden traces: what a network's layers take and fire in ONNX Runtime, of its golden windows."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import GOLDEN, PLAIN_MODEL, Bundle
from tcja_runtime.evidence import golden
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor
from tcja_runtime.neuron import fire, membranes
from tcja_runtime.tensorrt.plugin.kernel import Kernel, width

from . import host


@pytest.mark.releases
def test_golden_spikes_and_membranes(bundle, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    manifest = Bundle.open(bundle).manifest
    names = [name for layer in manifest.layers for name in (current_tensor(layer.name), spikes_tensor(layer.name))]
    session = OnnxRuntimeSession.open(bundle / PLAIN_MODEL, names)
    recorded = golden.load(bundle / GOLDEN, manifest.input)
    traces = session.run({manifest.input.name: recorded.samples.inputs})
    layers = [(layer, dtype) for layer in manifest.layers for dtype in (np.float32, np.float16)]
    kernels = [
        Kernel(layer.neuron, dtype is np.float16, width(layer.shape, dtype is np.float16), traced=True)
        for layer, dtype in layers
    ]
    library = host.compiled(kernels, tmp_path)
    for i, (layer, dtype) in enumerate(layers):
        current = traces[current_tensor(layer.name)].astype(dtype)
        spikes, h = host.run(library, i, kernels[i], current)
        expected = fire(layer.neuron, current.astype(np.float32))
        np.testing.assert_array_equal(spikes, expected.astype(dtype))
        np.testing.assert_array_equal(h, membranes(layer.neuron, current.astype(np.float32), expected))
        if dtype is np.float32:
            assert expected.any()
            np.testing.assert_array_equal(spikes, traces[spikes_tensor(layer.name)])
