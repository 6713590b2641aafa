import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tcja_exporters.graph.capture import capture
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.reference import recorder
from tcja_exporters.user_models.driven import Driven
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec

CONTRACT = InputContract.of((3, 2, 2, 2))


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
