"""Recognises the neurons of other libraries by the name of their class, without importing these libraries.

The neurons of a library that this folder does not know are registered by the user (`register`), or by an installed
package (`tcja_runtime.extensions`). Such a package is imported when a network has a neuron of the class that it names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import nn

from tcja_exporters.libraries import norse, snntorch, spikingjelly
from tcja_exporters.libraries.recognition import Calls, Recognised, class_name
from tcja_exporters.modules.integer import IntegerSpec
from tcja_exporters.user_code import kind_and_line, where
from tcja_runtime import extensions
from tcja_runtime.counting import an
from tcja_runtime.errors import BadInput
from tcja_runtime.machine.versions import version
from tcja_runtime.neuron import NeuronSpec

RESETS = ("reset", "reset_state", "reset_states", "reset_mem", "reset_hidden")
"""The names that a registered neuron's method to start again may have; the first that it has is called."""
_LIBRARIES = (spikingjelly, snntorch, norse)
_KNOWN = tuple(library.__name__.rpartition(".")[2] for library in _LIBRARIES)
_registered: dict[type[nn.Module], Callable[[nn.Module], Recognised]] = {}


def register(
    neuron: type[nn.Module],
    constants: Callable[[Any], NeuronSpec | IntegerSpec] | NeuronSpec | IntegerSpec,
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
            module of the class. A constant may be an array or a tensor with one value, or with a value for each
            channel or neuron: its shape broadcasts to that of the layer without time and batch, such as (C, 1, 1).
            An `IntegerSpec` is for neurons that fire several spikes in a time step and have no membrane.
        calls: "window" if one call of a module takes the currents of all time steps, "step" if it takes the current of
            one time step.
        time_axis: the axis of time in a window, such as 0 for [T, N, ...].
        pairs: whether a call returns the pair (spikes, state), not the spikes alone.
    """

    def read(module: nn.Module) -> Recognised:
        return dataclasses.replace(
            _known(_read(constants, module), "own"), calls=calls, time_axis=time_axis, pairs=pairs
        )

    _registered[neuron] = read


def _known(constants: NeuronSpec | IntegerSpec, library: str) -> Recognised:
    """Return the recognised neuron for constants; how it is called is not known yet."""
    if isinstance(constants, IntegerSpec):
        known = Recognised.integer(constants, library, None)
        return dataclasses.replace(known, time_axis=None, pairs=None)
    return Recognised(spec=constants, library=library, calls=None, time_axis=None, pairs=None)


def _is_registered(module: nn.Module) -> bool:
    """Whether the class of a module is registered by the user, or by an extension, which is then imported.

    Raises:
        BadInput: several extensions name the class, or it is a class of a library that this folder knows.
        Unavailable: the extension that names the class does not load.
    """
    if type(module) in _registered:
        return True
    extension = _extension_of(module)
    if extension is None:
        return False
    if type(module).__module__.partition(".")[0] in _KNOWN and _of_a_library(module):
        raise BadInput(f"{extension} adds the neuron {extension.name}, which tcja-deploy knows itself; uninstall it")
    package, constants = extension.package, extension.load(NeuronSpec, IntegerSpec, Callable)

    def read(module: nn.Module) -> Recognised:
        return _known(_read(constants, module), package)

    _registered[type(module)] = read
    return True


def _extension_of(module: nn.Module) -> extensions.Extension | None:
    """Return the extension that names the class of a module; None if there is none."""
    return extensions.find("neuron", f"{type(module).__module__}.{type(module).__qualname__}")


def _of_a_library(module: nn.Module) -> bool:
    """Whether a module is a neuron that a module of this folder recognises, and does not refuse."""
    try:
        return any(library.recognise(module) for library in _LIBRARIES)
    except ValueError:
        return False


def packages(module: nn.Module) -> dict[str, str]:
    """Return the installed packages that define a neuron and its constants, with their versions."""
    extension, home = _extension_of(module), type(module).__module__.partition(".")[0]
    found = {home: version(home), **({extension.package: extension.version} if extension else {})}
    return {name: number for name, number in found.items() if number}


def _read(
    constants: Callable[[Any], NeuronSpec | IntegerSpec] | NeuronSpec | IntegerSpec, module: nn.Module
) -> NeuronSpec | IntegerSpec:
    """Return the constants of a registered neuron.

    Args:
        constants: the constants of all neurons of the class, or the function that returns those of a module.
        module: the neuron.

    Raises:
        ValueError: the function that returns them fails, or returns something else.
    """
    if isinstance(constants, NeuronSpec | IntegerSpec):
        return constants
    try:
        spec = constants(module)
        if not isinstance(spec, NeuronSpec | IntegerSpec):
            raise TypeError(f"it returns {an(type(spec).__name__)}, not a NeuronSpec")
        return spec
    except (Exception, SystemExit) as error:  # a user's code can fail in any way
        raise ValueError(
            f"the function that returns its constants fails: {kind_and_line(error)}{where(error)}"
        ) from error


def recognise(name: str, module: nn.Module) -> Recognised | None:
    """Return the recognised neuron for a module; None if the module is not a known neuron.

    Args:
        name: the name of the module, for messages.
        module: the module.

    Raises:
        BadInput: the module is a neuron of a known library that cannot be exported exactly, or an extension must not
            add it.
        Unavailable: an extension adds the neuron, and does not load.
    """
    try:
        if _is_registered(module):
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
        if _is_registered(module) and (own := _reset_of(module)):
            own()
        for library in _LIBRARIES:
            library.reset(module)


def without_reset(model: nn.Module) -> list[str]:
    """Return the names of the registered neurons of a model that have no method to reset their state."""
    return [name for name, module in model.named_modules() if _is_registered(module) and not _reset_of(module)]


def _reset_of(module: nn.Module) -> Callable[[], object] | None:
    """Return the method of a registered neuron that resets its state; None if it has none."""
    methods = (getattr(module, name, None) for name in RESETS)
    return next((method for method in methods if callable(method)), None)
