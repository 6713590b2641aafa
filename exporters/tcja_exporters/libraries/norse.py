"""norse: LIFBoxCell, IAFCell and IAF.

norse's LIF is refused: it has two states, the membrane and a synaptic current; our neuron has the membrane only.

Source: Pehle and Pedersen, "Norse - A deep learning library for spiking neural networks" (2021),
``norse/torch/functional/lif_box.py`` and ``iaf.py`` of norse 1.1. norse's neurons fire above the threshold, not at it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tcja_exporters.libraries import refused
from tcja_exporters.libraries.recognition import Recognised, ancestors
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
        calls: Any = "window" if name == "IAF" else "step"
        return Recognised(spec=_integrator(module), library="norse", calls=calls, pairs=True)
    if name in ("LIF", "LIFCell"):
        raise ValueError("it has a synaptic current beside its membrane; LIFBoxCell and IAF of norse have none")
    raise ValueError(refused.reason(refused.NORSE, name))


def _lif_box(cell: Any) -> NeuronSpec:
    """Return the constants of a LIFBoxCell.

    Raises:
        ValueError: our neuron has no such constants.
    """
    p = cell.p
    if (torch.as_tensor(p.v_leak) != 0).any():
        raise ValueError("its v_leak is not 0, and norse adds it to the current; train it with v_leak = 0")
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
