"""Builds a user's network: calls its factory."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from tcja_exporters.checkpoint.load import look_here
from tcja_exporters.libraries import backends
from tcja_exporters.user_code import kind_and_line, where
from tcja_runtime.counting import an
from tcja_runtime.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Made:
    """What a factory has built.

    Attributes:
        network: the network.
        lines: what the user should know of how it was built, a line each.
    """

    network: nn.Module
    lines: list[str]


def from_factory(path: str) -> Made:
    """Return the network that a user's factory builds; the factory may be in a module of the current folder.

    Neurons of SpikingJelly get its backend torch (`tcja_exporters.libraries.backends`).

    Args:
        path: the import path of the factory, ``pkg.mod:factory``: a function or class that needs no arguments. It may
            also be that of a network.

    Raises:
        BadInput: there is no such factory, it fails, or it returns no torch.nn.Module.
    """
    module_name, _, attribute = path.partition(":")
    if not (module_name and attribute):
        raise BadInput(f"`model` {path} is not MODULE:FACTORY, such as mypackage.networks:build")
    if module_name.endswith(".py") or not all(part.isidentifier() for part in module_name.split(".")):
        spelled = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise BadInput(
            f"`model` {path}: {module_name} is the name of a file, not of a module; write {spelled}:{attribute}, and "
            "run this in the folder that contains it"
        )
    look_here()
    with backends.torch_backends() as guard:
        network = _built(path, guard)
    return Made(network, guard.lines(network))


def _built(path: str, guard: backends.TorchBackends) -> nn.Module:
    """Return the network of a factory."""
    module_name, _, attribute = path.partition(":")
    factory = _attribute(path, guard)
    if isinstance(factory, nn.Module):  # made when its module is imported
        return factory
    if not callable(factory):
        raise BadInput(f"`model` {path}: {module_name} has no function or class {attribute}")
    missing = _missing_arguments(factory)
    if missing:
        raise BadInput(
            f"`model` {path}: {attribute} is called without arguments, and needs {missing}; name a function that calls "
            "it with them"
        )
    try:
        model = guard.run(factory)
    except (Exception, SystemExit) as error:
        line = f"{kind_and_line(error)}{where(error)}{backends.hint(error)}"
        raise BadInput(f"`model` {path}: {attribute}() fails: {line}") from error
    if not isinstance(model, nn.Module):
        raise BadInput(f"`model` {path}: {attribute}() returns {an(type(model).__name__)}, not a torch.nn.Module")
    return model


def _attribute(path: str, guard: backends.TorchBackends) -> Any:
    """Return the attribute of a user's module that a path names; None if the module has none of this name.

    Raises:
        BadInput: the module cannot be imported.
    """
    module_name, _, attribute = path.partition(":")
    try:
        module = guard.run(lambda: importlib.import_module(module_name))
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0] and error.name != module_name:
            raise _unimportable(path, module_name, error) from error
        raise BadInput(
            f"`model` {path}: no module {error.name} is in {Path.cwd()} or among the installed packages"
        ) from error
    except (Exception, SystemExit) as error:  # a user's module can fail in any way
        raise _unimportable(path, module_name, error) from error
    return getattr(module, attribute, None)


def _unimportable(path: str, module_name: str, error: BaseException) -> BadInput:
    return BadInput(
        f"`model` {path}: importing {module_name} fails: {kind_and_line(error)}{where(error)}{backends.hint(error)}"
    )


def _missing_arguments(factory: Callable[..., Any]) -> str:
    """Return the names of the arguments that a factory must be given; empty if there are none, or none are known."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some functions in C have no signature
        return ""
    return ", ".join(
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    )
