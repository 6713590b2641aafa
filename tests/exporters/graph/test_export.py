import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from tcja_exporters.graph.export import export_onnx
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.networks import NETWORKS
from tcja_exporters.reference import recorder
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec

from ... import networks
from .exporting import contract, layers, probe

MODELS = pytest.mark.parametrize("file", [MODEL, PLAIN_MODEL])


@MODELS
@networks.BOTH
@pytest.mark.parametrize("batch", [1, 5])
def test_onnx_runtime_fires_pytorchs_spikes(name, exports, file, batch):
    folder = exports[name][1]
    inputs = networks.SMALL[name].inputs(batch).numpy()
    expected = recorder.run(networks.SMALL[name].module(), inputs)
    actual = probe(folder, file, name).free(inputs)
    assert sum((expected.spikes[layer] != actual.spikes[layer]).sum() for layer in expected.spikes) == 0
    np.testing.assert_allclose(actual.output, expected.output, rtol=0, atol=1e-6)


def test_both_models_keep_the_contract(name, exports):
    exported, _ = exports[name]
    for model in (exported.model, exported.plain):
        onnx.checker.check_model(model, full_check=True)
        assert model.ir_version == onnx.helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True) == 8
        assert {(o.domain, o.version) for o in model.opset_import} <= {("", 18), ("tcja", 1)}
        (source,), (result,) = model.graph.input, model.graph.output
        assert (source.name, result.name) == (contract(name).name, NETWORKS[name].output)
        assert all(value.type.tensor_type.shape.dim[0].dim_param == "batch" for value in (source, result))
        shape = [d.dim_value for d in source.type.tensor_type.shape.dim[1:]]
        assert tuple(shape) == contract(name).shape
        assert {p.key: p.value for p in model.metadata_props} == {"producer": "tests", "T": "5"}
    assert [function.name for function in exported.model.functions] == ["TcjaLif"]
    assert not exported.plain.functions
    assert {node.domain for node in exported.plain.graph.node} == {""}
    assert [opset.domain for opset in exported.plain.opset_import] == [""]


def test_scan_bodies_say_their_rank(name, exports):
    """ONNX Runtime up to 1.23, the last for Python 3.10, does not run a Scan whose results have no declared rank."""
    exported, _ = exports[name]
    nodes = [*exported.plain.graph.node, *(node for function in exported.model.functions for node in function.node)]
    bodies = [helper.get_attribute_value(a) for n in nodes for a in n.attribute if a.name == "body"]
    assert len(bodies) == len(layers(name)) + 1
    assert all(value.type.tensor_type.HasField("shape") for body in bodies for value in body.output)


class Shared(nn.Module):
    """Two neurons on one current, which is the model's input; the second one's spikes are its output."""

    def __init__(self) -> None:
        super().__init__()
        self.first = SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=True))
        self.second = SpikingNeuron(NeuronSpec.linear(decay=0.25, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(x) if self.first(x).shape == x.shape else x


class Twice(Shared):
    def forward(self, x: Tensor) -> Tensor:
        return self.first(self.first(x))


def test_a_neuron_that_is_used_twice_is_refused():
    with pytest.raises(BadInput, match="the neuron 'first' is used more than once in a forward pass"):
        export_onnx(Twice(), InputContract.images(2, 3, 3), "spikes", {"producer": ""})


@pytest.mark.slow
def test_a_forward_pass_before_the_export_changes_nothing():
    small = networks.SMALL["fashion_mnist"]
    network, contract_ = small.module(), contract(small.name)
    before = export_onnx(network, contract_, "rates", {"producer": ""})
    with torch.no_grad():
        network(small.inputs(3) * 7)
    assert export_onnx(network, contract_, "rates", {"producer": ""}).model == before.model


def test_a_second_run_starts_from_rest(name, exports):
    session, output = OnnxRuntimeSession.open(exports[name][1] / MODEL), NETWORKS[name].output
    inputs, input_name = networks.SMALL[name].inputs(2).numpy(), contract(name).name
    first = session.run({input_name: inputs})[output]
    session.run({input_name: inputs * 5})
    np.testing.assert_array_equal(session.run({input_name: inputs})[output], first)


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)


def test_a_network_that_fixes_its_batch_is_refused():
    with pytest.raises(BadInput, match="fixes the batch size"):
        export_onnx(FixedBatch(), InputContract.images(1, 4, 4), "y", {"producer": ""})
