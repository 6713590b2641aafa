"""Networks in FP16 and INT8, against ONNX Runtime and the same constants in PyTorch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.modules import attention
from tcja_exporters.modules.quantizer import quantized
from tcja_exporters.precision import Lowered, calibrate, keep_in_float32, lowered, quantizable
from tcja_exporters.reference.recorder import layers
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.errors import BadInput

from ... import networks


def scales(name: str, exported: Exported) -> dict[str, float]:
    module = networks.SMALL[name].module()
    blocks = {part.rpartition(".")[0] for part in attention.parts(module)}
    modules = quantizable(exported.model, exported.weights, blocks)
    return calibrate(module, modules, [networks.SMALL[name].inputs(8).numpy()], lambda _n: None)


def lower(name: str, exported: Exported, precision: str, kept=frozenset()) -> Lowered:
    found = scales(name, exported) if precision == "int8" else {}
    return lowered(networks.SMALL[name].module(), exported, precision, set(kept), found)


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in inferred.graph.initializer}


def test_membranes_and_thresholds_stay_in_float32(name, exports):
    model = lower(name, exports[name][0], "fp16").exported.plain
    found = types(model)
    scans = [node for node in model.graph.node if node.op_type == "Scan"]
    assert scans
    for scan in scans:
        assert {found[tensor] for tensor in scan.input} == {TensorProto.FLOAT}
    assert {found[value.name] for value in (*model.graph.input, *model.graph.output)} == {TensorProto.FLOAT}


def test_products_are_in_half(name, exports):
    exported = exports[name][0]
    low = lower(name, exported, "fp16").exported
    found = types(low.plain)
    products = [node for node in low.plain.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(products) == len(exported.weights)
    assert {found[tensor] for node in products for tensor in (*node.input, *node.output)} == {TensorProto.FLOAT16}
    assert {weight.type for weight in low.weights} == {"fp16"}
    # Casts come in pairs around neurons and means, not around every operation.
    assert sum(node.op_type == "Cast" for node in low.model.graph.node) < 3 * len(layers_of(name))


def layers_of(name: str):
    small = networks.SMALL[name]
    return layers(networks.SMALL[name].module(), small.network.contract(small.sizes))


def test_quantisers_are_symmetric_and_written_out(name, exports):
    low = lower(name, exports[name][0], "int8").exported
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in low.plain.graph.initializer}
    nodes = [node for node in low.plain.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    chosen = [weight for weight in low.weights if weight.type == "int8"]
    assert len(nodes) == 3 * len(chosen) > 0
    for node in nodes:
        zero_point = stored[node.input[2]]
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        assert (stored[node.input[1]] > 0).all()
    for weight in chosen:
        (node,) = (node for node in nodes if weight.tensor in node.output)
        integers, by_channel = (stored[tensor] for tensor in node.input[:2])
        assert integers.dtype == np.int8
        assert len(by_channel) == weight.shape[0]
        assert np.abs(integers).max() == 127


def test_the_scale_of_spikes_is_one(name, exports):
    exported = exports[name][0]
    found = scales(name, exported)
    makers = {tensor: node for node in exported.model.graph.node for tensor in node.output}
    modules = {weight.tensor: weight.module for weight in exported.weights}
    fed_by_spikes = set()
    for node in exported.model.graph.node:
        tensor = node.input[0]
        while tensor in makers and makers[tensor].op_type in ("Reshape", "MaxPool", "Transpose"):
            tensor = makers[tensor].input[0]
        if len(node.input) > 1 and node.input[1] in modules and tensor.endswith("/spikes"):
            fed_by_spikes.add(modules[node.input[1]])
    assert fed_by_spikes
    assert {found[module] for module in fed_by_spikes} == {1.0}


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("file", [MODEL, PLAIN_MODEL])
def test_the_model_computes_what_the_network_of_its_constants_does(tmp_path, name, exports, precision, file):
    """Up to the first neuron, where no spike has flipped yet: only rounding is left."""
    low = lower(name, exports[name][0], precision)
    save(low.exported, tmp_path)
    inputs = networks.SMALL[name].inputs(4)
    first = layers_of(name)[0].name
    taken: list[torch.Tensor] = []
    neuron = low.network.get_submodule(first)
    neuron.register_forward_pre_hook(lambda _module, args: taken.append(args[0]))
    with torch.no_grad():
        low.network.double()(inputs.double())
    session = OnnxRuntimeSession(tmp_path / file, [f"{first}/current"])
    (current,) = session.run({session.inputs[0]: inputs.numpy()}).values()
    # One rounding to half of the inputs, and one of the sum; or those of float32, and for INT8 nothing else.
    largest = {"fp16": 2.0**-9, "int8": 2.0**-19}[precision] * float(taken[0].abs().max())
    assert np.abs(current - taken[0].numpy()).max() <= largest


def test_both_models_agree_to_the_bit(tmp_path, name, exports):
    for precision in ("fp16", "int8"):
        folder = tmp_path / precision
        folder.mkdir()
        save(lower(name, exports[name][0], precision).exported, folder)
        sessions = [OnnxRuntimeSession(folder / file) for file in (MODEL, PLAIN_MODEL)]
        inputs = networks.SMALL[name].inputs(6).numpy()
        (one,), (other,) = (session.run({session.inputs[0]: inputs}).values() for session in sessions)
        assert (one == other).all()


def test_what_is_kept_stays_as_it_was(name, exports):
    exported = exports[name][0]
    spiking = layers_of(name)
    kept = keep_in_float32([spiking[1].name], exported.model, exported.weights, spiking)
    assert kept
    for precision in ("fp16", "int8"):
        low = lower(name, exported, precision, kept).exported
        assert {weight.module for weight in low.weights if weight.type == "fp32"} >= kept
        before = {tensor.name: tensor for tensor in exported.model.graph.initializer}
        after = {tensor.name: tensor for tensor in low.model.graph.initializer}
        for weight in exported.weights:
            if weight.module in kept:
                assert before[weight.tensor] == after[weight.tensor]


def test_names_of_what_is_kept(exports):
    exported, spiking = exports["dvs128"][0], layers_of("dvs128")

    def kept(*names: str) -> set[str]:
        return keep_in_float32(names, exported.model, exported.weights, spiking)

    assert kept("conv.0.0") == {"conv.0.0"}
    assert kept("conv.0") == {"conv.0.0"}
    assert kept(spiking[0].name) == {"conv.0.0"}
    assert kept("conv.11") == {"conv.11.conv", "conv.11.conv_c"}
    assert kept() == set()
    with pytest.raises(BadInput, match=r"`keep` conv\.99 names neither a layer with weights"):
        kept("conv.99")


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0, 1, 1], 1.0),
        ([0, 3, 127], 1.0),
        ([0, 0.25, 0.75], 0.25),
        ([0, 0.25, 100], None),
        ([0, 128], None),
        ([0, 0], 1.0),
        ([-0.5, 1.0], 0.5),
    ],
)
def test_scales(values, scale):
    linear = torch.nn.Linear(len(values), 1)
    found = calibrate(linear, [""], [np.array([values], np.float32)], lambda _n: None)[""]
    if scale is not None:
        assert found == scale
        assert quantized(torch.tensor(values, dtype=torch.float64), found).tolist() == values
    else:
        assert 0.3 * max(values) / 127 <= found <= max(values) / 127 * (1 + 1e-6)


def test_a_few_large_values_are_cut_off_where_that_serves_the_many():
    random = np.random.default_rng(0)
    values = np.append(random.normal(0, 1, 2**15), [12.0]).astype(np.float32)
    linear = torch.nn.Linear(len(values), 1)
    found = calibrate(linear, [""], [values[None]], lambda _n: None)[""]
    assert found < 12 / 127

    def error(scale: float) -> float:
        return float(((quantized(torch.from_numpy(values), scale) - torch.from_numpy(values)) ** 2).mean())

    assert error(found) < 0.95 * error(12 / 127)


@pytest.mark.parametrize("scale", [1.0, 0.25, 0.0123])
def test_the_quantiser_is_onnx_runtimes(tmp_path, scale):
    helper = onnx.helper
    constants = [
        numpy_helper.from_array(np.array(scale, np.float32), "s"),
        numpy_helper.from_array(np.array(0, np.int8), "z"),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "q.onnx")
    x = (np.random.default_rng(0).normal(0, 60 * scale, 4096)).astype(np.float32)
    x = np.append(x, np.arange(-200, 200, dtype=np.float32) * np.float32(scale / 2))
    y = OnnxRuntimeSession(tmp_path / "q.onnx").run({"x": x})["y"]
    ours = quantized(torch.from_numpy(x).double(), float(np.float32(scale))).numpy()
    at_half = np.abs(np.abs(x / scale - np.trunc(x / scale)) - 0.5) < 1e-4
    assert np.abs(y - ours)[~at_half].max() <= 1e-6 * 128 * scale
    assert Counter(at_half.tolist())[False] > 4000
