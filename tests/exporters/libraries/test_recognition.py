"""Which neurons are known, which are registered, and which are refused."""

import importlib.metadata
import sys

import numpy as np
import pytest
import torch
from torch import nn

from tcja_exporters import libraries
from tcja_exporters.user_models.conversion import convert
from tcja_runtime.errors import BadInput, ParityNotMet, Unavailable
from tcja_runtime.neuron import NeuronSpec, fire

from ..peers import own
from ..peers.own import CONTRACT, windows

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def test_strict_and_inclusive_neurons_part_at_their_threshold():
    import snntorch
    from spikingjelly.clock_driven import neuron

    inclusive = libraries.recognise("a", neuron.IFNode()).spec
    strict = libraries.recognise("b", snntorch.Leaky(beta=1.0)).spec
    at_it = np.ones((1, 1))
    assert fire(inclusive, at_it).all()
    assert not fire(strict, at_it).any()


class OwnLIF(nn.Module):
    """A user's neuron over [T, N, ...]: decays by 0.6, fires above 0.9, is set to 0."""

    theta = 0.9

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v, spikes = torch.zeros_like(x[0]), []
        for step in x:
            v = v * 0.6 + step
            spikes.append((v > self.theta).to(x.dtype))
            v = v * (1 - spikes[-1])
        return torch.stack(spikes)


def test_a_neuron_of_ones_own_is_registered(monkeypatch):
    monkeypatch.setattr(libraries, "_registered", {})
    network = own.awake(own.Window(*(OwnLIF() for _ in range(4))))
    with pytest.raises(BadInput, match="Window has no known spiking neurons; register its neurons"):
        convert(network, CONTRACT, windows(), layout="TN")
    libraries.register(OwnLIF, lambda lif: NeuronSpec.linear(decay=0.6, threshold=lif.theta, strict=True))
    found = convert(network, CONTRACT, windows(), layout="TN")
    assert found.dialect == "own"
    with torch.no_grad():
        x = torch.from_numpy(windows(2, seed=3))
        torch.testing.assert_close(found.model(x), network(x.transpose(0, 1)).mean(0))


@pytest.mark.parametrize(
    "wrong",
    [
        NeuronSpec.linear(decay=0.59, threshold=0.9, strict=True),
        NeuronSpec.linear(decay=0.6, threshold=0.9, strict=False),
        NeuronSpec.linear(decay=0.6, threshold=0.9, strict=True, reset="soft"),
        NeuronSpec.linear(decay=0.6, threshold=0.91, strict=True),
    ],
)
def test_wrong_constants_are_found(wrong, monkeypatch):
    """Even those that the data does not show: the neurons also run alone, on currents that meet their threshold."""
    monkeypatch.setattr(libraries, "_registered", {})
    libraries.register(OwnLIF, wrong)
    network = own.awake(own.Window(*(OwnLIF() for _ in range(4))))
    with pytest.raises(ParityNotMet, match=r"'n1' does not follow the equations of its .* \(own.*at time step \d+"):
        convert(network, CONTRACT, windows(), layout="TN")


def altered() -> nn.Module:
    from spikingjelly.activation_based import neuron

    class Doubled(neuron.LIFNode):
        def neuronal_charge(self, x: torch.Tensor) -> None:
            super().neuronal_charge(2 * x)

    return Doubled(step_mode="m")


def never_reset() -> nn.Module:
    from spikingjelly.activation_based import neuron

    return neuron.LIFNode(step_mode="m", v_threshold=float("inf"), v_reset=None)


def rectified() -> nn.Module:
    from spikingjelly.activation_based import neuron

    return neuron.KLIFNode(step_mode="m", v_threshold=float("inf"))


def exponential() -> nn.Module:
    from spikingjelly.activation_based import neuron

    return neuron.EIFNode(step_mode="m")


def leaking() -> nn.Module:
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.module.lif_box import LIFBoxCell

    return LIFBoxCell(LIFBoxParameters(v_leak=torch.tensor(0.1)))


def undelayed() -> nn.Module:
    import snntorch

    return snntorch.Leaky(beta=0.9, reset_delay=False, init_hidden=True)


def reloaded() -> nn.Module:
    """A neuron that got the state_dict of one with another reset; snnTorch does not change its reset."""
    import snntorch

    neuron = snntorch.Leaky(beta=0.9, reset_mechanism="subtract", init_hidden=True)
    neuron.load_state_dict(snntorch.Leaky(beta=0.9, reset_mechanism="zero").state_dict())
    return neuron


@pytest.mark.parametrize(
    ("neuron", "message"),
    [
        (altered, "derived from a class of SpikingJelly; register it"),
        (
            exponential,
            "its membrane follows an exponential equation, and the charge of our neurons is linear",
        ),
        (never_reset, "its reset subtracts an infinite threshold, which is no number; give it a v_reset"),
        (rectified, "its membranes are rectified, and those of an integrator are not"),
        (leaking, "its v_leak is not 0, and norse adds it to the current before it subtracts the membrane, which"),
        (
            reloaded,
            r"it is built with reset_mechanism='subtract', but its checkpoint says 'zero' \(reset_mechanism_val = 1\)",
        ),
        (undelayed, "with reset_delay=False, a membrane that stays above its threshold"),
    ],
)
def test_what_cannot_be_exact_is_refused(neuron, message):
    network = own.Window(neuron(), *own.activation_based("m")[1:])
    with pytest.raises(BadInput, match=rf"the neuron 'n1' \([\w.]+\) cannot be exported: .*{message}"):
        convert(network, CONTRACT, windows(), layout="TN")


class OwnStep(nn.Module):
    """A user's neuron for one time step, which keeps its membrane until it is reset."""

    v: torch.Tensor | float = 0.0

    def reset(self) -> None:
        self.v = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.v = self.v * 0.6 + x
        spikes = (self.v > 0.9).to(x.dtype)
        self.v = self.v * (1 - spikes)
        return spikes


def test_a_neuron_of_ones_own_may_keep_a_state(monkeypatch):
    monkeypatch.setattr(libraries, "_registered", {})
    libraries.register(OwnStep, NeuronSpec.linear(decay=0.6, threshold=0.9, strict=True), calls="step")
    network = own.awake(own.Step(*(OwnStep() for _ in range(4))))
    x = torch.from_numpy(windows(2, seed=3))
    with torch.no_grad():
        rates = torch.stack([network(x[:, t]) for t in range(own.T)]).mean(0)
        found = convert(network, CONTRACT, windows(), layout="step")
        torch.testing.assert_close(found.model(x), rates)


class TestExtensions:
    """Neurons that an installed package adds (tests/extension_package)."""

    def test_a_neuron_is_recognised_when_a_network_has_it(self, install):
        install()
        from blink.lif import BlinkLIF

        found = libraries.recognise("a", BlinkLIF(0.6))
        assert (found.spec, found.library) == (NeuronSpec.linear(decay=0.6, threshold=1.0, strict=False), "blink")
        assert libraries.packages(BlinkLIF()) == {"blink": "0.3"}
        assert "blink.network" not in sys.modules

    def test_one_that_fails_stops_only_networks_that_have_its_neuron(self, install):
        install({"tcja_deploy.neurons": {"blink.lif.BlinkLIF": "blink.none:read"}})
        from blink.lif import BlinkLIF
        from spikingjelly.clock_driven import neuron

        assert libraries.recognise("a", neuron.IFNode()).library == "spikingjelly"
        said = (
            r"^the extension blink 0\.3 \(entry point tcja_deploy\.neurons: blink\.lif\.BlinkLIF\) does not load: Mod"
        )
        with pytest.raises(Unavailable, match=said):
            libraries.recognise("a", BlinkLIF())

    def test_a_neuron_that_is_known_is_refused(self, install):
        import snntorch

        install({"tcja_deploy.neurons": {"snntorch._neurons.leaky.Leaky": "blink.constants:of_blink_lif"}})
        said = r"adds the neuron snntorch\._neurons\.leaky\.Leaky, which tcja-deploy knows itself; uninstall it"
        with pytest.raises(BadInput, match=said):
            libraries.recognise("a", snntorch.Leaky(beta=0.5))


def test_the_versions_of_the_libraries_are_those_that_are_installed():
    import snntorch
    from spikingjelly.clock_driven import neuron

    for module, library in ((snntorch.Leaky(beta=0.5), "snntorch"), (neuron.IFNode(), "spikingjelly")):
        assert libraries.packages(module) == {library: importlib.metadata.version(library)}
    assert libraries.packages(OwnLIF()) == {}
