"""snnTorch: Leaky, Lapicque and Synaptic.

Source: Eshraghian et al., "Training Spiking Neural Networks Using Lessons From Deep Learning", Proceedings of the IEEE
(2023), ``snntorch/_neurons/leaky.py``, ``lapicque.py`` and ``synaptic.py`` of snnTorch 0.9.1 to 1.0. They fire above
their threshold, not at it. Reset by subtraction subtracts the threshold at the next step, after the decay. Leaky's
reset to zero clears the membrane before the decay; that of Lapicque and Synaptic clears it after the charge of the next
step, whose current is lost. With reset_delay=False, Synaptic's reset to zero clears the membrane at once.

Synaptic has a synaptic current i beside its membrane:

    i_t = alpha i_{t-1} + x_t
    h_t = beta h_{t-1} + i_t - threshold s_{t-1}        with reset by subtraction

Before 0.9.4, a Synaptic that is given its states takes the membrane for the synaptic current (snntorch issue 358).
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

from torch import nn

from tcja_exporters.libraries import refused
from tcja_exporters.libraries.recognition import Recognised, ancestors, scalar
from tcja_exporters.modules.composed import SynapticNeuron
from tcja_exporters.modules.neurons import SteppedNeuron
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.neuron_rules import Reset

_RESETS: dict[str, Reset] = {"subtract": "late", "zero": "hard", "none": "none"}  # in the order of snnTorch's numbers


def recognise(module: nn.Module) -> Recognised | None:
    """Return the recognised neuron for a module; None if the module is not a neuron of snnTorch.

    Raises:
        ValueError: the module is a neuron of snnTorch, or derived from one, that cannot be exported.
    """
    if not type(module).__module__.startswith("snntorch._neurons"):
        if {"SpikingNeuron", "LIF"} <= ancestors(module):
            raise ValueError("its class is derived from a class of snnTorch; register it")
        return None
    leaky: Any = module
    name = type(module).__name__
    if name not in ("Leaky", "Lapicque", "Synaptic"):
        raise ValueError(refused.reason(refused.SNNTORCH, name))
    if leaky.inhibition:
        raise ValueError("with inhibition, the neurons of a layer do not fire independently")
    if leaky.state_quant:
        raise ValueError("its membrane is quantised (state_quant)")
    if scalar("graded_spikes_factor", getattr(leaky, "graded_spikes_factor", 1.0)) != 1.0:
        raise ValueError("its spikes are graded (graded_spikes_factor is not 1)")
    _check_stored_reset(leaky)
    decay, gain = _lapicque(leaky) if name == "Lapicque" else (_share(leaky.beta), 1.0)
    if leaky.reset_mechanism == "subtract" and not getattr(leaky, "reset_delay", True):
        raise ValueError(
            "with reset_delay=False, a membrane that stays above its threshold after a spike fires at twice the "
            "threshold in the next step; train it with reset_delay=True"
        )
    spec = NeuronSpec.linear(
        decay=decay,
        gain=gain,
        threshold=leaky.threshold,
        strict=True,
        reset="refractory" if name != "Leaky" and leaky.reset_mechanism == "zero" else _RESETS[leaky.reset_mechanism],
    )
    if spec.reset == "refractory" and not getattr(leaky, "reset_delay", True):
        spec = dataclasses.replace(spec, reset="hard")
    found = Recognised(spec=spec, library="snntorch", calls="step", pairs=leaky.output or not leaky.init_hidden)
    return dataclasses.replace(found, build=_synaptic(leaky)) if name == "Synaptic" else found


def _share(value: Any) -> Any:
    """Return the factor of a state in each time step, which snnTorch limits to [0, 1]."""
    return value.detach().double().clamp(0, 1)


def _synaptic(module: Any) -> Callable[[Recognised], nn.Module]:
    """Return the function that builds the replacement of a Synaptic.

    Raises:
        ValueError: its version of snnTorch confuses its states.
    """
    if not module.init_hidden and "self.syn = mem" in inspect.getsource(type(module).forward):
        raise ValueError(
            "this version of snnTorch takes the given membrane for the synaptic current (snntorch issue 358); train it "
            "with init_hidden=True, or with snnTorch 0.9.4 or later"
        )
    return functools.partial(_with_current, NeuronSpec.linear(decay=_share(module.alpha), strict=False))


def _with_current(synapse: NeuronSpec, known: Recognised) -> nn.Module:
    neuron = SteppedNeuron(known.spec, pairs=bool(known.pairs))
    return SynapticNeuron(SteppedNeuron(synapse.integrator()), neuron, states=2 if known.pairs else 0)


def _lapicque(neuron: Any) -> tuple[float, float]:
    """Return the decay and the gain of a Lapicque neuron.

        h = x R (1 / (R C)) dt + (1 - dt / (R C)) v

    Raises:
        ValueError: our neuron has no such constants.
    """
    r, c, dt = (scalar(name, getattr(neuron, name)) for name in ("R", "C", "time_step"))
    if any(math.frexp(factor)[0] != 0.5 for factor in (r, dt)):
        raise ValueError(
            f"it multiplies by R ({r:g}), 1 / (R C) and time_step ({dt:g}) one after the other, which rounds otherwise "
            "than one factor; give an R and a time_step that are powers of two, such as 1"
        )
    return 1.0 - dt / (r * c), dt / c


def _check_stored_reset(leaky: Any) -> None:
    """Compare the reset of a neuron with its buffer ``reset_mechanism_val``, which `load_state_dict` may have changed.

    snnTorch does not change the reset when it loads this number.

    Raises:
        ValueError: they differ.
    """
    stored = scalar("reset_mechanism_val", getattr(leaky, "reset_mechanism_val", -1))
    said = dict(enumerate(_RESETS)).get(int(stored), leaky.reset_mechanism)
    if said != leaky.reset_mechanism:
        raise ValueError(
            f"it is built with reset_mechanism='{leaky.reset_mechanism}', but its checkpoint says '{said}' "
            f"(reset_mechanism_val = {stored:g}); build it with reset_mechanism='{said}'"
        )


def reset(module: nn.Module) -> None:
    """Reset the membrane of a module, if it is a neuron of snnTorch."""
    leaky: Any = module
    if type(module).__module__.startswith("snntorch._neurons") and hasattr(leaky, "reset_mem"):
        leaky.reset_mem()
