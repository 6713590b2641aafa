"""Neurons of other people's libraries, recognised by the name of their class: no library is imported for it."""

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
    """Make a neuron class of one's own known.

    Args:
        neuron: the class; subclasses are not meant. One that holds a state between calls needs a method `reset`.
        constants: of its neurons, or a function that reads them off a module.
        calls: "window" if a call takes the currents of all time steps, "step" if of one.
        time_axis: of a window.
        pairs: whether a call returns its spikes and a state.
    """

    def read(module: nn.Module) -> Recognised:
        spec = constants if isinstance(constants, NeuronSpec) else constants(module)
        return Recognised(spec=spec, library="own", calls=calls, time_axis=time_axis, pairs=pairs)

    _registered[neuron] = read


def recognise(name: str, module: nn.Module) -> Recognised | None:
    """What neuron a module is; None if it is none.

    Raises:
        BadInput: it is one that cannot be exported exactly.
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
    """Forget what the neurons of a model hold from earlier runs, as each library does it; own ones by their `reset`."""
    for module in model.modules():
        if type(module) in _registered and callable(getattr(module, "reset", None)):
            module.reset()  # type: ignore[operator]  # checked above
        for library in _LIBRARIES:
            library.reset(module)
