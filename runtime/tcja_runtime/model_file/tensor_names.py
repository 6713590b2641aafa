"""Names of the tensors in exported models that others look for, made of names of PyTorch modules."""

from __future__ import annotations


def spikes_tensor(layer: str) -> str:
    """The tensor of an exported model that holds a spiking layer's spikes, [T, N, ...]."""
    return f"{layer}/spikes"


def current_tensor(layer: str) -> str:
    """The tensor of an exported model that holds a spiking layer's input current, [T, N, ...]."""
    return f"{layer}/current"


def membrane_tensor(layer: str) -> str:
    """The input of a streamed network's head that holds a spiking layer's membranes after the step before, [N, ...]."""
    return f"{layer}/v"


def next_membrane_tensor(layer: str) -> str:
    """The output of a head that holds a spiking layer's membranes after the step, [N, ...]."""
    return f"{layer}/v_next"


def kept_tensor(name: str) -> str:
    """An output of a head, [N, ...]: a tensor at one step, which the tail takes for all steps [N, T, ...]."""
    return f"{name}/kept"


def given_tensor(name: str) -> str:
    """The input of a part of a model through which a tensor is given."""
    return f"{name}/given"
