"""SpikingJelly's neurons with a linear charge, its parallel and integer neurons, and its integrators.

The integrators are NonSpikingIFNode and NonSpikingLIFNode. CUBALIFNode has a synaptic current c beside its membrane:

    c_t = c_decay c_{t-1} + x_t
    h_t = v_decay v_{t-1} + c_t

A neuron with an infinite threshold never fires; networks read its attribute `v`, the membrane after the last step.

Versions: ``clock_driven`` of 0.0.0.0.4 to 0.0.0.0.14; ``activation_based`` of 0.0.0.0.14 and 2.0.

Source: Fang et al., SpikingJelly, Science Advances 9 (2023), ``clock_driven/neuron.py``, ``activation_based/neuron``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import torch
from torch import nn

from tcja_exporters.libraries import refused
from tcja_exporters.libraries.backends import OTHERS
from tcja_exporters.libraries.recognition import Recognised, ancestors, scalar
from tcja_exporters.modules.composed import DecodedIntegrator, SilentNeuron, SynapticNeuron, can_decode
from tcja_exporters.modules.integer import IntegerSpec
from tcja_exporters.modules.neurons import Neuron, ParallelNeuron, SpikingNeuron, SteppedNeuron
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.neuron_rules import Reset

_SIMPLE = ("SimpleIFNode", "SimpleLIFNode")
_HALF, _CURRENT = "HalfThresholdIFNode", "CUBALIFNode"
_LIF = ("LIFNode", "ParametricLIFNode", "KLIFNode", "OTTTLIFNode", "SLTTLIFNode")
_NEURONS = ("IFNode", *_LIF, *_SIMPLE, _HALF, _CURRENT)
_PARALLEL = ("PSN", "MaskedPSN", "SlidingPSN")
_INTEGRATORS = ("NonSpikingIFNode", "NonSpikingLIFNode")
_STATELESS_IN_EVAL = {"Dropout", "Dropout2d", "MultiStepDropout", "MultiStepDropout2d"}


def recognise(module: nn.Module) -> Recognised | None:
    """Return the recognised neuron for a module; None if the module is not a neuron of SpikingJelly.

    Raises:
        ValueError: the module is a neuron or another module with a state, and cannot be exported.
    """
    kind = type(module)
    if not kind.__module__.startswith("spikingjelly."):
        if "MemoryModule" in ancestors(module) and getattr(module, "_memories", None):
            raise ValueError("its class is derived from a class of SpikingJelly; register it")
        return None
    name = kind.__name__.removeprefix("MultiStep")
    if name in _INTEGRATORS:
        return _decoded(name, module)
    if name not in (*_NEURONS, *_PARALLEL, "ILIFNode"):
        stateful = getattr(module, "_memories", None) or "BaseNode" in ancestors(module)
        if (stateful or name in refused.SPIKINGJELLY) and kind.__name__ not in _STATELESS_IN_EVAL:
            raise ValueError(refused.reason(refused.SPIKINGJELLY, name))
        return None
    if not getattr(module.surrogate_function, "spiking", True):
        raise ValueError("its surrogate function is set not to spike")
    if name == "ILIFNode":
        return _integer(module)
    if name in _PARALLEL:
        return _parallel(name, module)
    window = kind.__name__.startswith("MultiStep") or getattr(module, "step_mode", "s") == "m"
    found = Recognised(spec=_spec(name, module), library="spikingjelly", calls="window" if window else "step")
    if name == _CURRENT:
        return dataclasses.replace(found, build=functools.partial(_with_current, scalar("c_decay", module.c_decay)))
    return dataclasses.replace(found, build=_silent) if found.spec.integrates else found


def _decoded(name: str, module: Any) -> Recognised:
    """Return the recognised integrator for a NonSpikingIFNode or NonSpikingLIFNode.

    Raises:
        ValueError: its decoding is unknown.
    """
    if not can_decode(module.decode):
        raise ValueError(f"its decoding '{module.decode}' cannot be exported; decode its membranes in the network")
    lif = name == "NonSpikingLIFNode"
    spec = (
        NeuronSpec.leaky(decay_input=True, tau=scalar("tau", module.tau))
        if lif
        else NeuronSpec.linear(decay=1.0, strict=False)
    )
    build = functools.partial(_decoding, module.decode)
    return Recognised(spec=spec.integrator(), library="spikingjelly", calls="window", build=build)


def _decoding(decode: str | None, known: Recognised) -> nn.Module:
    return DecodedIntegrator(SpikingNeuron(known.spec), decode)


def _part(spec: NeuronSpec, known: Recognised) -> Neuron:
    return SpikingNeuron(spec) if known.calls == "window" else SteppedNeuron(spec)


def _silent(known: Recognised) -> nn.Module:
    return SilentNeuron(_part(known.spec, known), window=known.calls == "window")


def _with_current(decay: float, known: Recognised) -> nn.Module:
    """Return the replacement of a neuron whose synaptic current decays by a factor."""
    synapse = NeuronSpec.linear(decay=decay, strict=False).integrator()
    return SynapticNeuron(_part(synapse, known), _part(known.spec, known))


def _integer(ilif: Any) -> Recognised:
    """Return the recognised neuron for an ILIFNode, for windows of one time step: there its membrane is the current.

    Raises:
        ValueError: the threshold is not a power of two.
    """
    threshold = scalar("v_threshold", ilif.v_threshold)
    if math.frexp(threshold)[0] != 0.5:
        raise ValueError(f"it divides by v_threshold ({threshold:g}), which must be a power of two, such as 1")
    spec = IntegerSpec(most=int(ilif.surrogate_function.max_spike_count), gain=1.0 / threshold)
    return Recognised.integer(spec, "spikingjelly", "window" if ilif.step_mode == "m" else "step", once=True)


def _parallel(name: str, psn: Any) -> Recognised:
    """Return the recognised neuron for a PSN, MaskedPSN or SlidingPSN.

    The sums of a SlidingPSN with the backend "conv" have another order; the rounding bound is that of every order.

    Raises:
        ValueError: the module runs step by step, or its mask is not the final one.
    """
    if getattr(psn, "step_mode", "m") == "s":
        raise ValueError(
            "in step mode 's' it keeps earlier currents in a queue; call functional.set_step_mode(network, 'm')"
        )
    if name == "MaskedPSN" and scalar("lambda_", psn.lambda_) < 1.0:
        raise ValueError(
            f"its mask is not final (lambda_ is {scalar('lambda_', psn.lambda_):g}); train it to lambda_ = 1"
        )
    weight = psn.weight * psn.mask0 if name == "MaskedPSN" else psn.weight
    spec = NeuronSpec.linear(decay=0.0, threshold=0.0, strict=False, reset="none")
    return Recognised(
        spec=spec,
        library="spikingjelly",
        calls="window",
        build=lambda known: ParallelNeuron(known.spec, weight, psn.bias),
    )


def _spec(name: str, module: Any) -> NeuronSpec:
    """Return the constants of a neuron; `name` is the name of its class without the prefix "MultiStep"."""
    if module.v_threshold != math.inf:
        return _with_threshold(module.v_threshold, name, module)
    if module.v_reset is None:
        raise ValueError("its reset subtracts an infinite threshold, which is no number; give it a v_reset")
    return _with_threshold(1.0, name, module).integrator()


def _with_threshold(threshold: Any, name: str, module: Any) -> NeuronSpec:
    """Return the constants of a neuron with a finite threshold, as `_spec` does."""
    reset: Reset = "soft" if module.v_reset is None else "hard"
    v_reset = 0.0 if module.v_reset is None else scalar("v_reset", module.v_reset)
    if scalar("v_rest", getattr(module, "v_rest", v_reset)) != v_reset:
        raise ValueError(f"its v_rest ({module.v_rest}) is not its v_reset ({v_reset})")
    if name in _SIMPLE:
        return _simple(name, module)
    if name == _HALF:  # its membrane starts at half the threshold
        half = scalar("v_threshold", threshold) / 2.0
        return NeuronSpec.linear(decay=1.0, threshold=threshold, strict=False, reset=reset, v_initial=half)
    if name in ("IFNode", _CURRENT):
        decay = 1.0 if name == "IFNode" else scalar("v_decay", module.v_decay)
        return NeuronSpec.linear(decay=decay, threshold=threshold, strict=False, reset=reset, v_reset=v_reset)
    # The published LIF divides by tau, PLIF multiplies by sigmoid(w).
    tau = None if name == "ParametricLIFNode" else scalar("tau", module.tau)
    rate = None if tau is not None else scalar("w", torch.sigmoid(module.w.detach().double()))
    decay_input = getattr(module, "decay_input", True)
    if name == "KLIFNode":
        klif = NeuronSpec.leaky(decay_input=decay_input, tau=tau, threshold=threshold, reset=reset, v_reset=v_reset)
        return dataclasses.replace(klif, slope=scalar("k", module.k), rescales=bool(module.scale_reset))
    if decay_input or v_reset or (tau is not None and _leaks(module)):
        return NeuronSpec.leaky(
            decay_input=decay_input, tau=tau, rate=rate, threshold=threshold, reset=reset, v_reset=v_reset
        )
    decay = 1.0 - 1.0 / tau if tau is not None else 1.0 - (rate or 0.0)
    return NeuronSpec.linear(decay=decay, threshold=threshold, strict=False, reset=reset)


def _simple(name: str, module: Any) -> NeuronSpec:
    """Return the constants of a SimpleIFNode or SimpleLIFNode of 2.0, whose membranes start at 0, not at v_reset.

    SimpleLIFNode   h = v + (v_reset - v + x) / tau,  or  v + (v_reset - v) / tau + x
    """
    threshold, v_reset = module.v_threshold, module.v_reset
    if name == "SimpleLIFNode":
        return NeuronSpec.leaky(
            decay_input=module.decay_input, tau=module.tau, threshold=threshold, v_reset=v_reset, v_initial=0.0
        )
    reset: Reset = "soft" if v_reset is None else "hard"
    return NeuronSpec.linear(
        decay=1.0, threshold=threshold, strict=False, reset=reset, v_reset=v_reset or 0.0, v_initial=0.0
    )


def _leaks(lif: Any) -> bool:
    """Whether a LIFNode with ``decay_input=False`` computes v - v / tau + x in eval, not v * (1 - 1 / tau) + x.

    All LIFNodes of 2.0 do; in earlier versions of activation_based, only those with a hard reset do.
    """
    home = type(lif).__module__
    return home.startswith("spikingjelly.activation_based.neuron.") or (
        home == "spikingjelly.activation_based.neuron" and lif.v_reset is not None
    )


def reset(module: nn.Module) -> None:
    """Reset the membrane of a module of SpikingJelly, and switch its backend to torch."""
    if "MemoryModule" in ancestors(module) or type(module).__module__.startswith("spikingjelly."):
        node: Any = module
        if hasattr(node, "reset"):
            node.reset()
        if getattr(node, "backend", "torch") in OTHERS:
            node.backend = "torch"


def made_for(model: nn.Module) -> dict[str, int]:
    """Return the number of time steps T that modules of SpikingJelly are made for (PSN, MaskedPSN), by their name."""
    return {
        name: int(module.T)
        for name, module in model.named_modules()
        if type(module).__name__ in _PARALLEL and hasattr(module, "T")
    }


def in_step_mode(model: nn.Module, mode: str) -> list[str]:
    """Return the names of the modules of SpikingJelly that are in step mode "s" (one step a call) or "m" (windows)."""
    return [
        name
        for name, module in model.named_modules()
        if type(module).__module__.startswith("spikingjelly.") and getattr(module, "step_mode", None) == mode
    ]
