from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tcja_exporters import passes
from tcja_exporters.passes.base import PassResult

from .graphs import applied, floats, model, operators, run


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
    assert done == PassResult(1)
    x = floats(2, 3, 6, 6)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def test_fold_batch_norm_leaves_a_convolution_that_others_read():
    before = batch_norm(floats(4), floats(4), floats(4), np.abs(floats(4)))
    before.graph.node.append(helper.make_node("Add", ["y", "c"], ["z"]))
    before.graph.output[0].name = "z"
    assert applied(passes.fold_batch_norm, before)[0] == PassResult(0)


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


@pytest.mark.parametrize(("second", "stored"), [("", 2), ("2", 4)])
def test_a_layer_that_is_called_twice_has_one_folded_weight(second, stored):
    """With the same batch norm at both calls; with another one, it has two."""
    norms = {
        f"{name}{n}": np.abs(floats(4)) + 0.5 for n in {"", second} for name in ("scale", "shift", "mean", "variance")
    }
    before = model(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["d"], name="n"),
            helper.make_node("Conv", ["d", "w"], ["e"]),
            helper.make_node(
                "BatchNormalization",
                ["e", *(f"{name}{second}" for name in ("scale", "shift", "mean", "variance"))],
                ["y"],
            ),
        ],
        ["n", 4, 6, 6],
        w=floats(4, 4, 3, 3),
        **norms,
    )
    done, after = applied(passes.fold_batch_norm, before)
    assert (done.changes, len(after.graph.initializer)) == (2, stored)
    x = floats(2, 4, 6, 6)
    np.testing.assert_allclose(run(after, x), run(before, x), rtol=1e-4, atol=1e-4)
