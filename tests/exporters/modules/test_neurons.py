"""The torch neuron against SpikingJelly's own, and against the equations in numpy."""

import numpy as np
import pytest
import torch
from spikingjelly.clock_driven import functional, neuron, surrogate

from tcja_exporters.modules.neurons import SpikingNeuron, set_surrogate
from tcja_exporters.modules.surrogates import ATan
from tcja_runtime.neuron import NeuronSpec, membranes

SPIKINGJELLY = [
    pytest.param(
        NeuronSpec.leaky(
            decay_input=True, tau=tau, reset="hard" if v_reset is not None else "soft", v_reset=v_reset or 0.0
        ),
        lambda tau=tau, v_reset=v_reset: neuron.MultiStepLIFNode(tau=tau, v_reset=v_reset),
        id=f"LIF tau {tau} v_reset {v_reset}",
    )
    for tau in (2.0, 3.0, 1.5)
    for v_reset in (0.0, -0.25, None)
] + [
    pytest.param(
        NeuronSpec.linear(decay=1 - 1 / 2.0, strict=False),
        lambda: neuron.MultiStepLIFNode(tau=2.0, decay_input=False),
        id="LIF without decay of the input",
    ),
    pytest.param(NeuronSpec.linear(decay=1.0, strict=False), lambda: neuron.MultiStepIFNode(), id="IF"),
    pytest.param(
        NeuronSpec.linear(decay=1.0, strict=False, reset="soft", threshold=0.75),
        lambda: neuron.MultiStepIFNode(v_threshold=0.75, v_reset=None),
        id="IF soft reset",
    ),
]


def currents(half_integers: bool, dtype: torch.dtype) -> torch.Tensor:
    """Currents [T, N, ...]; half-integers meet the thresholds exactly, where inclusive and strict part."""
    x = torch.randn(12, 3, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    return ((x * 2).round() / 2 if half_integers else x).to(dtype)


@pytest.mark.parametrize(("spec", "oracle"), SPIKINGJELLY)
@pytest.mark.parametrize("half_integers", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spikes_are_those_of_spikingjelly(spec, oracle, half_integers, dtype):
    x = currents(half_integers, dtype)
    theirs = oracle()
    expected = theirs(x)
    functional.reset_net(theirs)
    torch.testing.assert_close(SpikingNeuron(spec)(x), expected, rtol=0, atol=0)
    assert 0.01 < expected.mean() < 0.9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_strict_and_inclusive_part_at_the_threshold(dtype):
    x = currents(True, dtype)
    inclusive = SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=False))(x)
    strict = SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=True))(x)
    assert (inclusive != strict).float().mean() > 0.01


def test_nothing_is_kept_between_calls():
    layer, x = SpikingNeuron(NeuronSpec.leaky(decay_input=True, tau=2.0)), currents(False, torch.float32)
    first = layer(x)
    layer(x * 10)
    assert torch.equal(layer(x), first)
    assert not layer.state_dict()
    assert layer(x[:, :1]).shape == (12, 1, 500)


def test_spikes_explain_the_membranes():
    """The numpy membranes, made to fire the torch module's spikes, are past the threshold exactly where it fired."""
    spec, x = NeuronSpec.leaky(decay_input=True, tau=3.0), currents(False, torch.float32)
    spikes = SpikingNeuron(spec)(x).bool().numpy()
    np.testing.assert_array_equal(spec.fires(membranes(spec, x.numpy(), spikes)), spikes)


def test_training_has_spikingjellys_gradient():
    x = currents(False, torch.float32)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    theirs = neuron.MultiStepLIFNode(tau=2.0, detach_reset=True, surrogate_function=surrogate.ATan())
    ours = SpikingNeuron(NeuronSpec.leaky(decay_input=True, tau=2.0))
    set_surrogate(ours, ATan())
    gradients = []
    for layer in (theirs, ours):
        leaf = x.clone().requires_grad_()
        (layer(leaf) * weights).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[1], gradients[0])
    assert gradients[0].abs().max() > 0.1


def test_a_surrogate_does_not_change_the_spikes():
    x = currents(True, torch.float32)
    for strict in (False, True):
        layer = SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=strict))
        plain = layer(x)
        set_surrogate(layer, ATan())
        assert torch.equal(layer(x), plain)
