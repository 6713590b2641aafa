"""Integer neurons against torch's round and clamp, and floor, as published code has them."""

import pytest
import torch
from torch import Tensor

from tcja_exporters.modules.integer import IntegerNeuron, IntegerSpec
from tcja_exporters.modules.neurons import spiking_neurons
from tcja_runtime.errors import BadInput

PUBLISHED = [
    pytest.param(IntegerSpec(most=4), lambda x: torch.round(torch.clamp(x, 0, 4)), id="SpikeYOLO"),
    pytest.param(
        IntegerSpec(most=4, size=4.0), lambda x: torch.round(torch.clamp(x, 0, 4)) / 4, id="Transformer V3, divided"
    ),
    pytest.param(
        IntegerSpec(most=8, size=8.0, gain=4.0, rounds_up=True),
        lambda x: torch.floor(torch.clamp(4 * x, 0, 8) + 0.5) / 8,
        id="floor, with a gain",
    ),
    pytest.param(IntegerSpec(most=1), lambda x: torch.round(torch.clamp(x, 0, 1)), id="one spike"),
]


def currents(dtype: torch.dtype) -> Tensor:
    """Drawn currents, and multiples of 1/8, whose membranes are often halves."""
    drawn = torch.randn(5, 2, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4
    drawn[:, :, 2000:] = (drawn[:, :, 2000:] * 8).round() / 8
    return drawn.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("spec", "published"), PUBLISHED)
@pytest.mark.parametrize("stepped", [False, True])
def test_spikes_are_the_published_numbers(spec, published, stepped, dtype):
    x = currents(dtype)
    neuron = IntegerNeuron(spec, stepped=stepped)
    expected = published(x)
    spikes = torch.stack([neuron(step) for step in x]) if stepped else neuron(x)
    assert torch.equal(spikes, expected)
    assert spikes.dtype == dtype
    assert len(expected.unique()) == spec.most + 1
    assert [*spiking_neurons(neuron)] == [f"spike{d}" for d in range(1, spec.most + 1)]


def test_a_pair_has_no_state_and_time_may_be_the_second_axis():
    spec, x = IntegerSpec(most=2), currents(torch.float32)
    spikes, state = IntegerNeuron(spec, time_axis=1, pairs=True)(x.transpose(0, 1))
    assert state is None
    assert torch.equal(spikes.transpose(0, 1), IntegerNeuron(spec)(x))


def test_what_has_a_membrane_takes_one_step():
    x, spec = currents(torch.float32), IntegerSpec(most=2)
    window, step = IntegerNeuron(spec, once=True), IntegerNeuron(spec, stepped=True, once=True)
    assert torch.equal(window(x[:1])[0], step(x[0]))
    for neuron, given in ((window, x), (step, x[1])):
        with pytest.raises(BadInput, match="keeps a membrane, .* can be exported for windows of one time step only"):
            neuron(given)


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"most": 0}, "an integer neuron fires from 1 to 64 spikes in a time step, got 0"),
        ({"most": 4, "size": 0.0}, "size and gain must be above 0, got 0.0 and 1.0"),
        ({"most": 4, "gain": -1.0}, "size and gain must be above 0, got 1.0 and -1.0"),
    ],
)
def test_impossible_constants_are_refused(constants, message):
    with pytest.raises(ValueError, match=message):
        IntegerSpec(**constants)
