"""Open neurons, against networks that run on their own with coarse rounding: no spike flips where none is open."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.reference.free_running import free_running_bounds
from tcja_exporters.reference.recorder import layers, record, replaced, signature
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.evidence.rounding import BFLOAT16, FLOAT32
from tcja_runtime.neuron import NeuronSpec, fire

from ... import networks

SPECS = {
    "hard": NeuronSpec.leaky(decay_input=True, tau=2.0),
    "to a value": NeuronSpec.leaky(decay_input=False, tau=2.0, v_reset=0.2),
    "soft": NeuronSpec.linear(decay=0.5, strict=True, reset="soft"),
    "late": NeuronSpec.linear(decay=0.9, strict=True, reset="late"),
    "refractory": NeuronSpec.linear(decay=0.9, strict=True, reset="refractory"),
    "none": NeuronSpec.linear(decay=0.5, strict=True, reset="none"),
}


def ran(network, found, inputs, stored):
    """The spikes [T, N, neurons] of each layer, and the output, of a network whose layers round their currents.

    Args:
        network: the network.
        found: its layers.
        inputs: the windows.
        stored: the type that currents are rounded to.
    """
    spikes = {}

    def stand_in(name):
        spec = next(layer.neuron for layer in found if layer.name == name)

        def stepped(current):
            fired = fire(spec, current.to(stored).to(torch.float64).numpy())
            spikes[name] = fired.reshape(*fired.shape[:2], -1)
            return torch.from_numpy(fired.astype(np.float64))

        return stepped

    with torch.no_grad(), replaced(network.double(), stand_in):
        output = network(torch.from_numpy(inputs).double()).numpy()
    return spikes, output


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", networks.SMALL)
def test_a_count_differs_by_no_more_than_the_open_neurons(name, spec):
    small = networks.SMALL[name]
    network, inputs = small.module(), small.inputs(4, seed=3).numpy()
    found = layers(network, small.network.contract(small.sizes))
    found = [dataclasses.replace(layer, neuron=SPECS[spec]) for layer in found]
    bounds = free_running_bounds(network, inputs, found, BFLOAT16)
    exact, output = ran(network, found, inputs, torch.float64)
    coarse, other = ran(network, found, inputs, torch.bfloat16)
    flips = np.stack([(exact[layer.name] != coarse[layer.name]).sum(2).T for layer in found], axis=1)
    assert flips.sum() > 20
    assert (flips <= bounds.open).all()  # not only the counts: no spike that is not open differs
    assert (np.abs(other - output) <= bounds.output).all()


@pytest.mark.parametrize("spec", SPECS)
def test_a_neuron_that_may_have_fired_stays_open(spec):
    """Many membranes meet the threshold exactly; other neurons differ there alone, and then go their own way."""
    strict = dataclasses.replace(SPECS[spec], strict=True)
    if strict.v_reset:
        strict = dataclasses.replace(strict, v_reset=0.25, v_initial=0.25, v_rest=0.25, bias=0.125)
    layer = Layer(name="", shape=(5000,), neuron=strict)
    currents = np.random.default_rng(0).integers(0, 8, (6, 1, 5000)) / 4.0
    bounds = free_running_bounds(SpikingNeuron(strict), currents, [layer], FLOAT32)
    ours, theirs = (fire(each, currents) for each in (strict, dataclasses.replace(strict, strict=False)))
    flips = (ours != theirs).sum(2).T
    assert flips.sum() > 100
    assert (flips <= bounds.open[:, 0]).all()


def test_a_gate_that_is_rounded_opens_neurons():
    """The bounds of the recorder are for given gates; these are for gates that the backend rounds, too."""
    small = networks.SMALL["dvs128"]
    network, inputs = small.module(), small.inputs(8, seed=3).numpy()
    contract = small.network.contract(small.sizes)
    of = signature(network, contract, small.network.output, small.sizes.time_steps)
    undecided = record(network, inputs, of).reference.undecided
    bounds = free_running_bounds(network, inputs, of.layers, FLOAT32)
    assert bounds.open.shape == (8, len(of.layers), small.sizes.time_steps)
    assert bounds.output.shape == (8, *of.output_shape)
    given = np.stack([undecided[layer.name] for layer in of.layers], axis=1)
    assert (bounds.open >= given).all()
    assert 0 < given.sum() < bounds.open.sum()


def test_a_network_with_an_operation_without_a_bound_has_none():
    class Hyperbolic(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x).sinh()

    small = networks.SMALL["fashion_mnist"]
    network = Hyperbolic(small.module()).eval()
    found = layers(network, small.network.contract(small.sizes))
    assert free_running_bounds(network, small.inputs(1).numpy(), found, FLOAT32) is None
