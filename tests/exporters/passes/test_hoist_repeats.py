from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from torch import Tensor, nn

from tcja_exporters import passes
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.passes.base import PassResult
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec

from .graphs import applied, floats, model, operators, run


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
    assert done == PassResult(2)
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

    exported = export_onnx(Repeats(), InputContract.images(2, 6, 6), "rates", {"producer": "tests"})
    (conv,) = (node for node in exported.model.graph.node if node.op_type == "Conv")
    assert conv.input[0] == "images"
    assert next(said["changes"] for said in exported.passes if said["name"] == "hoist_repeats") == 2


@pytest.mark.parametrize(
    "changed",
    [{"images": np.array([-1, 2, 3, 12])}, {"images": np.array([-1, 4, 6, 3])}],
    ids=["other rows", "other channels"],
)
def test_hoist_repeats_leaves_images_of_another_shape(changed):
    assert applied(passes.hoist_repeats, repeated(0, **changed))[0] == PassResult(0)


def test_hoist_repeats_leaves_what_is_computed_at_every_step():
    proto = repeated(0)
    proto.graph.node.insert(2, helper.make_node("Mul", ["many", "factors"], ["other"], name="other"))
    proto.graph.node[3].input[0] = "other"
    proto.graph.initializer.append(numpy_helper.from_array(floats(3, 1, 1, 1, 1), "factors"))
    assert applied(passes.hoist_repeats, proto)[0] == PassResult(0)
