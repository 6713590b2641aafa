import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tcja_exporters.graph.capture import capture
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.reference import recorder
from tcja_exporters.user_models.conversion import convert
from tcja_exporters.user_models.driven import Driven
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec

CONTRACT = InputContract.of((3, 2, 2, 2))
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # of SpikingJelly's import


class Network(nn.Module):
    """Two layers on [T, N, 2, 2, 2]; `taken` is applied to the current of the second layer."""

    def __init__(self, taken) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a, self.b, self.taken = nn.Linear(8, 6), nn.Linear(6, 3), taken
        self.n1, self.n2 = (SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=True)) for _ in range(2))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.n2(self.taken(self.b(self.n1(self.a(x.flatten(2)))))).mean(0)


def assigned(x: Tensor) -> Tensor:
    x.data = 2 * x
    return x


def test_data_is_followed_as_detach_is():
    """`.data` leaves torch.export and the rounding bounds without a trace of where a tensor comes from."""
    networks = [Driven(Network(taken).eval(), CONTRACT, "TN") for taken in (lambda x: x.data, lambda x: x.detach())]
    programs = [capture(network, CONTRACT).graph_module.code for network in networks]
    assert programs[0] == programs[1]
    inputs = np.random.default_rng(0).poisson(1.0, (4, *CONTRACT.shape)).astype(np.float32)
    signature = recorder.signature(networks[0], CONTRACT, "rates", 3)
    by_data, by_detach = (recorder.record(network, inputs, signature).reference for network in networks)
    assert by_detach.witnesses["net.n2"].bounds.max() > 0
    for layer, witnesses in by_detach.witnesses.items():
        np.testing.assert_array_equal(by_data.witnesses[layer].bounds, witnesses.bounds)


def test_an_assignment_to_data_is_refused_with_its_line():
    network = Driven(Network(assigned).eval(), CONTRACT, "TN")
    network(torch.zeros(1, *CONTRACT.shape))
    with pytest.raises(
        BadInput,
        match=r"^forward assigns to \.data \(.*test_driven\.py, line \d+\), which cannot be exported; assign the new "
        "value to a variable$",
    ):
        capture(network, CONTRACT)


def test_compiled_parts_run_without_a_compiler():
    def compiler(_graph, _example):
        raise AssertionError("compiled")

    network = Network(torch.compile(lambda x: 2 * x, backend=compiler)).eval()
    expected = Driven(Network(lambda x: 2 * x).eval(), CONTRACT, "TN")
    network.a = torch.compile(network.a, backend=compiler)
    x = torch.from_numpy(np.random.default_rng(0).poisson(1.0, (4, *CONTRACT.shape)).astype(np.float32))
    with torch.no_grad():
        assert torch.equal(Driven(network, CONTRACT, "TN")(x), expected(x))


class Crowded(nn.Module):
    """A network whose parts and weights have names that a wrapper around it could have."""

    PARTS = ("net", "readout", "readout_", "steps", "layout", "driven", "held")
    TAKEN = ("code", "code_", "graph")  # `code` and `graph` are names of programs of torch.export

    def __init__(self) -> None:
        from spikingjelly.activation_based import neuron

        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name in (*self.PARTS, *self.TAKEN):
            setattr(self, name, nn.Linear(8, 8))
        self.lif = neuron.LIFNode(step_mode="m")
        self.gain = nn.Parameter(torch.ones(8))
        self.register_buffer("shift", torch.full((8,), 0.25), persistent=False)
        self.register_buffer("meta", torch.full((8,), 0.25), persistent=False)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        for name in (*self.PARTS, *self.TAKEN):
            x = getattr(self, name)(x)
        return self.lif(3 * x * self.gain + self.shift + self.meta)


@pytest.fixture(scope="module")
def converted():
    inputs = np.random.default_rng(0).poisson(1.0, (4, *CONTRACT.shape)).astype(np.float32)
    return convert(Crowded(), CONTRACT, inputs, layout="TN"), inputs


def test_a_converted_network_has_the_names_of_its_user(converted):
    found, _ = converted
    theirs = Crowded()
    parts = [*Crowded.PARTS, "code__", "code_", "graph_"]
    assert [name for name, _ in found.model.named_children()] == [*parts, "lif", "readout__"]
    same = {name for name, _ in theirs.named_parameters() if name.partition(".")[0] not in ("code", "graph")}
    assert {name for name, _ in found.model.named_parameters()} - same == {
        f"{part}.{tensor}" for part in ("code__", "graph_") for tensor in ("weight", "bias")
    }
    assert [name for name, _ in found.model.named_buffers()] == ["shift", "meta_"]
    exported = export_onnx(found.model, CONTRACT, "rates", {"producer": "test"})
    assert [weight.module for weight in exported.weights] == parts
    assert {node.name.rpartition("/")[0] for node in exported.model.graph.node} >= {"lif", "net", "readout"}
    assert [layer.name for layer in recorder.layers(found.model, CONTRACT)] == ["lif"]
    assert repr(found.model).startswith("Crowded(")


def test_a_converted_network_and_its_copies_are_one_network_each(converted):
    """Copies, types and modes of the network reach what it runs."""
    found, inputs = converted
    theirs = Crowded().eval()
    x = torch.from_numpy(inputs)
    with torch.no_grad():
        expected = theirs(x.transpose(0, 1)).mean(0)
        assert expected.any()
        assert torch.equal(found.model(x), expected)
        copied = copy.deepcopy(found.model)
        copied.gain.data.zero_()
        copied.shift.fill_(-1.0)
        assert not copied(x).any()
        assert torch.equal(found.model(x), expected)
        doubled = copy.deepcopy(found.model).double()
        assert doubled(x.double()).dtype == torch.float64
        assert doubled.to("meta")(x.double().to("meta")).device.type == "meta"
    assert not any(part.training for part in found.model.modules())
    assert all(part.training for part in copied.train().modules())
