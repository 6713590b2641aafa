"""The names of tensors in exported models that other modules look for. A layer is named by its PyTorch module."""

from __future__ import annotations


def spikes_tensor(layer: str) -> str:
    """The tensor with the spikes of a spiking layer, [T, N, ...]."""
    return f"{layer}/spikes"


def current_tensor(layer: str) -> str:
    """The tensor with the input current of a spiking layer, [T, N, ...]."""
    return f"{layer}/current"


def membrane_tensor(layer: str) -> str:
    """The input of a stepwise head with the membranes of a spiking layer after the step before, [N, ...]."""
    return f"{layer}/v"


def next_membrane_tensor(layer: str) -> str:
    """The output of a stepwise head with the membranes of a spiking layer after the step, [N, ...]."""
    return f"{layer}/v_next"


def kept_tensor(name: str) -> str:
    """The output of a stepwise head, [N, ...], whose values of all steps the tail takes, [N, T, ...]."""
    return f"{name}/kept"


def given_tensor(name: str) -> str:
    """The input of a part of a model in place of a tensor that the part does not compute."""
    return f"{name}/given"
