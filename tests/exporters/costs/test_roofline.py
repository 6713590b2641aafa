import functools

import onnx
import pytest
import torch
from onnx import helper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tcja_exporters.costs.boards import Device
from tcja_exporters.costs.roofline import Costs
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.networks import NETWORKS
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.data.contract import InputContract

from ... import networks
from .graphs import B, F, H, by_hand, constant, model, tensor

MODELS = pytest.mark.parametrize("file", [MODEL, PLAIN_MODEL])


def counted(network: nn.Module, inputs: torch.Tensor) -> dict[str, int]:
    """Multiply-adds of each module by PyTorch's own counter, which takes one for two operations."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(inputs)
    counts = counter.get_flop_counts()
    names = {f"{type(network).__name__}.{name}": name for name, module in network.named_modules()}
    found = {names[name]: sum(ops.values()) // 2 for name, ops in counts.items() if name in names}
    leaves = {name for name, module in network.named_modules() if not list(module.children())}
    return {name: macs for name, macs in found.items() if name in leaves}


@MODELS
@pytest.mark.parametrize("batch", [1, 3])
def test_multiply_adds_are_those_of_pytorchs_counter(name, exports, file, batch):
    expected = counted(networks.SMALL[name].module(), networks.SMALL[name].inputs(batch))
    model = onnx.load(exports[name][1] / file, load_external_data=False)
    costs = Costs.of(model, batch)
    assert {layer.module: layer.macs for layer in costs.modules() if layer.macs} == expected
    assert len(expected) >= 5
    assert costs.total().macs == sum(expected.values())


class Products(nn.Module):
    """Every kind of product, with strides, groups, dilation, biases and padding."""

    def __init__(self) -> None:
        super().__init__()
        self.strided = nn.Conv2d(2, 6, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(6, 6, (3, 1), groups=3, dilation=2, padding=(2, 0), bias=False)
        self.transposed = nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1)
        self.linear = nn.Linear(18, 5)
        self.head = nn.Linear(5, 7, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(self.transposed(self.grouped(self.strided(x))))
        return self.head(y.mean((1, 2)))


@pytest.mark.slow
def test_multiply_adds_of_all_products():
    network = Products()
    exported = export_onnx(network, InputContract.images(2, 10, 18), "logits", {"producer": "tests"})
    layers = {layer.module: layer for layer in Costs.of(exported.model, 2).modules()}
    expected = counted(network, torch.zeros(2, 2, 10, 18))
    assert set(expected) == {"strided", "grouped", "transposed", "linear", "head"}
    assert {name: layers[name].macs for name in expected} == expected
    parameters = {name: sum(p.numel() for p in network.get_submodule(name).parameters()) for name in expected}
    assert {name: layers[name].parameters for name in expected} == parameters


@functools.cache
def published() -> onnx.ModelProto:
    network = NETWORKS["dvs128"]
    sizes = network.published
    return export_onnx(network.build(sizes), network.contract(sizes), network.output, {"producer": ""}).model


@pytest.mark.slow
def test_the_published_network():
    """DVS128 Gesture at full size, by the paper's layer table."""
    costs = Costs.of(published())
    # 1,832,576 parameters; folding leaves of each of five batch norms its shift alone, 128 of 256 values.
    assert costs.total().parameters == 1_832_576 - 5 * 128
    sides = [128, 64, 32, 16, 8]
    convolutions = sum(
        side**2 * 9 * 128 * channels for side, channels in zip(sides, [2, 128, 128, 128, 128], strict=True)
    )
    attention = 2 * (4 * 20 * 20 * 128 + 4 * 128 * 128 * 20)
    assert costs.total().macs == 20 * (convolutions + 2048 * 512 + 512 * 110) + attention
    # The first layer's currents and spikes [20, 128, 128, 128] are the most that is kept at a time.
    assert costs.total().activation_bytes == 2 * 4 * 20 * 128 * 128 * 128


def test_a_network_by_hand():
    costs = Costs.of(by_hand(), batch=2)
    layers = {layer.module: layer for layer in costs.modules()}
    assert list(layers) == ["a", "b", "c", "d", "e", ""]
    n = 3 * 2  # steps and windows
    a, b, c, d, e, mean = layers.values()
    assert (a.macs, a.parameters) == (n * 8 * 9, 20)
    assert a.operations == 2 * a.macs + n * 8
    assert a.bytes_moved == 4 * (n * 16 + 20 + n * 8)
    assert (b.macs, b.operations, b.bytes_moved) == (0, 5 * n * 8, 4 * 2 * n * 8)  # x - v, / tau, + v, >=, where
    assert (c.operations, c.bytes_moved) == (n * 2 * 4, 4 * n * (8 + 2))
    assert (d.macs, d.operations, d.parameters) == (n * 10, n * 20, 10)
    assert d.bytes_moved == 4 * (n * 2 + 10 + n * 5)
    assert e.bytes_moved == 4 * 2 * n * 5
    assert (mean.operations, mean.bytes_moved) == (n * 5, 4 * (n * 5 + 2 * 5))
    kept = [16 + 8, 8 + 8, 8 + 2, 2 + 5, 5 + 5]
    assert [layer.activation_bytes for layer in layers.values()] == [4 * n * each for each in kept] + [4 * (n * 5 + 10)]
    total = costs.total()
    assert total.macs == a.macs + d.macs
    assert total.bytes_moved == sum(layer.bytes_moved for layer in layers.values())
    assert total.activation_bytes == 4 * n * 24
    assert costs.weight_bytes == 4 * 30
    assert total.seconds is total.joules is total.bound is None


def test_a_branch_is_kept_until_it_is_read():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="a/Relu"),
        helper.make_node("MaxPool", ["a"], ["b"], name="b/MaxPool", kernel_shape=[2], strides=[2]),
        helper.make_node("Relu", ["b"], ["c"], name="c/Relu"),
        helper.make_node("Identity", ["c"], ["d"], name="d/Identity"),
        helper.make_node("Concat", ["a", "d"], ["y"], name="e/Concat", axis=2),
    ]
    made = model(nodes, [tensor("x", F, "batch", 1, 8)], [tensor("y", F, "batch", 1, 12)], [])
    kept = {layer.module: layer.activation_bytes // 4 for layer in Costs.of(made).modules()}
    assert kept == {"a": 8 + 8, "b": 8 + 4, "c": 8 + 4 + 4, "e": 8 + 4 + 12}


def test_a_shared_weight_is_counted_once_and_read_twice():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="a/MatMul"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="b/MatMul"),
    ]
    made = model(nodes, [tensor("x", F, "batch", 3)], [tensor("y", F, "batch", 3)], [constant("w", F, 3, 3)])
    a, b = Costs.of(made).modules()
    assert (a.parameters, b.parameters) == (9, 0)
    assert (a.bytes_moved, b.bytes_moved) == (4 * (3 + 9 + 3), 4 * (3 + 9 + 3))


@pytest.mark.parametrize(("kind", "precision", "width"), [(F, "fp32", 4), (H, "fp16", 2)])
def test_floats_move_in_their_width(kind, precision, width):
    made = model(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="a/Conv")],
        [tensor("x", kind, "batch", 2, 5)],
        [tensor("y", kind, "batch", 4, 3)],
        [constant("w", kind, 4, 2, 3)],
    )
    (node,) = Costs.of(made).nodes
    assert (node.precision, node.moved) == (precision, width * (10 + 24 + 12))


def test_quantised_products_move_bytes():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="a/QuantizeLinear"),
        helper.make_node("DequantizeLinear", ["w8", "ws", "wz"], ["w"], name="w/DequantizeLinear", axis=0),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="a/DequantizeLinear"),
        helper.make_node("Conv", ["d", "w"], ["y"], name="a/Conv"),
    ]
    scales = [constant("s", F), constant("z", B), constant("ws", F, 4), constant("wz", B, 4)]
    ends = [tensor("x", F, "batch", 2, 5)], [tensor("y", F, "batch", 4, 3)]
    costs = Costs.of(model(nodes, *ends, [constant("w8", B, 4, 2, 3), *scales]))
    quantiser, product = costs.nodes
    assert (quantiser.read, quantiser.written) == (4 * 10, 10)
    assert (product.precision, product.read, product.weight_bytes, product.written) == ("int8", 10 + 24, 24, 4 * 12)
    assert costs.total().parameters == 24
    # the input, its bytes, and the output
    assert [quantiser.live, product.live] == [4 * 10 + 10, 10 + 4 * 12]


@pytest.mark.slow
def test_the_roofline():
    costs = Costs.of(published())
    device = Device.named("orin-nano")
    layers = {layer.module: layer for layer in costs.modules(device)}
    # 1024 CUDA cores at 624.75 MHz; 128 bits at 2133 MHz, twice a clock
    peak, bandwidth = 1024 * 2 * 624.75e6, 128 / 8 * 2 * 2133e6
    wide = layers["conv.3.0"]
    assert wide.bound == "compute"
    assert wide.seconds == pytest.approx(20 * 64 * 64 * 128 * (2 * 9 * 128 + 1) / peak)
    neurons = layers["conv.1"]
    assert neurons.bound == "memory"
    assert neurons.seconds == pytest.approx(2 * 4 * 20 * 128**3 / bandwidth)
    assert neurons.joules == pytest.approx(15 * neurons.seconds)
    total = costs.total(device)
    assert total.seconds == pytest.approx(sum(layer.seconds for layer in layers.values()))
    assert total.joules == pytest.approx(15 * total.seconds)
    assert costs.total(Device.named("orin-nano:7W")).seconds > total.seconds


def test_a_module_is_bound_by_what_takes_most_of_its_time():
    """Time is that of the nodes one after the other, so a module of both kinds takes longer than either sum."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="a/MatMul"),
        helper.make_node("Transpose", ["y"], ["z"], name="a/Transpose", perm=[1, 0]),
    ]
    made = model(nodes, [tensor("x", F, 512, 512)], [tensor("z", F, 512, 512)], [constant("w", F, 512, 512)])
    device = Device.named("orin-nano")
    (layer,) = Costs.of(made).modules(device)
    computing, moving = 2 * 512**3 / device.peak("fp32"), 4 * 2 * 512**2 / device.bandwidth
    assert layer.seconds == pytest.approx(computing + moving)
    assert layer.bound == "compute"
