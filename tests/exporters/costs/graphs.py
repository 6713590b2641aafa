"""Graphs by hand."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from tcja_exporters import custom_op
from tcja_runtime.neuron import NeuronSpec

LIF = NeuronSpec.leaky(tau=2.0, decay_input=True)
F, H, B = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8


def tensor(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, kind: int, *shape: int) -> onnx.TensorProto:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    return onnx.numpy_helper.from_array(np.ones(shape, dtype), name)


def shape(name: str, *sizes: int) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array(sizes, np.int64), name)


def model(nodes, inputs, outputs, constants) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("tcja", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    custom_op.define(made)
    return made


def neuron(module: str) -> onnx.NodeProto:
    fields = custom_op.attributes(LIF)
    ends = [f"{module}/current"], [f"{module}/spikes"]
    return helper.make_node("TcjaLif", *ends, name=f"{module}/TcjaLif", domain="tcja", **fields)


def by_hand(*, padding: int = 0) -> onnx.ModelProto:
    """T = 3: frames [N, 1, 3, 4, 4] -> conv a -> LIF b -> MaxPool c -> Gemm d -> LIF e -> mean."""
    side = 2 + 2 * padding
    nodes = [
        helper.make_node("Reshape", ["frames", "fold"], ["a/in"], name="a/Reshape"),
        helper.make_node("Conv", ["a/in", "a.w", "a.b"], ["a/out"], name="a/Conv", pads=[padding] * 4),
        helper.make_node("Reshape", ["a/out", "unfold"], ["b/current"], name="a/Reshape_1"),
        neuron("b"),
        helper.make_node("Reshape", ["b/spikes", "fold2"], ["c/in"], name="c/Reshape"),
        helper.make_node("MaxPool", ["c/in"], ["c/out"], name="c/MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["c/out", "flat"], ["d/in"], name="d/Reshape"),
        helper.make_node("Gemm", ["d/in", "d.w"], ["d/out"], name="d/Gemm", transB=1),
        helper.make_node("Reshape", ["d/out", "unflat"], ["e/current"], name="d/Reshape_1"),
        neuron("e"),
        helper.make_node("ReduceMean", ["e/spikes", "axes"], ["rates"], name="ReduceMean", keepdims=0),
    ]
    features = 2 * (side // 2) ** 2
    constants = [
        *(shape("fold", -1, 1, 4, 4), shape("unfold", 3, -1, 2, side, side), shape("fold2", -1, 2, side, side)),
        *(shape("flat", -1, features), shape("unflat", 3, -1, 5), shape("axes", 0)),
        *(constant("a.w", F, 2, 1, 3, 3), constant("a.b", F, 2), constant("d.w", F, 5, features)),
    ]
    return model(nodes, [tensor("frames", F, 3, "batch", 1, 4, 4)], [tensor("rates", F, "batch", 5)], constants)
