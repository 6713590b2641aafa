"""The custom operator: one node a layer, with the constants of its neurons, which fires what they fire."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from tcja_exporters import custom_op
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.networks import NETWORKS
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec

from .. import networks
from .graph.exporting import layers, ran, saved


def test_the_custom_op_is_a_node_a_layer_whatever_the_time_steps(name):
    counts = set()
    for time_steps in (4, 9):
        network = NETWORKS[name]
        sizes = networks.with_time_steps(networks.SMALL[name].sizes, time_steps)
        model = export_onnx(network.build(sizes), network.contract(sizes), network.output, {"producer": ""}).model
        neurons = [node for node in model.graph.node if (node.domain, node.op_type) == ("tcja", "TcjaLif")]
        assert [node.name for node in neurons] == [f"{layer.name}/TcjaLif" for layer in layers(name)]
        counts.add(len(model.graph.node))
    assert len(counts) == 1
    assert counts.pop() <= 60


def test_attributes_say_every_constant(name, exports):
    for node in exports[name][0].model.graph.node:
        if node.domain == "tcja":
            values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            assert values == {
                "decay": 0.5,
                "gain": 0.5,
                "bias": 0.0,
                "threshold": 1.0,
                "v_reset": 0.0,
                "v_initial": 0.0,
                "v_rest": 0.0,
                "charge_order": b"decayed",
                "rate": 0.5,
                "tau": 2.0,
                "strict": 0,
                "reset": b"hard",
                "returns": b"spikes",
            }


class Alone(nn.Module):
    """One or more neurons and nothing else: [N, T, ...] in, [N, T, ...] out."""

    def __init__(self, *specs: NeuronSpec) -> None:
        super().__init__()
        self.neurons = nn.Sequential(*map(SpikingNeuron, specs))

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(0, 1)
        for neuron in self.neurons:
            y = neuron(y) * 3.0
        return y.transpose(0, 1)


NEURONS = {
    "decayed input": NeuronSpec.leaky(decay_input=True, tau=2.0),
    "decayed input, tau 3": NeuronSpec.leaky(decay_input=True, tau=3.0),
    "decayed input, v_reset": NeuronSpec.leaky(decay_input=True, tau=2.0, v_reset=-0.5),
    "decayed input, soft, strict": NeuronSpec.leaky(decay_input=True, tau=4.0, strict=True, reset="soft"),
    "TET": NeuronSpec.linear(decay=0.5, strict=True),
    "MS-ResNet": NeuronSpec.linear(decay=0.25, threshold=0.5, strict=True),
    "FSVAE": NeuronSpec.linear(decay=0.25, threshold=0.2, strict=True),
    "IF": NeuronSpec.linear(decay=1.0, strict=False),
    "soft": NeuronSpec.linear(decay=0.9, strict=False, reset="soft"),
    "leak by its rate": NeuronSpec.leaky(decay_input=True, rate=0.3, strict=True, reset="soft"),
    "leaky": NeuronSpec.leaky(decay_input=False, tau=3.0, v_reset=-0.25),
    "leaky, by its rate": NeuronSpec.leaky(decay_input=False, rate=0.3, threshold=0.75),
    "late reset": NeuronSpec.linear(decay=0.75, strict=True, reset="late"),
    "refractory": NeuronSpec.linear(decay=0.75, strict=True, reset="refractory"),
    "no reset": NeuronSpec.linear(decay=0.75, strict=False, reset="none"),
    "everything": NeuronSpec.linear(decay=0.75, gain=1.5, bias=0.125, threshold=0.75, strict=False, v_reset=0.25),
}


class SideBySide(nn.Module):
    """Every neuron alone on the same current: [N, T, ...] in, [N, T, neurons, ...] out."""

    def __init__(self) -> None:
        super().__init__()
        self.neurons = nn.ModuleList(map(SpikingNeuron, NEURONS.values()))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([neuron(x.transpose(0, 1)) for neuron in self.neurons], 2).transpose(0, 1)


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory) -> tuple[SideBySide, Path]:
    module, folder = SideBySide(), tmp_path_factory.mktemp("neurons")
    saved(folder, module, InputContract.frames(12, 8, 8))
    return module, folder


@pytest.mark.parametrize("half_integers", [False, True])
@pytest.mark.parametrize("spec", NEURONS.values(), ids=NEURONS)
def test_every_neuron_is_exact_in_onnx_runtime(side_by_side, spec, half_integers):
    x = torch.randn(3, 12, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * 2
    x = (x * 2).round() / 2 if half_integers else x
    module, folder = side_by_side
    at = list(NEURONS.values()).index(spec)
    expected = module(x)[:, :, at].numpy()
    assert 0.02 < (expected > 0).mean() < 0.98
    for file in (MODEL, PLAIN_MODEL):
        np.testing.assert_array_equal(ran(folder / file, "spikes", x)[:, :, at], expected)


def test_neurons_of_several_kinds_share_a_model(tmp_path):
    """Each kind has a function of its own, told apart by its domain; equal kinds share one."""
    specs = [NEURONS["TET"], NEURONS["soft"], NEURONS["MS-ResNet"], NEURONS["decayed input"], NEURONS["TET"]]
    x = torch.randn(2, 6, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 2
    module = Alone(*specs)
    exported = saved(tmp_path, module, InputContract.frames(6, 4, 4))
    assert [function.domain for function in exported.model.functions] == ["tcja", "tcja2", "tcja3"]
    assert [opset.domain for opset in exported.model.opset_import] == ["", "tcja", "tcja2", "tcja3"]
    assert (exported.model.ir_version, exported.plain.ir_version) == (8, 8)
    for file in (MODEL, PLAIN_MODEL):
        np.testing.assert_array_equal(ran(tmp_path / file, "spikes", x), module(x).numpy())


def test_the_reference_evaluator_agrees(tmp_path):
    """onnx's own evaluator, which shares no code with ONNX Runtime, runs the function's body to the same spikes."""
    from onnx.reference import ReferenceEvaluator

    module = Alone(NEURONS["decayed input"])
    exported = saved(tmp_path, module, InputContract.frames(5, 3, 3))
    x = torch.randn(2, 5, 2, 3, 3, generator=torch.Generator().manual_seed(0)) * 3
    for model in (exported.model, exported.plain):
        (actual,) = ReferenceEvaluator(model).run(None, {"frames": x.numpy()})
        np.testing.assert_array_equal(actual, module(x).numpy())


def test_metadata_and_custom_op_names_are_safe_for_tensorrt():
    """TensorRT finds functions by operator name alone: it must be no standard operator, its domain must have no dot."""
    assert custom_op.NAME not in {schema.name for schema in onnx.defs.get_all_schemas()}
    assert "." not in custom_op.DOMAIN
