"""The names of tensors in exported models that other modules need. A layer has the name of its PyTorch module."""

from __future__ import annotations

SPIKE_COUNTS = "spike_counts"
"""The name of the output of model.plain.onnx with the number of spikes of each layer at each time step.

It is int32 [N, layers, T], with the layers in the order in which they fire. Not every model has it.
"""

PLACES = "places"
"""The last part of the name of a convolution with ones that adds up spikes for `SPIKE_COUNTS`."""


def is_sum_of_places(node: str) -> bool:
    """Whether a node, by its name, is a convolution that adds up spikes for `SPIKE_COUNTS`."""
    return node.startswith(f"{SPIKE_COUNTS}/") and node.endswith(f"/{PLACES}")


def spikes_tensor(layer: str) -> str:
    """Returns the name of the tensor with the spikes of a spiking layer, [T, N, ...]."""
    return f"{layer}/spikes"


def membranes_tensor(layer: str) -> str:
    """Returns the name of the tensor with the membranes that an integrator returns, [T, N, ...]."""
    return f"{layer}/membranes"


def current_tensor(layer: str) -> str:
    """Returns the name of the tensor with the input current of a spiking layer or an integrator, [T, N, ...]."""
    return f"{layer}/current"


def membrane_tensor(layer: str) -> str:
    """Returns the name of the input of head.onnx with the membranes of a spiking layer before a step, [N, ...]."""
    return f"{layer}/v"


def next_membrane_tensor(layer: str) -> str:
    """Returns the name of the output of head.onnx with the membranes of a spiking layer after a step, [N, ...]."""
    return f"{layer}/v_next"


def kept_tensor(name: str) -> str:
    """Returns the name of a feature (`tcja_runtime.bundle.stepwise.Feature`), for the tensor `name` of the whole model.

    It is the name of an output of head.onnx, [N, ...], and of the input of tail.onnx that takes the values of this
    output for all steps, [N, T, ...].
    """
    return f"{name}/kept"


def given_tensor(name: str) -> str:
    """Returns the name of the input that replaces the tensor `name` in a part of a model.

    The part (`tcja_runtime.model_file.subgraph.part`) takes the tensor as an input and does not compute it.
    """
    return f"{name}/given"
