"""Recognises the neurons of other libraries by the name of their class; it imports none of these libraries."""

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
        neuron: the class; its subclasses are not registered. A class with a state between calls needs a method
            `reset`.
        constants: the constants of all its neurons, or a function that reads them from a module.
        calls: "window" if one call takes the currents of all time steps, "step" if it takes one step.
        time_axis: the axis of time in a window.
        pairs: whether a call returns a pair: the spikes and a state.
    """

    def read(module: nn.Module) -> Recognised:
        spec = constants if isinstance(constants, NeuronSpec) else constants(module)
        return Recognised(spec=spec, library="own", calls=calls, time_axis=time_axis, pairs=pairs)

    _registered[neuron] = read


def recognise(name: str, module: nn.Module) -> Recognised | None:
    """The neuron that a module is; None if it is no neuron.

    Args:
        name: the name of the module, for messages.
        module: the module.

    Raises:
        BadInput: the module is a neuron that cannot be exported exactly.
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
    """Reset the state of all neurons of a model, as their library does; registered neurons by their own `reset`."""
    for module in model.modules():
        if type(module) in _registered and callable(getattr(module, "reset", None)):
            module.reset()  # type: ignore[operator]  # checked above
        for library in _LIBRARIES:
            library.reset(module)
