"""Finds the network inside wrappers that do not change what it computes."""

from __future__ import annotations

import torch
from torch import nn

from tcja_exporters.libraries import recognise
from tcja_exporters.libraries.recognition import class_name
from tcja_runtime.errors import BadInput

_INNER = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
    "OptimizedModule": "_orig_mod",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
}
"""The attribute that holds the network, by the class of torch's wrapper."""
_FRAMEWORKS = ("torch.nn.modules.module", "lightning.", "pytorch_lightning.")
"""The modules whose classes have a forward that only raises an error."""


def network_inside(model: nn.Module) -> nn.Module:
    """Return the network inside the wrappers around it; the network itself if there are none.

    The wrappers are those of torch (DataParallel, DistributedDataParallel, torch.compile, AveragedModel), and modules
    without a forward of their own, of which one part is a network: a LightningModule that only trains it, for example.

    Args:
        model: the wrapped network, which is not changed.

    Raises:
        BadInput: the module has no forward and not exactly one network in it, or it is a TorchScript module.
    """
    inner = _wrapped(model)
    if inner is not None:
        return network_inside(inner)
    if isinstance(model, torch.jit.ScriptModule):
        raise BadInput(
            f"the network ({getattr(model, 'original_name', class_name(model))}) is a TorchScript module, whose "
            "neurons cannot be replaced; return it before torch.jit.script or torch.jit.trace"
        )
    if not _has_forward(model):
        parts = {name: part for name, part in model.named_children() if _has_neurons(part)}
        if len(parts) != 1:
            found = f"{len(parts)} networks ({', '.join(parts)})" if parts else "no network with known neurons"
            raise BadInput(f"{class_name(model)} has no forward, and {found} in it; return the network itself")
        return network_inside(next(iter(parts.values())))
    return model


def unwrap_parts(network: nn.Module) -> None:
    """Replace the wrapped parts of a network by what they wrap, in place.

    Raises:
        BadInput: a part is a TorchScript module.
    """
    for name, module in list(network.named_children()):
        inner = module
        while (wrapped := _wrapped(inner)) is not None:
            inner = wrapped
        if isinstance(inner, torch.jit.ScriptModule):
            raise BadInput(f"'{name}' of the network is a TorchScript module; build it without torch.jit.script")
        if inner is not module:
            setattr(network, name, inner)
        unwrap_parts(inner)


def _wrapped(module: nn.Module) -> nn.Module | None:
    """Return what one of torch's wrappers holds; None if the module is none of them."""
    home, name = type(module).__module__, type(module).__name__
    inner = getattr(module, _INNER[name], None) if name in _INNER and home.startswith("torch.") else None
    return inner if isinstance(inner, nn.Module) else None


def _has_forward(module: nn.Module) -> bool:
    return not (getattr(type(module).forward, "__module__", None) or "").startswith(_FRAMEWORKS)


def _has_neurons(module: nn.Module) -> bool:
    """Whether a module has neurons of a known library or registered ones, also such that cannot be exported."""
    try:
        return any(recognise(name, part) is not None for name, part in module.named_modules())
    except BadInput:
        return True
