import math

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn
from torch.nn import functional

from tcja_exporters.costs.roofline import Costs
from tcja_exporters.costs.synapses import E_AC, E_MAC, SynapticCost
from tcja_runtime.bundle.bundle import GOLDEN, MODEL, PLAIN_MODEL, Bundle
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden
from tcja_runtime.evidence.packed_spikes import PackedSpikes

from ... import networks
from .graphs import F, by_hand, constant, model, neuron, shape, tensor

MODELS = pytest.mark.parametrize("file", [MODEL, PLAIN_MODEL])


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
    packed = {layer: PackedSpikes.pack(fired) for layer, fired in spikes.items()}
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


def test_golden_vectors_of_another_network():
    made = by_hand()
    costs = Costs.of(made)
    with pytest.raises(BadInput, match="have no spikes of b; export the bundle again"):
        costs.rates(vectors_of({"x": spikes_of(3, 1, 2, 2, 2)}, np.zeros((1, 1), np.float32)))
