r"""What the neurons of a NIR graph compute at each time step, by the training code that wrote the file.

NIR's neurons are differential equations. A file does not say which time step and which rule make them a program, nor
who wrote it. So each dialect restores the neuron of one training code from what this code's exporter writes.

Source: Pedersen et al., "Neuromorphic intermediate representation", Nature Communications 15 (2024), 8122; the
exporters of snnTorch 1.0 (``export_nir.py``), norse 1.1 (``torch/utils/export_nir.py``), SpikingJelly 2.0
(``activation_based/nir_exchange/to_nir.py``) and sinabs 3.1 (``nir.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch

from tcja_exporters.nir_graphs.constants import Array, Constants, restored
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.neuron_rules import Reset

Stages: TypeAlias = tuple[NeuronSpec, ...]
"""The neurons that a node becomes: one, or a synaptic current, which is an integrator, and the neuron that takes it."""


@dataclasses.dataclass(frozen=True)
class Dialect:
    r"""NIR's own equations, by the forward Euler method. The other dialects are derived from this class.

    With the time step dt, a current I_t and input spikes S_t:

        LIF      h_t = (1 - dt/tau) v_{t-1} + (dt/tau) r I_t + (dt/tau) v_leak
        IF       h_t = v_{t-1} + dt r I_t
        CubaLIF  i_t = (1 - dt/tau_syn) i_{t-1} + (dt/tau_syn) w_in S_t, then LIF with the current i_t

    They fire if h_t > v_threshold, and a spike sets the membrane to v_reset. LI, I and CubaLI are the same without
    spikes: they return h_t. Threshold fires if its input is greater than the threshold. A membrane that leaks starts at
    v_leak, where it rests; that of IF starts at v_reset, and all else at 0.

    Attributes:
        dt: the time step in seconds.
        reset: the effect of a spike, a key of `RESETS`.
    """

    dt: float
    reset: str

    NAME: ClassVar[str] = "nir"
    RULE: ClassVar[str] = "NIR's equations by the forward Euler method"
    DT: ClassVar[float | None] = 1e-4
    """The time step in seconds, if the user says none; None if the code writes times in time steps."""
    SEEN: ClassVar[str] = ""
    """How the constants of a file show the time step; empty if they do not."""
    RESETS: ClassVar[Mapping[str, Reset]] = {"v_reset": "hard"}
    """What a spike may do, in the words of the code. The first is its default; the file does not say which it is."""
    ASSUMED: ClassVar[str] = ""
    """What else is assumed, and what the code's default is, if it is another; empty for nothing."""

    def stages(self, of: Constants) -> Stages:
        """Return the neurons that a node becomes.

        Raises:
            ValueError: the code does not write such a node, or no neuron has these constants.
        """
        rules = self._rules()
        if of.node.kind not in rules:
            raise ValueError(f"{self.RULE} are written as {', '.join(rules)}; give the dialect that wrote the file")
        return rules[of.node.kind](of)

    def _rules(self) -> Mapping[str, Callable[[Constants], Stages]]:
        """Return the functions that make the neurons of a node, by its type."""
        return {
            "LIF": lambda of: (self._membrane(of, "tau", fires=True),),
            "LI": lambda of: (self._membrane(of, "tau", fires=False),),
            "IF": lambda of: (_linear(of, {"decay": 1.0, "gain": self.dt * of["r"]}),),
            "I": lambda of: (current({"decay": 1.0, "gain": self.dt * of["r"]}),),
            "CubaLIF": lambda of: (self._synapse(of), self._membrane(of, "tau_mem", fires=True)),
            "CubaLI": lambda of: (self._synapse(of), self._membrane(of, "tau_mem", fires=False)),
            "Threshold": _threshold,
        }

    def _synapse(self, of: Constants) -> NeuronSpec:
        share = self._share(of, "tau_syn")
        return current({"decay": 1.0 - share, "gain": share * of["w_in"]})

    def _membrane(self, of: Constants, tau: str, *, fires: bool) -> NeuronSpec:
        share = self._share(of, tau)
        charge = {"decay": 1.0 - share, "gain": share * of["r"], "bias": share * of["v_leak"]}
        charge["v_initial"] = of["v_leak"]
        return _linear(of, charge) if fires else current(charge)

    def _share(self, of: Constants, tau: str) -> Array:
        """Return dt / tau, the share of the state that leaks in each time step.

        Raises:
            ValueError: the share is greater than 1, so that the forward Euler method is not stable.
        """
        share = np.asarray(self.dt / of.positive(tau).astype(np.float64))
        if (share > 1.0).any():
            raise ValueError(
                f"its {tau}, {of[tau].min():g} s, is shorter than a time step of {self.dt:g} s; give the `settings` "
                "dt that fits, or the dialect that wrote the file"
            )
        return share


@dataclasses.dataclass(frozen=True)
class SnnTorch(Dialect):
    """snnTorch's Leaky and Synaptic.

        Leaky     h_t = beta v_{t-1} + x_t
        Synaptic  i_t = alpha i_{t-1} + x_t, then h_t = beta v_{t-1} + i_t

    It writes tau = dt / (1 - beta), r = tau / dt, tau_syn = dt / (1 - alpha), w_in = tau_syn / dt and v_reset = 0,
    with dt = 0.0001 s, whatever the reset is.
    """

    NAME: ClassVar[str] = "snntorch"
    RULE: ClassVar[str] = "snnTorch's Leaky and Synaptic"
    SEEN: ClassVar[str] = "as r = tau / dt shows"
    RESETS: ClassVar[Mapping[str, Reset]] = {"subtract": "late", "zero": "hard", "none": "none"}

    def _rules(self) -> Mapping[str, Callable[[Constants], Stages]]:
        return {"LIF": lambda of: (self._leaky(of, "tau"),), "CubaLIF": self._synaptic}

    def _synaptic(self, of: Constants) -> Stages:
        tau = of.positive("tau_syn")
        of.expect("w_in", tau / self.dt, f"snnTorch writes tau_syn / dt with dt = {self.dt:g} s")
        neuron = self._leaky(of, "tau_mem")
        if neuron.reset == "hard":  # Synaptic clears its membrane after the charge of the next step
            neuron = dataclasses.replace(neuron, reset="refractory")
        return (current({"decay": self._decay(tau)}), neuron)

    def _leaky(self, of: Constants, name: str) -> NeuronSpec:
        tau = of.positive(name)
        of.expect("r", tau / self.dt, f"snnTorch writes {name} / dt with dt = {self.dt:g} s")
        of.expect("v_leak", 0.0, "snnTorch writes 0")
        of.expect("v_reset", 0.0, "snnTorch writes 0")
        return NeuronSpec.linear(
            decay=number(self._decay(tau)),
            threshold=number(of["v_threshold"]),
            strict=True,
            reset=self.RESETS[self.reset],
        )

    def _decay(self, tau: Array) -> Array:
        """Return beta, from tau = dt / (1 - beta)."""
        kind = tau.dtype.type
        return restored(tau, lambda tau: 1.0 - self.dt / tau, lambda beta: kind(self.dt) / (kind(1.0) - beta))


@dataclasses.dataclass(frozen=True)
class Norse(Dialect):
    """norse's LIFBoxCell, LIBoxCell, IAFCell and LIFCell.

        LIFBoxCell  h_t = v_{t-1} + rate (x_t - v_{t-1})              rate = dt tau_mem_inv
        LIBoxCell   h_t = v_{t-1} + rate (x_t - (v_{t-1} - v_leak)); it never fires, and returns h_t
        IAFCell     h_t = v_{t-1} + x_t
        LIFCell     i_t = (1 - rate_syn) i_{t-1} + x_t, then fires with the charge of LIBoxCell and the current i_t

    It writes tau = dt / tau_mem_inv and tau_syn = dt / tau_syn_inv, which are not times but times multiplied by dt. It
    writes no v_reset.
    """

    NAME: ClassVar[str] = "norse"
    RULE: ClassVar[str] = "norse's LIFBoxCell, LIBoxCell, IAFCell and LIFCell"
    DT: ClassVar[float] = 1e-3
    RESETS: ClassVar[Mapping[str, Reset]] = {"reset_value": "hard", "reset_subtract": "soft"}

    def _rules(self) -> Mapping[str, Callable[[Constants], Stages]]:
        return {
            "LIF": lambda of: (self._box(of),),
            "LI": lambda of: (NeuronSpec.leaky(**self._charge(of, "tau"), reset="none").integrator(),),
            "IF": self._integrator,
            "CubaLIF": self._with_current,
        }

    def _integrator(self, of: Constants) -> Stages:
        of.expect("r", 1.0, "norse writes 1")
        return (_linear(of, {"decay": 1.0}),)

    def _with_current(self, of: Constants) -> Stages:
        of.expect("w_in", 1.0, "norse writes 1")
        synapse = NeuronSpec.leaky(decay_input=False, rate=number(self._rate(of, "tau_syn")), reset="none")
        return (synapse.integrator(), self._spiking(of, self._charge(of, "tau_mem"), "hard"))

    def _box(self, of: Constants) -> NeuronSpec:
        of.expect("v_leak", 0.0, "with another one, norse's LIFBoxCell rounds in an order that is not supported")
        return self._spiking(of, self._charge(of, "tau"), self.RESETS[self.reset])

    def _spiking(self, of: Constants, charge: Mapping[str, Any], reset: Reset) -> NeuronSpec:
        of.expect("v_reset", 0.0, "norse writes 0")
        return NeuronSpec.leaky(**charge, threshold=number(of["v_threshold"]), strict=True, reset=reset)

    def _charge(self, of: Constants, tau: str) -> dict[str, Any]:
        of.expect("r", 1.0, "norse writes 1")
        rest = number(of["v_leak"])
        return {"decay_input": True, "rate": number(self._rate(of, tau)), "v_initial": rest, "v_rest": rest}

    def _rate(self, of: Constants, name: str) -> Array:
        """Return dt tau_inv, from tau = dt / tau_inv, as torch computes both."""
        tau = of.positive(name)
        if (tau >= self.dt).any():
            raise ValueError(
                f"its {name} is {tau.max():g}, and norse 1.1 writes dt divided by an inverse time, which is below dt = "
                f"{self.dt:g} s; a file with times in seconds is of the dialect nir"
            )
        inverse = restored(tau, lambda tau: self.dt / tau, lambda inv: (self.dt / torch.from_numpy(inv)).numpy())
        rate = (self.dt * torch.from_numpy(inverse.astype(tau.dtype))).numpy()
        if (rate > 1.0).any():
            raise ValueError(f"its {name} is {tau.min():g}, so more than all of it leaks in a step of {self.dt:g} s")
        return np.asarray(rate, np.float64)


@dataclasses.dataclass(frozen=True)
class SpikingJelly(Dialect):
    """SpikingJelly's IFNode, LIFNode and CUBALIFNode, which fire at the threshold, too.

        IFNode       h_t = v_{t-1} + x_t
        LIFNode      h_t = v_{t-1} + (x_t - (v_{t-1} - v_reset)) / tau, or v_{t-1} - (v_{t-1} - v_reset) / tau + x_t
        CUBALIFNode  i_t = c_decay i_{t-1} + x_t, then h_t = v_decay v_{t-1} + i_t

    It writes r = 1 / dt for IFNode; tau dt, v_leak = v_reset, and r = 1 or r = tau (with decay_input=False) for
    LIFNode; tau_syn = dt / (1 - c_decay), tau_mem = dt / (1 - v_decay), r = tau_mem / dt and w_in = tau_syn / dt for
    CUBALIFNode. It refuses a soft reset. ParametricLIFNode becomes an LIF, too, and differs in the last bits.
    """

    NAME: ClassVar[str] = "spikingjelly"
    RULE: ClassVar[str] = "SpikingJelly's IFNode, LIFNode and CUBALIFNode"

    def _rules(self) -> Mapping[str, Callable[[Constants], Stages]]:
        return {"IF": self._if_node, "LIF": self._lif_node, "CubaLIF": self._cuba_node}

    def _if_node(self, of: Constants) -> Stages:
        of.expect("r", 1.0 / self.dt, f"SpikingJelly writes 1 / dt with dt = {self.dt:g} s")
        return (_linear(of, {"decay": 1.0}, strict=False),)

    def _lif_node(self, of: Constants) -> Stages:
        stored = of.positive("tau")
        tau = restored(stored, lambda stored: stored / self.dt, lambda tau: tau * self.dt)
        decay_input = bool(np.allclose(of["r"], 1.0))
        if not decay_input:
            of.expect("r", tau, f"SpikingJelly writes 1 or tau / dt with dt = {self.dt:g} s")
        of.expect("v_leak", of["v_reset"], "SpikingJelly writes its v_reset")
        spec = NeuronSpec.leaky(
            decay_input=decay_input,
            tau=number(tau),
            threshold=number(of["v_threshold"]),
            v_reset=number(of["v_reset"]),
        )
        return (spec,)

    def _cuba_node(self, of: Constants) -> Stages:
        syn, mem = of.positive("tau_syn"), of.positive("tau_mem")
        of.expect("w_in", syn / self.dt, f"SpikingJelly writes tau_syn / dt with dt = {self.dt:g} s")
        of.expect("r", mem / self.dt, f"SpikingJelly writes tau_mem / dt with dt = {self.dt:g} s")
        of.expect("v_leak", 0.0, "SpikingJelly writes 0")
        return (current({"decay": self._decay(syn)}), _linear(of, {"decay": self._decay(mem)}, strict=False))

    def _decay(self, tau: Array) -> Array:
        """Return the decay d, from tau = dt / (1 - d)."""
        return restored(tau, lambda tau: 1.0 - self.dt / tau, lambda decay: self.dt / (1.0 - decay))


@dataclasses.dataclass(frozen=True)
class Sinabs(Dialect):
    """sinabs's LIF, IAF and ExpLeak, which fire at the threshold, too.

        LIF      h_t = alpha v_{t-1} + (1 - alpha) x_t          alpha = exp(-1 / tau_mem)
        IAF      h_t = v_{t-1} + x_t
        ExpLeak  h_t = alpha v_{t-1} + x_t; it never fires, and returns h_t

    It writes tau_mem in time steps, r = 1 and v_leak = 0. It does not write spike_fn, reset_fn, norm_input, min_v_mem
    and tau_syn.
    """

    NAME: ClassVar[str] = "sinabs"
    RULE: ClassVar[str] = "sinabs's LIF, IAF and ExpLeak"
    DT: ClassVar[float | None] = None
    RESETS: ClassVar[Mapping[str, Reset]] = {"MembraneSubtract": "soft", "MembraneReset": "hard"}
    ASSUMED: ClassVar[str] = (
        "a neuron fires at most one spike in a time step (spike_fn=SingleSpike; sinabs's default is MultiSpike), "
        "norm_input is True of LIF and False of ExpLeak, and there are no min_v_mem and tau_syn"
    )

    def _rules(self) -> Mapping[str, Callable[[Constants], Stages]]:
        return {
            "LIF": lambda of: (self._spiking(of, {"decay": self._alpha(of), "gain": 1 - self._alpha(of)}),),
            "IF": lambda of: (self._spiking(of, {"decay": 1.0}),),
            "LI": lambda of: (current({"decay": self._alpha(of)}),),
        }

    def _spiking(self, of: Constants, charge: Mapping[str, Any]) -> NeuronSpec:
        of.expect("r", 1.0, "sinabs writes 1")
        of.expect("v_reset", 0.0, "sinabs writes 0")
        numbers = {name: number(value) for name, value in charge.items()}
        reset, threshold = self.RESETS[self.reset], number(of["v_threshold"])
        return NeuronSpec.linear(**numbers, threshold=threshold, strict=False, reset=reset)

    def _alpha(self, of: Constants) -> torch.Tensor:
        of.expect("r", 1.0, "sinabs writes 1")
        of.expect("v_leak", 0.0, "sinabs writes 0")
        return torch.exp(-1.0 / torch.from_numpy(np.array(of.positive("tau"))))  # in the file's type, as sinabs does


DIALECTS: Mapping[str, type[Dialect]] = {kind.NAME: kind for kind in (Dialect, SnnTorch, Norse, SpikingJelly, Sinabs)}
"""The dialects by name. The first is for files of unknown origin."""


def number(value: Any) -> Any:
    """Return a constant as `NeuronSpec` takes it."""
    values = np.asarray(value.numpy() if isinstance(value, torch.Tensor) else value, np.float64)
    return float(values) if values.ndim == 0 else values


def current(charge: Mapping[str, Any]) -> NeuronSpec:
    """Return an integrator, whose result is h_t = decay h_{t-1} + gain x_t + bias: a synaptic current, or a membrane.

    Args:
        charge: the decay; and the gain, the bias and v_initial, if they are not 1, 0 and 0.
    """
    numbers = {name: number(value) for name, value in charge.items()}
    return NeuronSpec.linear(**numbers, strict=False, reset="none").integrator()


def _linear(of: Constants, charge: Mapping[str, Any], *, strict: bool = True) -> NeuronSpec:
    """Return a neuron with the threshold and the hard reset of a node, and with a linear charge (`current`)."""
    numbers = {name: number(value) for name, value in charge.items()}
    threshold, v_reset = number(of["v_threshold"]), number(of["v_reset"])
    return NeuronSpec.linear(**numbers, threshold=threshold, strict=strict, v_reset=v_reset)


def _threshold(of: Constants) -> Stages:
    return (NeuronSpec.linear(decay=0.0, threshold=number(of["threshold"]), strict=True, reset="none"),)
