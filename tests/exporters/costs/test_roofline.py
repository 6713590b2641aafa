import functools
import math

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tcja_exporters import custom_op
from tcja_exporters.costs.boards import Device
from tcja_exporters.costs.roofline import Costs
from tcja_exporters.costs.synapses import E_AC, E_MAC, SynapticCost
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.networks import NETWORKS
from tcja_runtime.bundle.bundle import GOLDEN, MODEL, PLAIN_MODEL, Bundle
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden
from tcja_runtime.neuron import NeuronSpec

from ... import networks

MODELS = pytest.mark.parametrize("file", [MODEL, PLAIN_MODEL])
LIF = NeuronSpec.leaky(tau=2.0, decay_input=True)
F, H, B = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8


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


# A network by hand


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


# Time and energy


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


# Synaptic operations


def nonzero(network: nn.Module, inputs: torch.Tensor) -> dict[str, tuple[int, int]]:
    """By convolution and linear layer: how many of the values it takes are not zero, of how many."""
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Conv1d, nn.Linear)):
            module.register_forward_pre_hook(
                lambda _m, args, name=name: found.__setitem__(name, (int((args[0] != 0).sum()), args[0].numel()))
            )
    with torch.no_grad():
        network(inputs)
    return found


@MODELS
def test_firing_rates_are_those_of_pytorch(name, bundle, file):
    vectors = golden.load(bundle / GOLDEN, Bundle.open(bundle).manifest.input)
    expected = nonzero(networks.SMALL[name].module().double(), torch.from_numpy(vectors.samples.inputs).double())
    costs = Costs.of(onnx.load(bundle / file, load_external_data=False), batch=5)
    rates = costs.rates(vectors)
    takes = {synapses.module: synapses.takes for synapses in costs.synapses(rates)}
    assert takes.keys() == expected.keys()
    assert set(takes.values()) == {"spikes", "graded", "values"}
    modules = {node.rpartition("/")[0]: rate for node, rate in rates.items()}
    assert modules == {m: count / of for m, (count, of) in expected.items() if takes[m] != "values"}
    # Attention takes means, the first layer frames, and what is behind attention is gated.
    first = next(iter(takes))
    assert takes[first] == "values"
    assert all(takes[m] == "values" for m in takes if m.endswith((".conv", ".conv_c")))


def test_synaptic_operations_are_spikes_times_their_targets(name, bundle):
    """A spike inside a layer reaches kernel x channels neurons; padding is counted as if it did near borders too."""
    vectors = golden.load(bundle / GOLDEN, Bundle.open(bundle).manifest.input)
    network, windows = networks.SMALL[name].module(), len(vectors.samples)
    counts = nonzero(network.double(), torch.from_numpy(vectors.samples.inputs).double())
    costs = Costs.of(onnx.load(bundle / MODEL, load_external_data=False))
    for layer in costs.synapses(costs.rates(vectors)):
        module = network.get_submodule(layer.module)
        targets = math.prod(module.weight.shape) // module.weight.shape[1]
        if layer.takes == "values":
            assert (layer.accumulates, layer.multiply_accumulates) == (0, layer.macs)
            continue
        operations = counts[layer.module][0] / windows * targets
        expected = (operations, 0) if layer.takes == "spikes" else (0, operations)
        assert (layer.accumulates, layer.multiply_accumulates) == pytest.approx(expected)
        assert layer.joules == pytest.approx(operations * (0.9e-12 if layer.takes == "spikes" else 4.6e-12))


def spikes_of(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < 0.3


def vectors_of(spikes: dict[str, np.ndarray], inputs: np.ndarray) -> golden.Golden:
    """Golden vectors with these spikes [T, N, ...], and nothing else."""
    packed = {layer: golden.PackedSpikes.pack(fired) for layer, fired in spikes.items()}
    samples = golden.InMemoryWindows(inputs=inputs, labels=None, source="tests", real=False)
    return golden.Golden(samples, packed, None, {}, None)  # type: ignore[arg-type]


def test_synaptic_operations_by_hand():
    """Of a network that convolves spikes, against a loop over the spikes and the outputs that they reach."""
    nodes = [
        neuron("a"),
        helper.make_node("Reshape", ["a/spikes", "fold"], ["in"], name="b/Reshape"),
        helper.make_node("Conv", ["in", "w"], ["y"], name="b/Conv", pads=[1, 1, 1, 1]),
    ]
    constants = [shape("fold", -1, 2, 6, 6), constant("w", F, 4, 2, 3, 3)]
    ends = [tensor("a/current", F, 5, "batch", 2, 6, 6)], [tensor("y", F, "rows", 4, 6, 6)]
    costs = Costs.of(model(nodes, *ends, constants))
    spikes = spikes_of(5, 3, 2, 6, 6)
    spikes[..., [0, -1], :] = spikes[..., [0, -1]] = False  # away from the border every spike reaches as many
    inputs = np.zeros((3, 5, 2, 6, 6), np.float32)
    (layer,) = costs.synapses(costs.rates(vectors_of({"a": spikes}, inputs)))
    reached = 0
    for _, _, c, y, x in np.argwhere(spikes):
        one = torch.zeros(1, 2, 6, 6)
        one[0, c, y, x] = 1
        reached += int(torch.count_nonzero(functional.conv2d(one, torch.ones(4, 2, 3, 3), padding=1)))
    assert reached == 4 * 9 * np.count_nonzero(spikes)
    assert layer.accumulates == pytest.approx(reached / 3)
    assert layer.joules == pytest.approx(reached / 3 * E_AC)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, 3),
        ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, 4),
        ({"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 1, 0, 1]}, (6, 8)),
    ],
)
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pools_pass_events_on(kind, settings, size):
    height, width = (size, size) if isinstance(size, int) else size
    nodes = [
        neuron("a"),
        helper.make_node("Reshape", ["a/spikes", "fold"], ["in"], name="b/Reshape"),
        helper.make_node(kind, ["in"], ["pooled"], name=f"b/{kind}", **settings),
        helper.make_node("Conv", ["pooled", "w"], ["y"], name="c/Conv"),
    ]
    constants = [shape("fold", -1, 2, 7, 7), constant("w", F, 4, 2, 1, 1)]
    ends = [tensor("a/current", F, 2, "batch", 2, 7, 7)], [tensor("y", F, "rows", 4, height, width)]
    made = model(nodes, *ends, constants)
    spikes = spikes_of(2, 1, 2, 7, 7) & spikes_of(2, 1, 2, 7, 7, seed=1)
    costs = Costs.of(made)
    (layer,) = costs.synapses(costs.rates(vectors_of({"a": spikes}, np.zeros((1, 1), np.float32))))
    top, left, bottom, right = settings.get("pads", [0] * 4)
    padded = functional.pad(torch.from_numpy(spikes[:, 0]).float(), (left, right, top, bottom))
    windows = padded.unfold(2, settings["kernel_shape"][0], settings["strides"][0])
    windows = windows.unfold(3, settings["kernel_shape"][1], settings["strides"][1])
    assert layer.rate == float((windows.sum((-1, -2)) > 0).float().mean(dtype=torch.float64))
    assert layer.takes == ("spikes" if kind == "MaxPool" else "graded")


def test_axes_that_change_places():
    """A pool over channels, after they became the last axis."""
    nodes = [
        neuron("a"),
        helper.make_node("Transpose", ["a/spikes"], ["moved"], name="b/Transpose", perm=[0, 1, 3, 2]),
        helper.make_node("Reshape", ["moved", "fold"], ["folded"], name="b/Reshape"),
        helper.make_node("MaxPool", ["folded"], ["pooled"], name="b/MaxPool", kernel_shape=[4], strides=[4]),
        helper.make_node("MatMul", ["pooled", "w"], ["y"], name="c/MatMul"),
    ]
    ends = [tensor("a/current", F, 2, "batch", 4, 6)], [tensor("y", F, "rows", 6, 3)]
    costs = Costs.of(model(nodes, *ends, [constant("w", F, 1, 3), shape("fold", -1, 6, 4)]))
    spikes = spikes_of(2, 3, 4, 6)
    (layer,) = costs.synapses(costs.rates(vectors_of({"a": spikes}, np.zeros((3, 1), np.float32))))
    assert layer.takes == "spikes"
    assert layer.rate == pytest.approx(spikes.any(axis=2).mean())


def test_steps_that_are_taken_apart():
    """A network that loops over time has a product a step, which the table shows as one."""
    step = shape("t_1", 1)
    step.CopyFrom(onnx.numpy_helper.from_array(np.array(1, np.int64), "t_1"))
    nodes = [
        neuron("a"),
        helper.make_node("Slice", ["a/spikes", "start", "end"], ["s"], name="b/Slice"),
        helper.make_node("Squeeze", ["s", "axes"], ["first"], name="b/Squeeze"),
        helper.make_node("Gather", ["a/spikes", "t_1"], ["second"], name="b/Gather", axis=0),
        helper.make_node("MatMul", ["first", "w"], ["y"], name="c/MatMul"),
        helper.make_node("MatMul", ["second", "w"], ["z"], name="c/MatMul_2"),
    ]
    ends = [tensor("a/current", F, 3, "batch", 8)], [tensor("y", F, "batch", 3), tensor("z", F, "batch", 3)]
    costs = Costs.of(
        model(nodes, *ends, [constant("w", F, 8, 3), shape("start", 0), shape("end", 1), shape("axes", 0), step])
    )
    spikes = spikes_of(3, 4, 8)
    spikes[1] &= spikes_of(4, 8, seed=1)
    spikes[2] = True
    (layer,) = costs.synapses(costs.rates(vectors_of({"a": spikes}, np.zeros((4, 1), np.float32))))
    assert (layer.takes, layer.macs) == ("spikes", 2 * 8 * 3)
    assert layer.accumulates == pytest.approx(3 * np.count_nonzero(spikes[:2]) / 4)
    assert layer.rate == pytest.approx(spikes[:2].mean())


def test_an_input_of_spikes_is_counted_as_such():
    made = model(
        [helper.make_node("MatMul", ["latents", "w"], ["y"], name="a/MatMul")],
        [tensor("latents", F, "batch", 8)],
        [tensor("y", F, "batch", 3)],
        [constant("w", F, 8, 3)],
    )
    latents = spikes_of(4, 8).astype(np.float32)
    vectors = vectors_of({}, latents)
    costs = Costs.of(made, spiking=True)
    (layer,) = costs.synapses(costs.rates(vectors))
    assert layer.accumulates == pytest.approx(3 * np.count_nonzero(latents) / 4)
    (dense,) = Costs.of(made).synapses({})
    assert dense == SynapticCost(
        module="a", takes="values", rate=1.0, macs=24, accumulates=0.0, multiply_accumulates=24.0, joules=24 * E_MAC
    )


def test_residual_sums_are_no_spikes():
    nodes = [
        neuron("a"),
        helper.make_node("Add", ["a/spikes", "a/current"], ["sum"], name="b/Add"),
        helper.make_node("MatMul", ["sum", "w"], ["y"], name="c/MatMul"),
    ]
    ends = [tensor("a/current", F, 2, "batch", 8)], [tensor("y", F, 2, "batch", 3)]
    (layer,) = Costs.of(model(nodes, *ends, [constant("w", F, 8, 3)])).synapses({})
    assert layer.takes == "values"


# What is not known


def test_golden_vectors_of_another_network():
    made = by_hand()
    costs = Costs.of(made)
    with pytest.raises(BadInput, match="have no spikes of b; export the bundle again"):
        costs.rates(vectors_of({"x": spikes_of(3, 1, 2, 2, 2)}, np.zeros((1, 1), np.float32)))


def test_more_open_axes_than_a_batch():
    made = by_hand()
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "steps"
    with pytest.raises(BadInput, match=r"more open axes than a batch \(batch, steps\)"):
        Costs.of(made)


def test_a_batch_that_is_fixed():
    made = by_hand()
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2
    assert Costs.of(made).total().macs == Costs.of(by_hand(), batch=2).total().macs
    with pytest.raises(BadInput, match="`batch` 4: the model has a fixed batch of its own"):
        Costs.of(made, batch=4)


def test_unknown_operators_and_shapes():
    ends = [tensor("x", F, "batch", 8)], [tensor("y", F, "batch", 8)]
    odd = helper.make_node("Odd", ["x"], ["y"], name="a/Odd", domain="other")
    made = model([odd], *ends, [])
    made.opset_import.append(helper.make_opsetid("other", 1))
    with pytest.raises(BadInput, match="the costs of the model are not known: its tensor 'y' has no known shape"):
        Costs.of(made)
    body = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "b", [], [tensor("r", F, 1, 8)])
    chosen = helper.make_node("If", ["c"], ["y"], name="a/If", then_branch=body, else_branch=body)
    condition = onnx.numpy_helper.from_array(np.array(True), "c")
    with pytest.raises(BadInput, match=r"If \(node a/If\) has no rule"):
        Costs.of(model([chosen], *ends, [condition]))
