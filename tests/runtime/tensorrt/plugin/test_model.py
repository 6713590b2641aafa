"""The model that an engine with the plugin is built from computes what model.plain.onnx computes, to the bit.

onnx's reference evaluator runs both; a node of the plugin is its kernel, compiled for this machine's processor.
"""

from __future__ import annotations

import functools
import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from tcja_exporters import custom_op, time_forms
from tcja_runtime.errors import Unavailable
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.tensorrt.plugin.model import Fused, with_plugin
from tcja_runtime.tensorrt.plugin.node import described, kernel_of

from .... import networks
from ....exporters.precision.lowering import lower
from ....exporters.time_forms import one_layer
from . import host


@pytest.fixture(scope="session")
def kernel_op(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")

    @functools.cache
    def compiled(kernel):
        return host.compiled([kernel], tmp_path_factory.mktemp("kernel"))

    class TcjaLif(OpRun):
        op_domain = "tcja"

        def _run(self, current, kernel=None, plugin_namespace=None, plugin_version=None, aot=None):
            assert (plugin_namespace, plugin_version, aot) == ("tcja", "1", 1)
            made = kernel_of(kernel, current.dtype == np.float16, current.shape[2:])
            spikes, _ = host.run(compiled(made), 0, made, current)
            return (spikes if made.pool == 1 else spikes.reshape(-1, *spikes.shape[2:]),)

    return TcjaLif


FUSED = {"dvs128": Fused(7, 0, 3), "fashion_mnist": Fused(4, 0, 1)}


@pytest.mark.releases
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_network_computes_the_same(name, exports, precision, kernel_op):
    exported = exports[name][0]
    if precision != "fp32":
        exported = lower(name, exported, precision).exported
    content, fused = with_plugin(exported.model.SerializeToString(), ahead_of_time=True)
    expected = FUSED[name]
    assert (fused.nodes, fused.pools) == (expected.nodes, expected.pools)
    assert fused.halves == (expected.nodes if precision == "fp16" else 0)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model)
    assert not model.functions
    assert sum(node.op_type == "TcjaLif" for node in model.graph.node) == expected.nodes
    inputs = {model.graph.input[0].name: networks.SMALL[name].inputs(2).numpy()}
    (expected_output,) = ReferenceEvaluator(in_opset_19(exported.plain)).run(None, inputs)
    (output,) = ReferenceEvaluator(in_opset_19(model), new_ops=[kernel_op]).run(None, inputs)
    assert expected_output.any()
    np.testing.assert_array_equal(output, expected_output)


def in_opset_19(model):
    """The model as it is: onnx's evaluator knows quantisation from there on, and nothing here changes with it."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.opset_import[0].version = 19
    assert changed.opset_import[0].domain == ""
    return changed


SPEC = NeuronSpec.leaky(decay_input=True, tau=3.0, threshold=0.7)


def graph_model(nodes, tensors, outputs=("y",), initializers=(), current=TensorProto.FLOAT):
    """Of an input `x` [4, N, 2, 6, 6]; `tensors` are the types and shapes of those inside."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in tensors.items()]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", current, [4, "N", 2, 6, 6])],
        [value for value in values if value.name in outputs],
        list(initializers),
        value_info=[value for value in values if value.name not in outputs],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("tcja", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    custom_op.define(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def neuron(current, spikes):
    return helper.make_node("TcjaLif", [current], [spikes], "n/TcjaLif", domain="tcja", **custom_op.attributes(SPEC))


TARGET = helper.make_tensor("target", TensorProto.INT64, [4], [-1, 2, 6, 6])
SPIKES = (TensorProto.FLOAT, [4, "N", 2, 6, 6])
JOINED = (TensorProto.FLOAT, ["M", 2, 6, 6])


def pooled(kernel=(2, 2), **attributes):
    """x -> TcjaLif -> s -> Reshape -> j -> MaxPool -> y"""
    return [
        neuron("x", "s"),
        helper.make_node("Reshape", ["s", "target"], ["j"]),
        helper.make_node("MaxPool", ["j"], ["y"], **{"kernel_shape": kernel, "strides": kernel, **attributes}),
    ]


def run_both(model, kernel_op):
    """Outputs of a model with its functions, and with the plugin's kernel; and what was fused."""
    content, fused = with_plugin(model.SerializeToString(), ahead_of_time=True)
    changed = onnx.load_from_string(content)
    (value,) = model.graph.input
    kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    x = (np.random.default_rng(0).integers(-6, 9, (4, 3, 2, 6, 6)) / 4).astype(kind)
    expected = ReferenceEvaluator(time_forms.lower(model)).run(None, {"x": x})
    got = ReferenceEvaluator(changed, new_ops=[kernel_op]).run(None, {"x": x})
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    return fused, changed


@pytest.mark.releases
@pytest.mark.parametrize(
    ("attributes", "k"),
    [
        ({}, 2),
        ({"kernel": (3, 3)}, 3),
        ({"auto_pad": "NOTSET", "pads": [0, 0, 0, 0], "dilations": [1, 1], "ceil_mode": 0}, 2),
        ({"kernel": (4, 4)}, 4),  # of six rows and columns two are left over
        ({"kernel": (4, 4), "ceil_mode": 1}, 1),
        ({"kernel": (2, 3)}, 1),
        ({"strides": (1, 1)}, 1),
        ({"strides": (2, 1)}, 1),
        ({"pads": [1, 1, 1, 1]}, 1),
        ({"dilations": [2, 2]}, 1),
        ({"auto_pad": "SAME_UPPER"}, 1),
    ],
)
def test_what_is_pooled_within_the_plugin(kernel_op, attributes, k):
    tensors = {"s": SPIKES, "j": JOINED, "y": (TensorProto.FLOAT, ["M", 2, "H", "W"])}
    model = graph_model(pooled(**attributes), tensors, initializers=[TARGET])
    fused, changed = run_both(model, kernel_op)
    assert fused == Fused(1, 0, int(k > 1))
    assert [node.op_type for node in changed.graph.node] == (["TcjaLif"] + ["Reshape", "MaxPool"] * (k == 1))
    (said,) = (a.s for a in changed.graph.node[0].attribute if a.name == "kernel")
    assert json.loads(said)["pool"] == k


@pytest.mark.releases
@pytest.mark.parametrize("read", ["s", "j"])
@pytest.mark.parametrize("how", ["by a node", "as an output"])
def test_spikes_that_are_read_elsewhere_are_not_pooled_away(kernel_op, read, how):
    tensors = {"s": SPIKES, "j": JOINED, "y": (TensorProto.FLOAT, ["M", 2, "H", "W"])}
    nodes, outputs = pooled(), ("y", read)
    if how == "by a node":
        nodes.append(helper.make_node("Neg", [read], ["z"]))
        tensors["z"] = tensors[read]
        outputs = ("y", "z")
    fused, _ = run_both(graph_model(nodes, tensors, outputs, [TARGET]), kernel_op)
    assert fused.pools == 0


@pytest.mark.releases
def test_another_reshape_is_not_taken_for_one_that_joins_steps_and_batch(kernel_op):
    target = helper.make_tensor("target", TensorProto.INT64, [4], [-1, 2, 12, 3])
    tensors = {"s": SPIKES, "j": (TensorProto.FLOAT, ["M", 2, 12, 3]), "y": (TensorProto.FLOAT, ["M", 2, "H", "W"])}
    fused, _ = run_both(graph_model(pooled(), tensors, initializers=[target]), kernel_op)
    assert fused.pools == 0


HALF = (TensorProto.FLOAT16, [4, "N", 2, 6, 6])


@pytest.mark.releases
@pytest.mark.parametrize("readers", ["half", "float", "both", "an output"])
def test_casts_around_a_neuron_are_left_out(kernel_op, readers):
    nodes = [helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT), neuron("c", "s")]
    tensors, outputs = {"c": SPIKES, "s": SPIKES}, []
    if readers in ("half", "both"):
        nodes += [helper.make_node("Cast", ["s"], ["h"], to=TensorProto.FLOAT16), helper.make_node("Neg", ["h"], ["y"])]
        tensors |= {"h": HALF, "y": HALF}
        outputs.append("y")
    if readers in ("float", "both"):
        nodes.append(helper.make_node("Neg", ["s"], ["z"]))
        tensors["z"] = SPIKES
        outputs.append("z")
    if readers == "an output":
        outputs.append("s")
    fused, changed = run_both(graph_model(nodes, tensors, outputs, current=TensorProto.FLOAT16), kernel_op)
    assert fused == Fused(1, 1, 0)
    casts = [node for node in changed.graph.node if node.op_type == "Cast"]
    assert [node.attribute[0].i for node in casts] == [TensorProto.FLOAT] * (readers != "half")


@pytest.mark.releases
def test_a_current_that_others_read_too_stays_cast(kernel_op):
    nodes = [helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT), neuron("c", "s")]
    nodes.append(helper.make_node("Add", ["c", "s"], ["y"]))
    tensors = {"c": SPIKES, "s": SPIKES, "y": SPIKES}
    fused, _ = run_both(graph_model(nodes, tensors, current=TensorProto.FLOAT16), kernel_op)
    assert fused == Fused(1, 1, 0)


@pytest.mark.releases
def test_integers_that_are_cast_stay_cast(kernel_op):
    nodes = [helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT), neuron("c", "y")]
    tensors = {"c": SPIKES, "y": SPIKES}
    fused, _ = run_both(graph_model(nodes, tensors, current=TensorProto.INT32), kernel_op)
    assert fused == Fused(1, 0, 0)


def test_at_run_time_nothing_is_compiled_ahead():
    model = graph_model([neuron("x", "y")], {"y": SPIKES})
    changed = onnx.load_from_string(with_plugin(model.SerializeToString(), ahead_of_time=False)[0])
    (node,) = changed.graph.node
    assert {a.name: helper.get_attribute_value(a) for a in node.attribute} == {
        "plugin_namespace": b"tcja",
        "plugin_version": b"1",
        "kernel": described(custom_op.spec_of(model.graph.node[0])).encode(),
    }
    assert (node.op_type, node.domain, node.name, node.overload) == ("TcjaLif", "tcja", "n/TcjaLif", "")


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="the bytes of the ONNX model are cut off"):
        with_plugin(b"\xff\xff", ahead_of_time=True)


RTX = pytest.mark.rtx
PARSE = """
import sys
import tensorrt_rtx as trt
from tcja_runtime.tensorrt.plugin import at_run_time

class Logger(trt.ILogger):
    def log(self, severity, message): print(message, flush=True)

if {registered}:
    text = at_run_time._text
    at_run_time._text = lambda data: print("TAKEN", text(data), flush=True) or text(data)
    at_run_time.register(trt)
logger = Logger()
network = trt.Builder(logger).create_network(0)
trt.OnnxParser(network, logger).parse(open(sys.argv[1], "rb").read())
"""


@RTX
@pytest.mark.tensorrt
@pytest.mark.parametrize("registered", [False, True])
def test_nvidias_parser_looks_for_the_plugin_and_hands_it_the_constants(tmp_path, registered):
    """TensorRT-RTX has the parser but no plugins: it calls the creator, and ends its process afterwards."""
    model = graph_model(
        pooled(), {"s": SPIKES, "j": JOINED, "y": (TensorProto.FLOAT, ["M", 2, "H", "W"])}, ("y",), [TARGET]
    )
    (tmp_path / "a.onnx").write_bytes(with_plugin(model.SerializeToString(), ahead_of_time=False)[0])
    command = [sys.executable, "-c", PARSE.format(registered=registered), tmp_path / "a.onnx"]
    done = subprocess.run(command, capture_output=True, text=True)
    if registered:
        assert done.returncode == -signal.SIGABRT
        constants = custom_op.spec_of(model.graph.node[0])
        assert f"TAKEN {described(constants, 2)}\n" in done.stdout
    else:
        assert done.returncode == 0
        assert "pluginName: TcjaLif, pluginVersion: 1, pluginNamespace: tcja" in done.stdout


def test_layers_whose_constants_differ_are_refused_with_the_reason():
    spec = NeuronSpec.linear(decay=0.5, threshold=np.array([0.5, 1.0]), strict=True)
    model = one_layer.model(spec, None, 4, neurons=(2,)).SerializeToString()
    with pytest.raises(Unavailable, match="one threshold for all neurons of a layer, and those of layer have 0.5 to 1"):
        with_plugin(model, ahead_of_time=True)
