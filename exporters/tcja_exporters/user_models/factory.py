"""Builds a user's network: calls its factory, and loads the weights of a checkpoint."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tcja_exporters.checkpoint.load import Checkpoint, look_here, stripped
from tcja_exporters.libraries.recognition import class_name
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


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Load a checkpoint's weights into a user's network.

    All keys of the checkpoint may have another prefix than those of the network, such as "module.".

    Raises:
        BadInput: the keys or shapes of the checkpoint are not those of the network; or the network has lazy layers,
            which have no shape before they run once.
    """
    own = model.state_dict()
    lazy = [key for key, value in own.items() if is_lazy(value)]
    if lazy:
        raise BadInput(
            f"{class_name(model)} has layers without a shape yet ({lazy[0]}); the factory must run the network once"
        )
    candidates = checkpoint.state, _respelled(checkpoint.state, own)
    state = min(candidates, key=lambda state: len(_differences(own, state)))
    differences = _differences(own, state)
    if differences:
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise BadInput(f"{checkpoint.path} does not fit this {class_name(model)}: {'; '.join(differences[:3])}{more}")
    model.load_state_dict(state)


def _respelled(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the checkpoint's state; its keys have the prefix of the network's keys in place of their own."""
    first = next(iter(own), "")
    prefix = first.removesuffix(next(iter(stripped(own)), ""))
    return {prefix + key: value for key, value in stripped(state).items()}


def _differences(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """Return the differences between a network and a checkpoint in keys and shapes, a phrase each."""
    missing = [f"{key} is missing" for key in own if key not in state]
    strange = [f"{key} is not part of it" for key in state if key not in own]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, it should be {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    return missing + strange + shapes
