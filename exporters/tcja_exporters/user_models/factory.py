"""Builds a user's network: calls its factory."""

from __future__ import annotations

import importlib

from torch import nn

from tcja_exporters.checkpoint.load import look_here
from tcja_runtime.errors import BadInput


def from_factory(path: str) -> nn.Module:
    """Return the network that a user's factory builds; the factory may be in a module of the current folder.

    Args:
        path: the import path of the factory, ``pkg.mod:factory``.

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
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module can fail in any way
        raise BadInput(f"`model` {path}: importing {module_name} fails: {type(error).__name__}: {error}") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise BadInput(f"`model` {path}: {module_name} has no function or class {attribute}")
    try:
        model = factory()
    except (Exception, SystemExit) as error:
        raise BadInput(f"`model` {path}: {attribute}() fails: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise BadInput(f"`model` {path}: {attribute}() returns a {type(model).__name__}, not a torch.nn.Module")
    return model
