import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from tcja_exporters import custom_op
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.modules.neurons import SpikingNeuron, set_surrogate, spiking_neurons
from tcja_exporters.modules.surrogates import ATan
from tcja_exporters.networks import NETWORKS
from tcja_exporters.reference import recorder
from tcja_exporters.reference.taps import find_taps
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.probe import Probe
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL, WEIGHTS
from tcja_runtime.bundle.signature import Layer, Tap
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence.trace import Reference, Witnesses
from tcja_runtime.neuron import NeuronSpec

from ... import networks

MODELS = pytest.mark.parametrize("file", [MODEL, PLAIN_MODEL])


def layers(name: str) -> list[Layer]:
    return recorder.layers(networks.SMALL[name].module(), contract(name))


def contract(name: str) -> InputContract:
    return NETWORKS[name].contract(networks.SMALL[name].sizes)


def probe(folder, file: str, name: str, taps: Sequence[Tap] = ()) -> Probe:
    opened = functools.partial(OnnxRuntimeSession.open, folder / file)
    small = networks.SMALL[name]
    signature = recorder.signature(small.module(), contract(name), NETWORKS[name].output, small.sizes.time_steps)
    return Probe(file, "", opened, dataclasses.replace(signature, taps=taps))


@MODELS
@networks.BOTH
@pytest.mark.parametrize("batch", [1, 5])
def test_onnx_runtime_fires_pytorchs_spikes(name, exports, file, batch):
    folder = exports[name][1]
    inputs = networks.SMALL[name].inputs(batch).numpy()
    expected = recorder.run(networks.SMALL[name].module(), inputs)
    actual = probe(folder, file, name).free(inputs)
    assert sum((expected.spikes[layer] != actual.spikes[layer]).sum() for layer in expected.spikes) == 0
    np.testing.assert_allclose(actual.output, expected.output, rtol=0, atol=1e-6)


def gated_at_random(
    network: nn.Module, model: onnx.ModelProto, steps: int, generator: torch.Generator
) -> tuple[list[Tap], dict[str, Witnesses]]:
    """Hooks draw the gates of a network, which are found among the witnesses once it has run."""
    gates, witnesses = [tap for tap in find_taps(network, model, steps) if tap.is_gate], {}
    assert gates

    def draw(tap: Tap, output: Tensor) -> Tensor:
        gate = torch.rand(tap.in_time(output).shape, generator=generator)
        zero, elements = np.zeros(gate[0].numel(), np.int32), np.arange(gate[0].numel())
        values = gate.reshape(steps, -1).double().numpy()
        witnesses[tap.name] = Witnesses(zero, elements, values, np.zeros_like(values, np.float32))
        return tap.out_of_time(gate)

    for tap in gates:
        module = network.get_submodule(tap.name)
        module.register_forward_hook(lambda _m, _i, output, tap=tap: draw(tap, output))
    return gates, witnesses


@MODELS
def test_layers_can_be_fed_any_spikes_and_gates(name, exports, file):
    """A hook that returns other spikes than a neuron fired does the same to the network in PyTorch; so for gates."""
    network, inputs, steps = (
        networks.SMALL[name].module(),
        networks.SMALL[name].inputs(3),
        networks.SMALL[name].sizes.time_steps,
    )
    generator = torch.Generator().manual_seed(2)
    given = {layer.name: torch.rand(steps, 3, *layer.shape, generator=generator) < 0.2 for layer in layers(name)}
    fired, currents = {}, {}

    def hook(layer: str, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        (currents[layer],), fired[layer] = inputs, output.bool()
        return given[layer].float()

    for layer, neuron in spiking_neurons(network).items():
        neuron.register_forward_hook(lambda _m, i, o, layer=layer: hook(layer, i, o))
    gates, witnesses = gated_at_random(network, exports[name][0].model, steps, generator)
    with torch.no_grad():
        output = network(inputs)

    probed = probe(exports[name][1], file, name, gates)
    spikes = {layer: values.numpy() for layer, values in given.items()}
    known = Reference(
        output=output.numpy(), output_bound=output.numpy(), spikes=spikes, undecided={}, witnesses=witnesses
    )
    actual = probed.forced(inputs.numpy(), known)
    for layer in given:
        np.testing.assert_allclose(actual.signals[layer], currents[layer].numpy(), rtol=0, atol=2e-5)
        np.testing.assert_array_equal(actual.spikes[layer], fired[layer].numpy())
    np.testing.assert_allclose(actual.output, output.numpy(), rtol=0, atol=1e-6)
    own = probed.stimulated(inputs.numpy(), spikes)  # whose gates are its own
    assert not own.spikes
    for signal in (layers(name)[0].name, gates[0].name):  # before any gate
        np.testing.assert_array_equal(own.signals[signal], actual.signals[signal])
    assert any((own.signals[layer] != actual.signals[layer]).any() for layer in given)


@MODELS
def test_networks_run_free_with_given_gates(name, exports, file):
    network, inputs, steps = (
        networks.SMALL[name].module(),
        networks.SMALL[name].inputs(3),
        networks.SMALL[name].sizes.time_steps,
    )
    gates, witnesses = gated_at_random(network, exports[name][0].model, steps, torch.Generator().manual_seed(3))
    expected = recorder.run(network, inputs.numpy())
    known = Reference(
        output=expected.output, output_bound=expected.output, spikes=expected.spikes, undecided={}, witnesses=witnesses
    )
    probed = probe(exports[name][1], file, name, gates)
    actual, own = probed.gated(inputs.numpy(), known), probed.free(inputs.numpy())
    for layer, spikes in expected.spikes.items():
        np.testing.assert_array_equal(actual.spikes[layer], spikes)
    assert any((own.spikes[layer] != spikes).any() for layer, spikes in expected.spikes.items())


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


def test_both_models_keep_the_contract(name, exports):
    exported, _ = exports[name]
    for model in (exported.model, exported.plain):
        onnx.checker.check_model(model, full_check=True)
        assert model.ir_version <= 10
        assert {(o.domain, o.version) for o in model.opset_import} <= {("", 18), ("tcja", 1)}
        (source,), (result,) = model.graph.input, model.graph.output
        assert (source.name, result.name) == (contract(name).name, NETWORKS[name].output)
        assert all(value.type.tensor_type.shape.dim[0].dim_param == "batch" for value in (source, result))
        shape = [d.dim_value for d in source.type.tensor_type.shape.dim[1:]]
        assert tuple(shape) == contract(name).shape
        assert {p.key: p.value for p in model.metadata_props} == {"producer": "tests", "T": "5"}
    assert [function.name for function in exported.model.functions] == ["TcjaLif"]
    assert not exported.plain.functions
    assert {node.domain for node in exported.plain.graph.node} == {""}
    assert [opset.domain for opset in exported.plain.opset_import] == [""]


def test_scan_bodies_say_their_rank(name, exports):
    """ONNX Runtime up to 1.23, the last for Python 3.10, does not run a Scan whose results have no declared rank."""
    exported, _ = exports[name]
    nodes = [*exported.plain.graph.node, *(node for function in exported.model.functions for node in function.node)]
    bodies = [helper.get_attribute_value(a) for n in nodes for a in n.attribute if a.name == "body"]
    assert len(bodies) == len(layers(name)) + 1
    assert all(value.type.tensor_type.HasField("shape") for body in bodies for value in body.output)


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
                "charge_order": b"decayed",
                "rate": 0.5,
                "tau": 2.0,
                "strict": 0,
                "reset": b"hard",
            }


def test_names_are_those_of_pytorchs_modules(name, exports):
    modules = {module for module, _ in networks.SMALL[name].module().named_modules()}
    for model in (exports[name][0].model, exports[name][0].plain):
        names = [node.name for node in model.graph.node]
        assert len(set(names)) == len(names)
        assert {node.rpartition("/")[0] for node in names} <= modules


def test_weights_are_stored_once(name, exports):
    exported, folder = exports[name]
    assert sorted(os.listdir(folder)) == sorted([MODEL, PLAIN_MODEL, WEIGHTS])
    outside = [t.raw_data for t in exported.model.graph.initializer if len(t.raw_data) >= 1024]
    assert len(outside) > 2
    assert sum(map(len, outside)) <= (folder / WEIGHTS).stat().st_size < sum(map(len, outside)) + 64 * len(outside)
    for file, model in ((MODEL, exported.model), (PLAIN_MODEL, exported.plain)):
        loaded = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(folder / file).graph.initializer}
        for tensor in model.graph.initializer:
            np.testing.assert_array_equal(loaded[tensor.name], onnx.numpy_helper.to_array(tensor))


def ran(model: Path, output: str, x: Tensor) -> np.ndarray:
    session = OnnxRuntimeSession.open(model)
    return session.run({session.inputs[0]: x.numpy()})[output]


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


class Shared(nn.Module):
    """Two neurons on one current, which is the model's input; the second one's spikes are its output."""

    def __init__(self) -> None:
        super().__init__()
        self.first = SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=True))
        self.second = SpikingNeuron(NeuronSpec.linear(decay=0.25, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(x) if self.first(x).shape == x.shape else x


class Both(Shared):
    def __init__(self) -> None:
        super().__init__()
        self.third = SpikingNeuron(NeuronSpec.linear(decay=1.0, strict=False, reset="soft"))

    def forward(self, x: Tensor) -> Tensor:
        return self.third(x + self.first(x) * self.second(x))


class Twice(Shared):
    def forward(self, x: Tensor) -> Tensor:
        return self.first(self.first(x))


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
    "no reset": NeuronSpec.linear(decay=0.75, strict=False, reset="none"),
    "everything": NeuronSpec.linear(decay=0.75, gain=1.5, bias=0.125, threshold=0.75, strict=False, v_reset=0.25),
}


def saved(folder, module: nn.Module, contract: InputContract) -> Exported:
    exported = export_onnx(module, contract, "spikes", {"producer": "tests"})
    save(exported, folder)
    return exported


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
    """Each kind has a function of its own, told apart by its overload; equal kinds share one."""
    specs = [NEURONS["TET"], NEURONS["soft"], NEURONS["MS-ResNet"], NEURONS["decayed input"], NEURONS["TET"]]
    x = torch.randn(2, 6, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 2
    module = Alone(*specs)
    exported = saved(tmp_path, module, InputContract.frames(6, 4, 4))
    assert sorted(function.overload for function in exported.model.functions) == ["", "1", "2"]
    for file in (MODEL, PLAIN_MODEL):
        np.testing.assert_array_equal(ran(tmp_path / file, "spikes", x), module(x).numpy())


@pytest.mark.parametrize("module", [Shared(), Both()])
def test_neurons_at_the_edge_of_a_model_can_be_probed(tmp_path, module):
    """Time is in the place of the batch here: a neuron reads the model's input itself and writes its output."""
    exported = saved(tmp_path, module, InputContract.images(2, 3, 3))
    x = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0)) * 3
    neurons = [node for node in exported.model.graph.node if node.domain == "tcja"]
    extra = [tensor for node in neurons for tensor in (node.input[0], node.output[0])]
    assert len(set(extra)) == len(extra)
    for file in (MODEL, PLAIN_MODEL):
        results = OnnxRuntimeSession.open(tmp_path / file, ["spikes", *extra]).run({"images": x.numpy()})
        np.testing.assert_array_equal(results["spikes"], module(x).numpy())
        for node in neurons:
            fired = SpikingNeuron(custom_op.spec_of(node))(torch.from_numpy(results[node.input[0]]))
            np.testing.assert_array_equal(results[node.output[0]], fired.numpy())


def test_a_neuron_that_is_used_twice_is_refused():
    with pytest.raises(BadInput, match="the neuron 'first' is used more than once in a forward pass"):
        export_onnx(Twice(), InputContract.images(2, 3, 3), "spikes", {"producer": ""})


def test_surrogates_are_replaced(tmp_path):
    """A network in the middle of its training exports as one that never was trained with a surrogate."""
    network, contract_ = networks.SMALL["fashion_mnist"].module(), contract("fashion_mnist")
    plain = export_onnx(network, contract_, "rates", {"producer": ""})
    set_surrogate(network.train(), ATan())
    assert export_onnx(network, contract_, "rates", {"producer": ""}).model == plain.model
    assert not network.training


def test_a_forward_pass_before_the_export_changes_nothing():
    network, contract_ = networks.SMALL["dvs128"].module(), contract("dvs128")
    before = export_onnx(network, contract_, "rates", {"producer": ""})
    with torch.no_grad():
        network(networks.SMALL["dvs128"].inputs(3) * 7)
    assert export_onnx(network, contract_, "rates", {"producer": ""}).model == before.model


def test_a_second_run_starts_from_rest(name, exports):
    session, output = OnnxRuntimeSession.open(exports[name][1] / MODEL), NETWORKS[name].output
    inputs, input_name = networks.SMALL[name].inputs(2).numpy(), contract(name).name
    first = session.run({input_name: inputs})[output]
    session.run({input_name: inputs * 5})
    np.testing.assert_array_equal(session.run({input_name: inputs})[output], first)


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)


def test_a_network_that_fixes_its_batch_is_refused():
    with pytest.raises(BadInput, match="fixes the batch size"):
        export_onnx(FixedBatch(), InputContract.images(1, 4, 4), "y", {"producer": ""})


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


def test_weights_that_are_computed_are_not_drawn():
    """Of a parametrised weight, the model has a constant, but the module has no tensor to replace."""
    network = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=True))
    )
    plain = nn.Sequential(nn.Linear(4, 3), SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=True)))
    contract = InputContract.latents(5, 4)
    found = [export_onnx(each, contract, "rates", {"producer": ""}).weights for each in (network, plain)]
    assert [[weight.module for weight in weights] for weights in found] == [[], ["0"]]
