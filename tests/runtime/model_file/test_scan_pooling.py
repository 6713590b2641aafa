"""Scans that pool their spikes themselves: the same network, and the same inside once it is opened."""

import numpy as np
import onnx
import pytest
from onnx import helper

from tcja_exporters.graph.export import export_onnx, with_time_forms
from tcja_exporters.graph.exported import save
from tcja_exporters.networks import NETWORKS
from tcja_exporters.time_forms import lower
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.model_file import scan_pooling
from tcja_runtime.model_file.tensor_names import current_tensor, given_tensor, spikes_tensor
from tests import networks

NAMES = ("fashion_mnist", pytest.param("dvs128", marks=pytest.mark.slow))


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def folder(name, tmp_path_factory):
    small, network, path = networks.SMALL[name], NETWORKS[name], tmp_path_factory.mktemp(name)
    contract = network.contract(small.sizes)
    exported = export_onnx(small.module(), contract, network.output, {"producer": "tests"})
    save(with_time_forms(exported, {}, pooled=True), path)
    return path


@pytest.fixture(scope="module")
def feeds(name):
    small = networks.SMALL[name]
    return {NETWORKS[name].contract(small.sizes).name: small.inputs(3).numpy()}


def layers(folder):
    model = onnx.load(folder / MODEL, load_external_data=False)
    return [node.name.rpartition("/")[0] for node in model.graph.node if node.op_type == "TcjaLif"]


def pooled_layers(model):
    bodies = [(node.name, attribute.g.node) for node in model.graph.node for attribute in node.attribute]
    return [name.rpartition("/")[0] for name, body in bodies if any(node.op_type == "MaxPool" for node in body)]


def test_it_pools_what_is_only_pooled(name, folder):
    """Spikes that attention looks at, too, or that a matrix product takes, are returned."""
    plain = onnx.load(folder / PLAIN_MODEL, load_external_data=False)
    assert pooled_layers(plain) == {"dvs128": ["conv.1", "conv.4", "conv.7"], "fashion_mnist": ["conv.0"]}[name]
    made = {output for node in plain.graph.node for output in node.output}
    assert not made.intersection(map(spikes_tensor, pooled_layers(plain)))


def test_it_pools_where_the_shape_of_the_current_is_not_stored(folder):
    """It is not stored where a network loops over time itself."""
    model = onnx.load(folder / MODEL, load_external_data=False)
    expected = pooled_layers(onnx.load(folder / PLAIN_MODEL, load_external_data=False))
    known = [value for value in model.graph.value_info if value.name not in map(current_tensor, layers(folder))]
    assert len(known) < len(model.graph.value_info)
    del model.graph.value_info[:]
    model.graph.value_info.extend(known)
    assert pooled_layers(lower(model, pooled=True)) == expected


def test_the_answer_is_the_same_to_the_bit(folder, feeds):
    whole, plain = (OnnxRuntimeSession.open(folder / file).run(feeds) for file in (MODEL, PLAIN_MODEL))
    for output, answer in whole.items():
        np.testing.assert_array_equal(plain[output], answer)


def test_probes_see_every_spike_and_current(folder, feeds):
    asked = [f(layer) for layer in layers(folder) for f in (spikes_tensor, current_tensor)]
    whole, plain = (OnnxRuntimeSession.open(folder / file, asked).run(feeds) for file in (MODEL, PLAIN_MODEL))
    for tensor in asked:
        np.testing.assert_array_equal(plain[tensor], whole[tensor])
    assert all(0 < whole[spikes_tensor(layer)].mean() < 1 for layer in layers(folder))


def test_layers_can_be_fed_other_spikes(folder, feeds):
    """What is behind a layer is computed from the spikes that are given in its place."""
    first, second = layers(folder)[:2]
    asked, given = [current_tensor(second)], {spikes_tensor(first): (None,) * 5}
    spikes = OnnxRuntimeSession.open(folder / MODEL, [spikes_tensor(first)]).run(feeds)[spikes_tensor(first)]
    other = np.random.default_rng(0).integers(0, 2, spikes.shape).astype(np.float32)
    results = [
        OnnxRuntimeSession.open(folder / file, asked, given).run({given_tensor(spikes_tensor(first)): fed})[asked[0]]
        for file in (MODEL, PLAIN_MODEL)
        for fed in (spikes, other)
    ]
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[1], results[3])
    assert (results[0] != results[1]).any()


def test_a_model_without_such_scans_is_left_as_it_is(folder):
    whole = (folder / MODEL).read_bytes()
    assert scan_pooling.expose_spikes(whole) is whole


def negated_behind(body):
    made = body.output[1].name
    body.node.append(helper.make_node("Neg", [made], [f"{made}/negated"], name="negated"))
    body.output[1].name = f"{made}/negated"


def negated_before(body):
    split, pool = body.node[-2:]
    body.node.insert(len(body.node) - 1, helper.make_node("Neg", [split.output[0]], ["negated"], name="negated"))
    pool.input[0] = "negated"


def returned_unpooled(body):
    body.output[1].name = body.node[-2].output[0]


@pytest.mark.parametrize("wrong", [negated_behind, negated_before, returned_unpooled])
def test_a_body_that_does_something_else_is_left_as_it_is(folder, wrong):
    """What is moved out of a body must be what the Scan returns, or a proof would be of another model."""
    model = onnx.load(folder / PLAIN_MODEL, load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if any(inner.op_type == "MaxPool" for inner in attribute.g.node):
                wrong(attribute.g)
    changed = model.SerializeToString()
    assert scan_pooling.expose_spikes(changed) is changed
