import os

import numpy as np
import onnx
import pytest
from torch import nn

from tcja_exporters.graph.export import export_onnx
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.data.contract import InputContract
from tcja_runtime.model_file.model import WEIGHTS
from tcja_runtime.neuron import NeuronSpec


def test_weights_are_stored_once(name, exports):
    exported, folder = exports[name]
    assert sorted(os.listdir(folder)) == sorted([MODEL, PLAIN_MODEL, WEIGHTS])
    outside = [t.raw_data for t in exported.model.graph.initializer if len(t.raw_data) >= 1024]
    assert len(outside) > 2
    assert sum(map(len, outside)) <= (folder / WEIGHTS).stat().st_size < sum(map(len, outside)) + 64 * len(outside)
    for file, model in ((MODEL, exported.model), (PLAIN_MODEL, exported.plain)):
        loaded = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(folder / file).graph.initializer}
        for tensor in model.graph.initializer:
            np.testing.assert_array_equal(loaded[tensor.name], onnx.numpy_helper.to_array(tensor))


@pytest.mark.slow
def test_weights_that_are_computed_are_not_drawn():
    """Of a parametrised weight, the model has a constant, but the module has no tensor to replace."""
    network = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=True))
    )
    plain = nn.Sequential(nn.Linear(4, 3), SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=True)))
    contract = InputContract.latents(5, 4)
    found = [export_onnx(each, contract, "rates", {"producer": ""}).weights for each in (network, plain)]
    assert [[weight.module for weight in weights] for weights in found] == [[], ["0"]]
