"""The spike counts of a plain model, in ONNX Runtime: they are those of its spikes, in every form and for any shape."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tcja_exporters.time_forms.spike_counts import count_spikes, words_of
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.choices import TIME_FORMS
from tcja_runtime.model_file.tensor_names import SPIKE_COUNTS
from tcja_runtime.neuron import NeuronSpec, fire

from .one_layer import SPIKES, model

STEPS, WINDOWS = 4, 3
SPEC = NeuronSpec.linear(decay=0.5, strict=True)
HALVED = helper.make_node("Cast", [SPIKES], ["halved"], name="halved", to=TensorProto.FLOAT16)


def counts(plain, neurons):
    """The spikes [T, N, neurons] and the spike counts [N, layers, T] that ONNX Runtime returns for a current."""
    x = np.random.default_rng(0).normal(0.5, 1, (STEPS, WINDOWS, neurons)).astype(np.float32)
    spikes = fire(SPEC, x)
    assert 0.01 < spikes.mean() < 0.99
    session = onnxruntime.InferenceSession(plain.SerializeToString())
    return spikes, session.run([SPIKE_COUNTS], {"x": x})[0]


@pytest.mark.parametrize("fuses", [False, True], ids=["onnx", "tensorrt"])
@pytest.mark.parametrize("form", TIME_FORMS)
@pytest.mark.parametrize("shape", [(30,), (6, 5), (2, 3, 5), (2, 3, 5, 1)], ids=str)
def test_they_are_the_number_of_spikes(shape, form, fuses):
    layer = Layer(name="layer", shape=shape, neuron=SPEC)
    plain = count_spikes(model(SPEC, form, STEPS), [layer], STEPS, fuses=fuses)
    onnx.checker.check_model(plain, full_check=True)
    spikes, found = counts(plain, 30)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, spikes.sum(axis=2).T[:, None])


@pytest.mark.parametrize("channels", [2048, 8192])
def test_sums_in_half_hold_every_count(channels):
    """The spikes in half are read. In half, 2,049 is 2,048."""
    layer = Layer(name="layer", shape=(channels,), neuron=SPEC)
    whole = model(SPEC, "unrolled", STEPS)
    whole.graph.node.append(HALVED)
    plain = count_spikes(whole, [layer], STEPS, fuses=True)
    (product,) = (node for node in plain.graph.node if node.op_type == "Conv")
    (ones,) = (tensor for tensor in plain.graph.initializer if tensor.name == product.input[1])
    assert ones.data_type == TensorProto.FLOAT16
    assert ones.dims[1] <= 2048
    spikes, found = counts(plain, channels)
    np.testing.assert_array_equal(found, spikes.sum(axis=2).T[:, None])
    assert channels == 2048 or found.max() > 2048


@pytest.mark.parametrize("steps", [4, 24, 25])
def test_words_are_counted_of_layers_that_pack_their_spikes(steps):
    """A word holds 24 steps."""
    x = np.random.default_rng(1).normal(0.5, 1, (steps, WINDOWS, 70_000)).astype(np.float32)
    plain = count_spikes(
        model(SPEC, "fused", steps), [Layer(name="layer", shape=(70_000,), neuron=SPEC)], steps, fuses=True
    )
    assert len(words_of(plain.graph, "layer")) == -(-steps // 24)
    assert not [node for node in plain.graph.node if node.op_type == "Conv"]
    found = onnxruntime.InferenceSession(plain.SerializeToString()).run([SPIKE_COUNTS], {"x": x})[0]
    np.testing.assert_array_equal(found, fire(SPEC, x).sum(axis=2).T[:, None])
