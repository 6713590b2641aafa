"""Networks that are fed spikes and gates, in ONNX Runtime and in PyTorch."""

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from tcja_exporters import custom_op
from tcja_exporters.modules.neurons import SpikingNeuron, spiking_neurons
from tcja_exporters.reference import recorder
from tcja_exporters.reference.taps import find_taps
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.bundle.network_signature import Tap
from tcja_runtime.data.contract import InputContract
from tcja_runtime.evidence.trace import Reference, Witnesses
from tcja_runtime.neuron import NeuronSpec

from ... import networks
from ...exporters.graph.exporting import layers, probe, saved

MODELS = pytest.mark.parametrize("file", [MODEL, PLAIN_MODEL])


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
