"""Each pass on a graph made for it: what it changes, and that ONNX Runtime computes the same before and after."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from tcja_exporters import passes
from tcja_exporters.graph import export
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.passes.base import Done
from tcja_exporters.passes.pool_before_gates import pool_before_gates
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def model(
    nodes: list[onnx.NodeProto],
    shape: list[int | str],
    output: str = "y",
    values: dict[str, list[int | str]] | None = None,
    **constants: np.ndarray,
) -> onnx.ModelProto:
    """A model of these nodes from x [shape] to `output`, with the shapes of some tensors in between known."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        value_info=[helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in (values or {}).items()],
    )
    domains = {node.domain for node in nodes} - {""}
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (y,) = onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})
    return y


def applied(apply, proto: onnx.ModelProto) -> tuple[Done, onnx.ModelProto]:
    graph = gs.import_onnx(proto)
    done = apply(graph)
    result = gs.export_onnx(graph.cleanup().toposort())
    result.ir_version = 10
    return done, result


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def test_resolve_shapes():
    before = model(
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "zero"], ["n"]),
            helper.make_node("Mul", ["n", "four"], ["n4"]),
            helper.make_node("Concat", ["n4", "three"], ["target"], axis=0),
            helper.make_node("Reshape", ["x", "target"], ["flat"]),
            helper.make_node("Concat", ["two", "n4", "three"], ["wider"], axis=0),
            helper.make_node("Expand", ["flat", "wider"], ["wide"]),
            helper.make_node("CastLike", ["half", "wide"], ["single"]),
            helper.make_node("Add", ["wide", "single"], ["y"]),
        ],
        ["batch", 4, 3],
        values={"flat": ["4*batch", 3], "wide": [2, "4*batch", 3]},
        zero=np.array([0]),
        two=np.array([2]),
        three=np.array([3]),
        four=np.array([4]),
        half=np.array(0.5),
    )
    done, after = applied(passes.resolve_shapes, before)
    assert done == Done(3)
    assert sorted(operators(after)) == ["Add", "Cast", "Expand", "Reshape"]
    for n in (1, 5):
        x = floats(n, 4, 3)
        np.testing.assert_array_equal(run(after, x), run(before, x))


def test_resolve_shapes_leaves_what_it_does_not_know():
    two_unknown = model(
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Reshape", ["x", "s"], ["y"])],
        ["a", "b"],
    )
    two_unknown.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"]))
    assert applied(passes.resolve_shapes, two_unknown)[0] == Done(0)


def test_resolve_shapes_finds_types_that_are_not_noted():
    before = model(
        [
            helper.make_node("Neg", ["x"], ["n"]),
            helper.make_node("CastLike", ["two", "n"], ["c"]),
            helper.make_node("Mul", ["n", "c"], ["y"]),
        ],
        ["n", 4],
        two=np.array([2], np.int64),
    )
    done, after = applied(passes.resolve_shapes, before)
    assert (done, operators(after)) == (Done(1), ["Neg", "Cast", "Mul"])
    x = floats(3, 4)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def test_fold_constants():
    before = model(
        [
            helper.make_node("Mul", ["a", "a"], ["b"]),
            helper.make_node("Conv", ["x", "w", "zeros"], ["c"]),
            helper.make_node("Add", ["c", "b"], ["y"]),
        ],
        [1, 2, 5],
        a=floats(1),
        w=floats(3, 2, 1),
        zeros=np.zeros(3, np.float32),
    )
    done, after = applied(passes.fold_constants, before)
    assert done.exact
    assert operators(after) == ["Conv", "Add"]
    assert len(after.graph.node[0].input) == 2
    x = floats(1, 2, 5)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def batch_norm(scale: np.ndarray, shift: np.ndarray, mean: np.ndarray, variance: np.ndarray, bias: bool = False):
    conv = helper.make_node("Conv", ["x", "w", *(["b"] if bias else [])], ["c"], name="m/Conv")
    norm = helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["y"], epsilon=0.0)
    extra = {"b": floats(4)} if bias else {}
    return model(
        [conv, norm],
        ["n", 3, 6, 6],
        w=floats(4, 3, 3, 3),
        scale=scale,
        shift=shift,
        mean=mean,
        variance=variance,
        **extra,
    )


@pytest.mark.parametrize("bias", [False, True])
def test_fold_batch_norm(bias):
    before = batch_norm(floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.5, bias)
    done, after = applied(passes.fold_batch_norm, before)
    assert (done.changes, done.exact) == (1, False)
    assert "round differently" in done.note
    assert operators(after) == ["Conv"]
    x = floats(2, 3, 6, 6)
    np.testing.assert_allclose(run(after, x), run(before, x), rtol=1e-5, atol=1e-5)


def test_fold_batch_norm_knows_when_it_keeps_every_bit():
    zeros = np.zeros(4, np.float32)
    before = batch_norm(np.float32([1, 2, 0.5, 4]), zeros, zeros, np.float32([1, 4, 0.25, 1]))
    done, after = applied(passes.fold_batch_norm, before)
    assert done == Done(1)
    x = floats(2, 3, 6, 6)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def test_fold_batch_norm_leaves_a_convolution_that_others_read():
    before = batch_norm(floats(4), floats(4), floats(4), np.abs(floats(4)))
    before.graph.node.append(helper.make_node("Add", ["y", "c"], ["z"]))
    before.graph.output[0].name = "z"
    assert applied(passes.fold_batch_norm, before)[0] == Done(0)


@pytest.mark.parametrize("trans_b", [0, 1])
def test_fold_batch_norm_into_a_matrix_product(trans_b):
    gemm = helper.make_node("Gemm", ["x", "w", "b"], ["c"], name="m/Gemm", transB=trans_b)
    norm = helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["y"])
    weight = floats(4, 3) if trans_b else floats(3, 4)
    before = model(
        [gemm, norm],
        ["n", 3],
        w=weight,
        b=floats(4),
        scale=floats(4),
        shift=floats(4),
        mean=floats(4),
        variance=np.abs(floats(4)) + 0.5,
    )
    after = applied(passes.fold_batch_norm, before)[1]
    assert operators(after) == ["Gemm"]
    x = floats(5, 3)
    np.testing.assert_allclose(run(after, x), run(before, x), rtol=1e-5, atol=1e-5)


def padded(pads: list[int], value: float = 0.0, mode: str = "constant") -> onnx.ModelProto:
    nodes = [
        helper.make_node("Pad", ["x", "pads", "value"], ["p"], mode=mode),
        helper.make_node("Conv", ["p", "w"], ["y"], pads=[1, 0]),
    ]
    return model(nodes, ["n", 3, 7], w=floats(4, 3, 4), pads=np.array(pads), value=np.float32(value))


def test_fold_padding():
    before = padded([0, 0, 1, 0, 0, 2])
    done, after = applied(passes.fold_padding, before)
    assert done == Done(1)
    assert operators(after) == ["Conv"]
    assert helper.get_attribute_value(after.graph.node[0].attribute[0]) == [2, 2]
    x = floats(2, 3, 7)
    np.testing.assert_array_equal(run(after, x), run(before, x))


@pytest.mark.parametrize(
    "before",
    [padded([0, 0, 1, 0, 0, 2], value=1.0), padded([0, 1, 1, 0, -1, 2]), padded([0, 0, 1, 0, 0, 2], mode="reflect")],
    ids=["not zero", "channels", "reflected"],
)
def test_fold_padding_leaves_what_no_convolution_does(before):
    assert applied(passes.fold_padding, before)[0] == Done(0)


def test_merge_duplicates():
    before = model(
        [
            helper.make_node("Transpose", ["x"], ["a"], perm=[1, 0]),
            helper.make_node("Transpose", ["x"], ["b"], perm=[1, 0]),
            helper.make_node("Transpose", ["x"], ["c"], perm=[0, 1]),
            helper.make_node("Add", ["a", "one"], ["d"]),
            helper.make_node("Add", ["b", "also_one"], ["e"]),
            helper.make_node("Mul", ["d", "e"], ["f"]),
            helper.make_node("MatMul", ["f", "c"], ["y"]),
        ],
        [3, 4],
        one=np.ones(1, np.float32),
        also_one=np.ones(1, np.float32),
    )
    done, after = applied(passes.merge_duplicates, before)
    assert done == Done(2)
    assert sorted(operators(after)) == ["Add", "MatMul", "Mul", "Transpose", "Transpose"]
    x = floats(3, 4)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def test_merge_duplicates_leaves_chance_alone():
    random = [helper.make_node("RandomNormal", [], [name], shape=[3]) for name in "ab"]
    before = model(
        [*random, helper.make_node("Sub", ["a", "b"], ["c"]), helper.make_node("Add", ["c", "x"], ["y"])], [3]
    )
    assert applied(passes.merge_duplicates, before)[0] == Done(0)


def test_remove_dead():
    before = model(
        [
            helper.make_node("Identity", ["x"], ["i"]),
            helper.make_node("Relu", ["i"], ["r"]),
            helper.make_node("Reshape", ["r", "split"], ["s"]),
            helper.make_node("Reshape", ["s", "merge"], ["m"]),
            helper.make_node("Neg", ["m"], ["n"]),
            helper.make_node("Reshape", ["n", "split"], ["t"]),
            helper.make_node("Reshape", ["t", "wide"], ["y"]),
            helper.make_node("Exp", ["x"], ["unread"]),
        ],
        ["n", 6],
        values={"i": ["n", 6], "r": ["n", 6], "s": ["n", 2, 3], "m": ["n", 6], "n": ["n", 6], "t": ["n", 2, 3]},
        split=np.array([-1, 2, 3]),
        merge=np.array([-1, 6]),
        wide=np.array([1, -1]),
    )
    _, after = applied(passes.remove_dead, before)
    assert operators(after) == ["Relu", "Neg", "Reshape"]
    for n in (1, 4):
        x = floats(n, 6)
        np.testing.assert_array_equal(run(after, x), run(before, x))


def test_remove_dead_keeps_a_reshape_from_which_sizes_are_copied():
    before = model(
        [helper.make_node("Reshape", ["x", "merge"], ["m"]), helper.make_node("Reshape", ["m", "copy"], ["y"])],
        [2, "n", 6],
        values={"m": ["m", 6]},
        merge=np.array([-1, 6]),
        copy=np.array([0, 2, -1]),
    )
    _, after = applied(passes.remove_dead, before)
    x = floats(2, 3, 6)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def test_the_report_says_what_was_done(name, exports):
    report = exports[name][0].passes
    assert [entry["name"] for entry in report] == [apply.__name__ for apply in passes.PASSES]
    norms = {"dvs128": 5, "fashion_mnist": 2}
    assert {entry["name"]: entry["exact"] for entry in report if not entry["exact"]} == {"fold_batch_norm": False}
    assert next(e["changes"] for e in report if e["name"] == "fold_batch_norm") == norms[name]


GATED = {"n": ["T", "N", 3, 6, 6], "gate": ["T", "N", 3, 1, 1], "gated": ["T", "N", 3, 6, 6]}


def gated(*behind: onnx.NodeProto, values: dict[str, list[int | str]]) -> onnx.ModelProto:
    """n = -x, times the sigmoid of its spatial mean, and what is behind it."""
    nodes = [
        helper.make_node("Neg", ["x"], ["n"], name="Neg"),
        helper.make_node("ReduceMean", ["n", "axes"], ["z"], name="ReduceMean", keepdims=1),
        helper.make_node("Sigmoid", ["z"], ["gate"], name="Sigmoid"),
        helper.make_node("Mul", ["n", "gate"], ["gated"], name="Mul"),
        *behind,
    ]
    shapes = {**GATED, "z": GATED["gate"], "y": ["B", 3, 3, 3], **values}
    return model(nodes, GATED["n"], values=shapes, axes=np.array([3, 4]), joined=np.array([-1, 3, 6, 6]))


def pooled(source: str, kind: str = "MaxPool") -> onnx.NodeProto:
    return helper.make_node(kind, [source], ["y"], name="Pool", kernel_shape=[2, 2], strides=[2, 2])


JOIN = helper.make_node("Reshape", ["gated", "joined"], ["images"], name="Reshape")
IMAGES = {"images": ["B", 3, 6, 6]}


def test_maximum_pooling_before_a_gate():
    before = gated(JOIN, pooled("images"), values=IMAGES)
    done, after = applied(pool_before_gates, before)
    assert (done.changes, done.exact) == (1, True)
    kinds = operators(after)
    assert kinds.index("MaxPool") < kinds.index("Mul")
    onnx.checker.check_model(after, full_check=True)
    x = floats(2, 3, 3, 6, 6)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def test_maximum_pooling_before_a_gate_that_is_cast():
    cast = helper.make_node("Cast", ["images"], ["half"], name="Cast", to=TensorProto.FLOAT16)
    back = helper.make_node("Cast", ["y_half"], ["y"], name="Cast back", to=TensorProto.FLOAT)
    pool = helper.make_node("MaxPool", ["half"], ["y_half"], name="Pool", kernel_shape=[2, 2], strides=[2, 2])
    before = gated(JOIN, cast, pool, back, values=IMAGES)
    for name, shape in (("half", IMAGES["images"]), ("y_half", ["B", 3, 3, 3])):
        before.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape))
    done, after = applied(pool_before_gates, before)
    assert done.changes == 1
    x = floats(2, 3, 3, 6, 6)
    # Not in ONNX Runtime, which leaves roundings to half out.
    ((found,), (expected,)) = (ReferenceEvaluator(each).run(None, {"x": x}) for each in (after, before))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "before",
    [
        gated(JOIN, pooled("images", "AveragePool"), values=IMAGES),
        gated(JOIN, pooled("images"), helper.make_node("Relu", ["gated"], ["other"]), values=IMAGES),
        gated(JOIN, helper.make_node("Neg", ["images"], ["negative"]), pooled("negative"), values=IMAGES),
    ],
    ids=["average", "read by another", "not monotone"],
)
def test_what_is_not_the_same_is_left(before):
    if before.graph.node[-1].op_type == "Relu":
        before.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, None))
    assert applied(pool_before_gates, before)[0].changes == 0


def repeated(axis: int, *, steps: int = 3, behind: list[onnx.NodeProto] | None = None, **constants) -> onnx.ModelProto:
    """An image x [N, 2, 6, 6] at every step, then a convolution and a pooling of each."""
    first, all_ = (["steps", 1], ["steps", "n"]) if axis == 0 else ([1, "steps"], ["n", "steps"])
    ones = [steps if size == "steps" else 1 for size in first] + [1, 1, 1]
    full = [steps if size == "steps" else size for size in all_] + [2, 6, 6]
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["open"], name="open"),
        helper.make_node("Expand", ["open", "ones"], ["many"], name="many"),
        helper.make_node("Reshape", ["many", "images"], ["joined"], name="joined", allowzero=1),
        helper.make_node("Conv", ["joined", "w"], ["conv"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["conv"], ["pooled"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        *(behind or [helper.make_node("Neg", ["pooled"], ["y"], name="y")]),
    ]
    constants = {
        "axis": np.array([axis]),
        "ones": np.array(ones),
        "images": np.array([-1, 2, 6, 6]),
        "w": floats(4, 2, 3, 3),
        **constants,
    }
    values = {"many": full, "joined": ["m", 2, 6, 6], "conv": ["m", 4, 6, 6], "pooled": ["m", 4, 3, 3]}
    return model(nodes, ["n", 2, 6, 6], values=values, **constants)


@pytest.mark.parametrize("axis", [0, 1])
def test_hoist_repeats(axis):
    before = repeated(axis)
    done, after = applied(passes.hoist_repeats, before)
    assert done == Done(2)
    assert operators(after) == ["Conv", "MaxPool", "Unsqueeze", "Expand", "Reshape", "Neg"]
    x = floats(2, 2, 6, 6)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def test_images_that_a_network_repeats_are_convolved_once():
    """As torch exports it: a tensor that is expanded is copied before it is reshaped."""

    class Repeats(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.neuron = nn.Conv2d(2, 4, 3), SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=True))

        def forward(self, images: Tensor) -> Tensor:
            x = images.unsqueeze(0).expand(3, *images.shape)
            y = self.conv(x.flatten(0, 1)).relu()
            return self.neuron(y.unflatten(0, (3, -1))).mean(0)

    exported = export.export(Repeats(), InputContract.images(2, 6, 6), "rates", {"producer": "tests"})
    (conv,) = (node for node in exported.model.graph.node if node.op_type == "Conv")
    assert conv.input[0] == "images"
    assert next(said["changes"] for said in exported.passes if said["name"] == "hoist_repeats") == 2


@pytest.mark.parametrize(
    "changed",
    [{"images": np.array([-1, 2, 3, 12])}, {"images": np.array([-1, 4, 6, 3])}],
    ids=["other rows", "other channels"],
)
def test_hoist_repeats_leaves_images_of_another_shape(changed):
    assert applied(passes.hoist_repeats, repeated(0, **changed))[0] == Done(0)


def test_hoist_repeats_leaves_what_is_computed_at_every_step():
    proto = repeated(0)
    proto.graph.node.insert(2, helper.make_node("Mul", ["many", "factors"], ["other"], name="other"))
    proto.graph.node[3].input[0] = "other"
    proto.graph.initializer.append(numpy_helper.from_array(floats(3, 1, 1, 1, 1), "factors"))
    assert applied(passes.hoist_repeats, proto)[0] == Done(0)
