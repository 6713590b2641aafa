"""Recognises the neurons of other libraries by the name of their class, without importing these libraries."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tcja_exporters.libraries import norse, snntorch, spikingjelly
from tcja_exporters.libraries.recognition import Calls, Recognised, class_name, scalar
from tcja_exporters.user_code import kind_and_line, where
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec

RESETS = ("reset", "reset_state", "reset_states", "reset_mem", "reset_hidden")
"""The names that a registered neuron's method to start again may have; the first that it has is called."""
_LIBRARIES = (spikingjelly, snntorch, norse)
_registered: dict[type[nn.Module], Callable[[nn.Module], Recognised]] = {}


def register(
    neuron: type[nn.Module],
    constants: Callable[[Any], NeuronSpec] | NeuronSpec,
    *,
    calls: Calls | None = None,
    time_axis: int | None = None,
    pairs: bool | None = None,
) -> None:
    """Register your own neuron class, so that networks with it can be exported.

    The options are found by a run of the network if they are None.

    Args:
        neuron: the class; its subclasses are not registered. If its modules keep a state between calls, they need a
            method that starts them again, with one of the names `RESETS`, such as `reset()`.
        constants: the constants that all neurons of the class have, or a function that returns the constants of a
            module of the class. A constant may be a tensor of one element.
        calls: "window" if one call of a module takes the currents of all time steps, "step" if it takes the current of
            one time step.
        time_axis: the axis of time in a window, such as 0 for [T, N, ...].
        pairs: whether a call returns the pair (spikes, state), not the spikes alone.
    """

    def read(module: nn.Module) -> Recognised:
        spec = constants if isinstance(constants, NeuronSpec) else _read(constants, module)
        return Recognised(spec=spec, library="own", calls=calls, time_axis=time_axis, pairs=pairs)

    _registered[neuron] = read


def _read(constants: Callable[[Any], NeuronSpec], module: nn.Module) -> NeuronSpec:
    """Return the constants of a registered neuron, as numbers.

    Raises:
        ValueError: the function that returns them fails, or returns something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a trained constant is read as a number, as is meant here
            spec = constants(module)
        numbers = {name: scalar(name, value) for name, value in vars(spec).items() if isinstance(value, Tensor)}
        return NeuronSpec.from_dict({**vars(spec), **numbers})
    except Exception as error:  # a user's code can fail in any way
        raise ValueError(
            f"the function that returns its constants fails: {kind_and_line(error)}{where(error)}"
        ) from error


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
    """Reset the state of all neurons of a model, as their libraries do; registered neurons by one of `RESETS`."""
    for module in model.modules():
        if type(module) in _registered and (own := _reset_of(module)):
            own()
        for library in _LIBRARIES:
            library.reset(module)


def without_reset(model: nn.Module) -> list[str]:
    """Return the names of the registered neurons of a model that have no method to reset their state."""
    return [name for name, module in model.named_modules() if type(module) in _registered and not _reset_of(module)]


def _reset_of(module: nn.Module) -> Callable[[], object] | None:
    """Return the method of a registered neuron that resets its state; None if it has none."""
    methods = (getattr(module, name, None) for name in RESETS)
    return next((method for method in methods if callable(method)), None)
