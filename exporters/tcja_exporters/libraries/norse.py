"""norse: LIF, LIFBoxCell, IAF and the integrator LI, and their cells.

LIF and LI have a synaptic current j beside their membrane v, with the shares r_syn = dt tau_syn_inv and
r_mem = dt tau_mem_inv that leak in each step. LI returns v_t and never fires:

    j_t = j_{t-1} - r_syn j_{t-1} + x_t
    h_t = v_{t-1} + r_mem ((v_leak - v_{t-1}) + j_t)

The membrane starts at v_leak. As a rounded difference changes its sign alone if its operands change places, h_t has the
bits of v_{t-1} + r_mem (j_t - (v_{t-1} - v_leak)), the charge of our neuron. LIFBoxCell adds v_leak to the current
before it subtracts the membrane, which rounds otherwise.

Source: Pehle and Pedersen, "Norse - A deep learning library for spiking neural networks" (2021),
``norse/torch/functional/lif.py``, ``leaky_integrator.py``, ``lif_box.py`` and ``iaf.py`` of norse 1.1. norse's neurons
fire above the threshold, not at it.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from tcja_exporters.libraries import refused
from tcja_exporters.libraries.recognition import Calls, Recognised, ancestors
from tcja_exporters.modules.composed import SynapticNeuron
from tcja_exporters.modules.neurons import Neuron, SpikingNeuron, SteppedNeuron
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.neuron_rules import Reset

_STATEFUL = {"SNN", "SNNCell", "SNNRecurrent", "SNNRecurrentCell"}


def recognise(module: nn.Module) -> Recognised | None:
    """Return the recognised neuron for a module; None if the module is not a neuron of norse.

    Raises:
        ValueError: the module is a neuron of norse that cannot be exported.
    """
    if not type(module).__module__.startswith("norse.") or not _STATEFUL & ancestors(module):
        return None
    name = type(module).__name__
    if name == "LIFBoxCell":
        return Recognised(spec=_lif_box(module), library="norse", calls="step", pairs=True)
    if name in ("IAF", "IAFCell"):
        calls: Calls = "window" if name == "IAF" else "step"
        return Recognised(spec=_integrator(module), library="norse", calls=calls, pairs=True)
    if name == "LIBoxCell":
        return Recognised(spec=_li_box(module), library="norse", calls="step", pairs=True)
    if name in ("LIF", "LIFCell", "LI", "LICell"):
        return _with_current(module)
    raise ValueError(refused.reason(refused.NORSE, name))


def _with_current(cell: Any) -> Recognised:
    """Return the recognised neuron for a LIF or LI, or one of their cells."""
    p, name = cell.p, type(cell).__name__
    spec = NeuronSpec.leaky(
        decay_input=True,
        rate=cell.dt * p.tau_mem_inv,
        threshold=getattr(p, "v_th", 1.0),
        strict=True,
        v_reset=getattr(p, "v_reset", 0.0),
        v_initial=p.v_leak,
        v_rest=p.v_leak,
    )
    return Recognised(
        spec=spec.integrator() if name.startswith("LI") and not name.startswith("LIF") else spec,
        library="norse",
        calls="step" if name.endswith("Cell") else "window",
        pairs=True,
        build=functools.partial(_built, cell.dt * p.tau_syn_inv),
    )


def _built(rate: Any, known: Recognised) -> nn.Module:
    """Return the replacement of a neuron whose synaptic current leaks with a rate."""

    def part(spec: NeuronSpec) -> Neuron:
        return SpikingNeuron(spec) if known.calls == "window" else SteppedNeuron(spec)

    synapse = NeuronSpec.leaky(decay_input=False, rate=rate).integrator()
    return SynapticNeuron(part(synapse), part(known.spec), states=1)


def _li_box(cell: Any) -> NeuronSpec:
    """Return the constants of a LIBoxCell."""
    rate, leak = cell.dt * cell.p.tau_mem_inv, cell.p.v_leak
    return NeuronSpec.leaky(decay_input=True, rate=rate, v_initial=leak, v_rest=leak).integrator()


def _lif_box(cell: Any) -> NeuronSpec:
    """Return the constants of a LIFBoxCell.

    Raises:
        ValueError: our neuron has no such constants.
    """
    p = cell.p
    if (torch.as_tensor(p.v_leak) != 0).any():
        raise ValueError(
            "its v_leak is not 0, and norse adds it to the current before it subtracts the membrane, which rounds "
            "otherwise than our charge; train it with v_leak = 0"
        )
    resets: dict[str, Reset] = {"reset_value": "hard", "reset_subtract": "soft"}
    reset = resets.get(getattr(p.reset_method, "__name__", ""))
    if reset is None:
        raise ValueError("its reset_method is unknown")
    return NeuronSpec.leaky(
        decay_input=True,
        rate=cell.dt * p.tau_mem_inv,
        threshold=p.v_th,
        strict=True,
        reset=reset,
        v_reset=p.v_reset if reset == "hard" else 0.0,
        v_initial=0.0,
        v_rest=0.0,
    )


def _integrator(cell: Any) -> NeuronSpec:
    """Return the constants of an IAF or IAFCell."""
    return NeuronSpec.linear(decay=1.0, threshold=cell.p.v_th, strict=True, v_reset=cell.p.v_reset)


def reset(_module: nn.Module) -> None:
    """Do nothing: norse keeps no state in its modules."""
