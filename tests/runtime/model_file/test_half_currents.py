"""Fused layers in fp16, which have no current in float32: once it is exposed, it is there, and nothing else changes."""

import numpy as np
import onnx
import pytest

from tcja_exporters.graph.export import export_onnx, with_time_forms
from tcja_exporters.graph.exported import save
from tcja_exporters.networks import NETWORKS
from tcja_exporters.precision import lowered
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.model_file.half_currents import expose_currents
from tcja_runtime.model_file.layer_tensors import exposed
from tcja_runtime.model_file.tensor_names import current_tensor, given_tensor, spikes_tensor
from tests import networks

LAYERS = ("conv.0", "conv.2", "fc.2", "fc.5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, network = tmp_path_factory.mktemp("half"), NETWORKS["fashion_mnist"]
    module = networks.SMALL["fashion_mnist"].module()
    contract = network.contract(networks.SMALL["fashion_mnist"].sizes)
    exported = export_onnx(module, contract, network.output, {"producer": "tests"})
    half = lowered(module, exported, "fp16", set(), {}).exported
    save(with_time_forms(half, dict.fromkeys(LAYERS, "fused")), path)
    return path


@pytest.fixture(scope="module")
def feeds():
    small = networks.SMALL["fashion_mnist"]
    contract = NETWORKS["fashion_mnist"].contract(small.sizes)
    return {contract.name: small.inputs(3).numpy()}


def test_no_current_is_written_in_float32(folder):
    plain = onnx.load(folder / PLAIN_MODEL, load_external_data=False)
    made = {output for node in plain.graph.node for output in node.output}
    assert not made & set(map(current_tensor, LAYERS))
    splits = [node for node in plain.graph.node if node.op_type == "Split" and node.output[0].endswith("/half_0")]
    assert [node.input[0] for node in splits] == [f"{current_tensor(layer)}/half" for layer in LAYERS]


def test_probes_see_every_spike_and_current(folder, feeds):
    asked = [tensor(layer) for layer in LAYERS for tensor in (spikes_tensor, current_tensor)]
    whole, plain = (OnnxRuntimeSession.open(folder / file, asked).run(feeds) for file in (MODEL, PLAIN_MODEL))
    for tensor in asked:
        assert plain[tensor].dtype == np.float32
        np.testing.assert_array_equal(plain[tensor], whole[tensor])
    assert all(0 < whole[spikes_tensor(layer)].mean() < 1 for layer in LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_neurons_can_be_fed_another_current(folder, feeds, layer):
    """In float32, with values that half does not hold."""
    current, spikes = current_tensor(layer), spikes_tensor(layer)
    shape = OnnxRuntimeSession.open(folder / MODEL, [current]).run(feeds)[current].shape
    fed = np.random.default_rng(0).normal(1, 1, shape).astype(np.float32)
    whole, plain = (
        OnnxRuntimeSession.open(folder / file, [spikes], {current: (None,) * fed.ndim}).run(
            {given_tensor(current): fed}
        )
        for file in (MODEL, PLAIN_MODEL)
    )
    np.testing.assert_array_equal(plain[spikes], whole[spikes])
    assert 0 < whole[spikes].mean() < 1


def test_the_exposed_model_is_one(folder):
    model = onnx.ModelProto.FromString(exposed((folder / PLAIN_MODEL).read_bytes()))
    (folder / "exposed.onnx").write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(folder / "exposed.onnx"), full_check=True)


def test_a_model_without_half_currents_is_left_as_it_is(folder):
    whole = (folder / MODEL).read_bytes()
    assert expose_currents(whole) is whole


def test_bytes_that_are_no_model_are_refused():
    with pytest.raises(ValueError, match="ONNX model"):
        expose_currents(b"\xff" * 20)
