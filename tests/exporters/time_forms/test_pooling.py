"""Pooling behind fused spikes: slices, and their maximum or mean, in its place, with the same result."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tcja_exporters import custom_op, time_forms
from tcja_runtime.neuron import NeuronSpec

from .one_layer import CURRENT, SPIKES, lif, value

STEPS, CHANNELS = 4, 3


def pooled(form, rows, columns, *, kind="MaxPool", gate=False, half=False, **attributes):
    """A layer on [T, N, 3, rows, columns] and the pooling of its spikes [T * N, 3, rows, columns]."""
    maps, element = [STEPS, "batch", CHANNELS, rows, columns], TensorProto.FLOAT16 if half else TensorProto.FLOAT
    behind = [helper.make_node("Reshape", [SPIKES, "target"], ["joined"])]
    behind += [helper.make_node("Cast", ["joined"], ["cast"], to=element)] if half else []
    behind += [helper.make_node("Mul", ["joined", "gate"], ["gated"])] if gate else []
    last = behind[-1].output[0]
    behind.append(helper.make_node(kind, [last], ["pooled"], name="pooled", **attributes))
    behind.append(helper.make_node("Identity", ["pooled"], ["y"]))
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], [CURRENT]), lif(NeuronSpec.linear(decay=0.5, strict=True)), *behind],
        "layer",
        [value("x", TensorProto.FLOAT, maps)],
        [value("y", element, ["images", CHANNELS, "rows", "columns"])],
        [
            numpy_helper.from_array(np.array([-1, CHANNELS, rows, columns]), "target"),
            numpy_helper.from_array(np.array([0.5, -2, 1.5], np.float32).reshape(3, 1, 1), "gate"),
        ],
        value_info=[value(name, TensorProto.FLOAT, maps) for name in (CURRENT, SPIKES)],
    )
    opsets = [helper.make_opsetid("", custom_op.OPSET), helper.make_opsetid(custom_op.DOMAIN, custom_op.VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    plain = time_forms.lower(onnx.shape_inference.infer_shapes(model), {"layer": form})
    onnx.checker.check_model(plain, full_check=True)
    return plain


def ran(plain, rows, columns):
    x = np.random.default_rng(0).normal(0.3, 1, (STEPS, 2, CHANNELS, rows, columns)).astype(np.float32)
    return onnxruntime.InferenceSession(plain.SerializeToString()).run(None, {"x": x})[0]


def pools(plain):
    return [node.name for node in plain.graph.node if node.op_type in ("MaxPool", "AveragePool")]


@pytest.mark.parametrize("half", [False, True], ids=["float", "half"])
@pytest.mark.parametrize("size", [(6, 8), (7, 9)], ids=["whole windows", "a rest"])
@pytest.mark.parametrize("window", [(2, 2), (1, 2), (3, 1)])
def test_the_maximum_of_slices_is_that_of_the_pooling(window, size, half):
    plain = pooled("fused", *size, half=half, kernel_shape=window, strides=window)
    assert "pooled" not in pools(plain)
    assert Counter(node.op_type for node in plain.graph.node)["Slice"] == np.prod(window)
    expected = ran(pooled("scan", *size, half=half, kernel_shape=window, strides=window), *size)
    np.testing.assert_array_equal(ran(plain, *size), expected)
    assert 0 < expected.mean() < 1


@pytest.mark.parametrize("size", [(6, 8), (7, 9)], ids=["whole windows", "a rest"])
@pytest.mark.parametrize("window", [(2, 2), (1, 2), (4, 1)])
def test_the_mean_of_slices_is_that_of_the_pooling(window, size):
    options = {"kind": "AveragePool", "kernel_shape": window, "strides": window}
    plain = pooled("fused", *size, **options)
    assert "pooled" not in pools(plain)
    np.testing.assert_array_equal(ran(plain, *size), ran(pooled("scan", *size, **options), *size))
    options["gate"] = True
    expected = ran(pooled("scan", *size, **options), *size)
    np.testing.assert_allclose(ran(pooled("fused", *size, **options), *size), expected, rtol=0, atol=1e-6)
    assert (expected < 0).any()


def test_a_mean_of_three_stays():
    assert "pooled" in pools(pooled("fused", 6, 6, kind="AveragePool", kernel_shape=(3, 1), strides=(3, 1)))


def test_the_sum_of_a_mean_in_half_is_one_of_float32():
    """Sums in half would round three times."""
    options = {"kind": "AveragePool", "kernel_shape": (2, 2), "strides": (2, 2), "half": True}
    plain = pooled("fused", 6, 6, **options)
    assert "pooled" not in pools(plain)
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(plain).graph.value_info
    }
    sums = [types[node.output[0]] for node in plain.graph.node if node.op_type == "Add" and "pooled" in node.name]
    assert sums == [TensorProto.FLOAT] * 3
    np.testing.assert_array_equal(ran(plain, 6, 6), ran(pooled("scan", 6, 6, **options), 6, 6))


def test_gated_spikes_are_pooled_by_slices():
    """A gate may be negative: the maximum is that of the products."""
    options = {"gate": True, "kernel_shape": (2, 2), "strides": (2, 2)}
    plain = pooled("fused", 6, 6, **options)
    assert "pooled" not in pools(plain)
    np.testing.assert_array_equal(ran(plain, 6, 6), ran(pooled("scan", 6, 6, **options), 6, 6))


@pytest.mark.parametrize(
    "kept",
    [
        {"kernel_shape": (3, 3), "strides": (2, 2)},
        {"kernel_shape": (2, 2), "strides": (1, 1)},
        {"kernel_shape": (2, 2)},
        {"kernel_shape": (4, 4), "strides": (4, 4)},
        {"kernel_shape": (2, 2), "strides": (2, 2), "pads": (1, 1, 1, 1)},
        {"kernel_shape": (2, 2), "strides": (2, 2), "dilations": (2, 2)},
        {"kernel_shape": (2, 2), "strides": (2, 2), "ceil_mode": 1},
        {"kernel_shape": (2, 2), "strides": (2, 2), "auto_pad": "SAME_UPPER"},
        {"kernel_shape": (2, 2), "strides": (2, 2), "auto_pad": "SAME_LOWER"},
        {"kind": "AveragePool", "kernel_shape": (2, 2), "strides": (2, 2), "auto_pad": "SAME_UPPER"},
    ],
    ids=[
        *("overlapping", "stride 1", "no stride", "large", "padded", "dilated", "rounded up"),
        *("same, upper", "same, lower", "same, mean"),
    ],
)
def test_other_pooling_stays(kept):
    plain = pooled("fused", 7, 7, **kept)
    assert pools(plain) == ["pooled"]
    np.testing.assert_array_equal(ran(plain, 7, 7), ran(pooled("scan", 7, 7, **kept), 7, 7))


@pytest.mark.parametrize("form", ["scan", "unrolled"])
def test_other_forms_keep_their_pooling(form):
    assert pools(pooled(form, 6, 6, kernel_shape=(2, 2), strides=(2, 2))) == ["pooled"]
