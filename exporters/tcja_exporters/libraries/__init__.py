"""Recognises the neurons of other libraries by the name of their class, without importing these libraries."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from tcja_exporters.libraries import norse, snntorch, spikingjelly
from tcja_exporters.libraries.recognition import Calls, Recognised, class_name
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec

_LIBRARIES = (spikingjelly, snntorch, norse)
_registered: dict[type[nn.Module], Callable[[nn.Module], Recognised]] = {}


def register(
    neuron: type[nn.Module],
    constants: Callable[[nn.Module], NeuronSpec] | NeuronSpec,
    *,
    calls: Calls = "window",
    time_axis: int = 0,
    pairs: bool = False,
) -> None:
    """Register your own neuron class, so that networks with it can be exported.

    Args:
        neuron: the class; its subclasses are not registered. If its modules keep a state between calls, they need a
            method `reset()`.
        constants: the constants that all neurons of the class have, or a function that returns the constants of a
            module of the class.
        calls: "window" if one call of a module takes the currents of all time steps, "step" if it takes the current of
            one time step.
        time_axis: the axis of time in a window, such as 0 for [T, N, ...].
        pairs: whether a call returns the pair (spikes, state), not the spikes alone.
    """

    def read(module: nn.Module) -> Recognised:
        spec = constants if isinstance(constants, NeuronSpec) else constants(module)
        return Recognised(spec=spec, library="own", calls=calls, time_axis=time_axis, pairs=pairs)

    _registered[neuron] = read


def recognise(name: str, module: nn.Module) -> Recognised | None:
    """Return the recognised neuron for a module; None if the module is not a known neuron.

    Args:
        name: the name of the module, for messages.
        module: the module.

    Raises:
        BadInput: the module is a neuron of a known library that cannot be exported exactly.
    """
    try:
        if type(module) in _registered:
            return _registered[type(module)](module)
        for library in _LIBRARIES:
            found: Recognised | None = library.recognise(module)
            if found is not None:
                return found
    except ValueError as error:
        raise BadInput(f"the neuron '{name}' ({class_name(module)}) cannot be exported: {error}") from error
    return None


def reset(model: nn.Module) -> None:
    """Reset the state of all neurons of a model, as their libraries do; registered neurons by their own `reset()`."""
    for module in model.modules():
        if type(module) in _registered and callable(getattr(module, "reset", None)):
            module.reset()  # type: ignore[operator]  # checked above
        for library in _LIBRARIES:
            library.reset(module)
