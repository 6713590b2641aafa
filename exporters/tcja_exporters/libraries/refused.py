"""Why neurons of other libraries are refused, by the name of their class, in words that follow "cannot be exported:".

The neurons of this tool have one state and a linear charge (`tcja_runtime.neuron`), fire 0 or 1, and get no spikes of
their own layer. docs/reference/neurons.md lists all classes of the three libraries.
"""

from __future__ import annotations

_BASE = "it is a base class without equations"
_QUADRATIC = "its membrane follows a quadratic equation, and the charge of our neurons is linear"
_EXPONENTIAL = "its membrane follows an exponential equation, and the charge of our neurons is linear"
_IZHIKEVICH = "its membrane follows a quadratic equation, with a second state that adapts to its spikes"
_RECURRENT = "its spikes are fed back to its own layer at the next step"
_REFRACTORY = "it counts a refractory period after each spike, a state that our neurons do not have"
_ADAPTING = "its threshold adapts to its spikes, a state that our neurons do not have"
_ADEX = "its membrane follows an exponential equation, with a second state that adapts to its spikes"
_GATES = "it is a recurrent cell with gates, whose output is fed back to its own layer at the next step"
_RANDOM = "it adds random noise to its membrane in each step"
_TERNARY = "its spikes are -1, 0 and 1"

SPIKINGJELLY = {
    **dict.fromkeys(("BaseNode", "SimpleBaseNode", "AdaptBaseNode", "AdaptiveBaseNode", "MPBNBaseNode"), _BASE),
    "QIFNode": _QUADRATIC,
    "EIFNode": _EXPONENTIAL,
    "IzhikevichNode": _IZHIKEVICH,
    "RAFNode": "it is a resonator: its membrane and a second state drive each other",
    "LIAFNode": "it returns a function of its membrane, not spikes",
    "GeneralNode": "its charge is two learned functions of the membrane and the current",
    "GatedLIFNode": "its constants differ from step to step, and its reset depends on the membrane of the step before",
    "ComplementaryLIFNode": "it has a second state, which makes its reset stronger",
    "MPBNLIFNode": "a batch norm changes its membrane in each step",
    "ActivationAwareIFNode": "it fires at v_threshold - v_offset, and a spike subtracts v_threshold",
    "TernaryIFNode": _TERNARY,
    "TernaryLIFNode": _TERNARY,
    "STBIFNode": f"{_TERNARY}, and it keeps the sum of its spikes",
    **dict.fromkeys(
        ("DSRIFNode", "DSRLIFNode"), "its spikes have the size of its threshold, and it fires at a share of it"
    ),
    "FlexSN": "its equations are a function of yours; register a class with these equations",
    **dict.fromkeys(("NoisyCUBALIFNode", "NoisyILCCUBALIFNode", "NoisyNonSpikingIFNode"), _RANDOM),
    **dict.fromkeys(("NoisyBaseNode", "NoisyILCBaseNode", "NoisyNonSpikingBaseNode", "ILCBaseNode"), _BASE),
    "NonSpikingBaseNode": _BASE,
    "ElementWiseRecurrentContainer": _RECURRENT,
    "LinearRecurrentContainer": _RECURRENT,
    "SynapseFilter": "it is a synapse with a current of its own, and no neuron",
    "NeuNorm": "it keeps a mean of the spikes from step to step, and is no neuron",
    **dict.fromkeys(
        (f"BatchNormThroughTime{n}d" for n in (1, 2, 3)), "it counts the steps in a state of its own, and is no neuron"
    ),
    "Delay": "it keeps its inputs for later steps, and is no neuron",
}
SNNTORCH = {
    **dict.fromkeys(("SpikingNeuron", "LIF"), _BASE),
    "Alpha": "its reset changes its two synaptic currents, not a membrane",
    "RLeaky": _RECURRENT,
    "RSynaptic": _RECURRENT,
    "SLSTM": _GATES,
    "SConv2dLSTM": _GATES,
    "DeltaLeaky": "it fires when its membrane changes, not at a threshold of the membrane",
    "StateLeaky": "its membrane is a convolution over time with a kernel for each channel",
    "LinearLeaky": "its membrane is a linear layer and a convolution over time with a kernel for each channel",
    "LeakyParallel": "its membrane is a torch.nn.RNN, with weights of its own and a ReLU in each step",
    "AssociativeLeaky": "it is an associative memory of keys and values, with weights of its own",
}
NORSE = {
    **dict.fromkeys(("SNN", "SNNCell", "SNNRecurrent", "SNNRecurrentCell"), _BASE),
    "LIFEx": _EXPONENTIAL,
    "LIFAdEx": _ADEX,
    "LIFAdExRefrac": _ADEX,
    "LIFRefrac": _REFRACTORY,
    "LSNN": _ADAPTING,
    "Izhikevich": _IZHIKEVICH,
    "LIFMC": "it has several compartments, which drive each other",
    "LIFMCRefrac": "it has several compartments, which drive each other",
}


def reason(reasons: dict[str, str], name: str) -> str:
    """Return why a neuron is refused.

    Args:
        reasons: one of the tables of this module.
        name: the name of the neuron's class. norse's cells and recurrent layers have the reason of their layer.
    """
    family = name.removesuffix("Cell")
    if name not in reasons and family.endswith("Recurrent"):
        return _RECURRENT
    return reasons.get(name) or reasons.get(family) or f"{name} is not known to this tool; register it if it is linear"
