"""Which network a checkpoint is of.

Each network of the registry reads its sizes off the checkpoint's shapes and is built with them; the network whose every
tensor the checkpoint has, in the right shape and with none to spare, is the one. Before that, keys are brought to the
spelling of the published checkpoints: training code of other times puts the same layers in other containers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from tcja_exporters.checkpoint import Checkpoint
from tcja_exporters.layers import PerStep
from tcja_exporters.networks import NETWORKS
from tcja_exporters.networks.network import AnyNetwork, ShapeReader, Sizes
from tcja_runtime.errors import BadInput

PREFIXES = ("module.", "_orig_mod.", "net.", "model.")
"""What DistributedDataParallel, torch.compile and training frameworks put before every key."""

_OPTIONAL = "num_batches_tracked"  # a counter that inference does not use and old checkpoints lack
_SHOWN = 3  # differences in a message
_SPELLINGS = {"published": "", "module": " (keys of SpikingJelly up to 0.0.0.0.6)", "flat": " (flat keys)"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identified:
    """A checkpoint whose network is known.

    Attributes:
        network: its entry in the registry.
        sizes: what its shapes tell.
        model: the rebuilt network, weights loaded, in eval mode.
        evidence: why it is this network with these sizes, a line each.
    """

    network: AnyNetwork
    sizes: Sizes
    model: nn.Module
    evidence: list[str]

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def identify(checkpoint: Checkpoint, name: str | None = None) -> Identified:
    """Find a checkpoint's network and rebuild it.

    Args:
        checkpoint: the trained weights.
        name: the network, if the user says it.

    Raises:
        BadInput: the name is unknown, or no network fits; the text names the nearest and what differs.
    """
    if name is not None and name not in NETWORKS:
        raise BadInput(f"--network {name} is unknown; known are: {', '.join(NETWORKS)}")
    candidates = [NETWORKS[name]] if name else list(NETWORKS.values())
    fits = [_fit(network, checkpoint.state) for network in candidates]
    exact = [fit for fit in fits if fit.exact]
    if len(exact) > 1:
        names = ", ".join(fit.network.name for fit in exact)
        raise BadInput(f"{checkpoint.path} fits several networks ({names}); say which with --network")
    if not exact:
        raise BadInput(_refusal(checkpoint, max(fits, key=lambda fit: fit.matching), asked=name))
    fit = exact[0]
    model = fit.network.build(fit.sizes)
    model.load_state_dict(fit.state, strict=False)
    where = f"under '{checkpoint.wrapper}'" if checkpoint.wrapper else "as a bare state_dict"
    evidence = [
        f"all {len(fit.state)} tensors, found {where}, fit {fit.network.name}{fit.spelling}",
        *fit.evidence,
    ]
    return Identified(network=fit.network, sizes=fit.sizes, model=model.eval(), evidence=evidence)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fit:
    network: AnyNetwork
    sizes: Sizes
    state: Mapping[str, Tensor]
    spelling: str
    evidence: list[str]
    differences: list[str]
    matching: int
    total: int

    @property
    def exact(self) -> bool:
        return not self.differences


def _fit(network: AnyNetwork, state: Mapping[str, Tensor]) -> _Fit:
    state, spelling = _respelled(network, _stripped(state))
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    reader = ShapeReader(shapes)
    sizes = network.sizes(reader)
    with torch.device("meta"):
        wanted = {key: tuple(value.shape) for key, value in network.build(sizes).state_dict().items()}
    needed = [key for key in wanted if not key.endswith(_OPTIONAL)]
    differences = [
        *reader.conflicts,
        *(f"{key} is missing" for key in needed if key not in shapes),
        *(f"{key} is not part of it" for key in shapes if key not in wanted),
        *(
            f"{key} is {_by(shapes[key])}, it should be {_by(wanted[key])}"
            for key in needed
            if key in shapes and shapes[key] != wanted[key]
        ),
    ]
    matching = sum(shapes.get(key) == wanted[key] for key in needed)
    return _Fit(
        network=network,
        sizes=sizes,
        state=state,
        spelling=spelling,
        evidence=reader.evidence,
        differences=differences,
        matching=matching,
        total=len(needed),
    )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def _refusal(checkpoint: Checkpoint, nearest: _Fit, asked: str | None) -> str:
    if nearest.matching == 0:
        what = f"of no known network ({', '.join(NETWORKS)})" if asked is None else f"not the {asked} network, as asked"
        some = ", ".join(list(checkpoint.state)[:_SHOWN])
        return f"{checkpoint.path} is {what}: its keys begin {some}"
    shown = "; ".join(nearest.differences[:_SHOWN])
    more = len(nearest.differences) - _SHOWN
    return (
        f"{checkpoint.path} is not {'the' if asked is None else 'this'} {nearest.network.name} network, "
        f"{'its nearest' if asked is None else 'as asked'} ({nearest.matching} of {nearest.total} tensors fit): "
        f"{shown}{f'; and {more} more' if more > 0 else ''}"
    )


def _stripped(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The state without a prefix that all of its keys share."""
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            return _stripped({key.removeprefix(prefix): value for key, value in state.items()})
    return state


def _respelled(network: AnyNetwork, state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], str]:
    """The state with the published keys, from the spelling that explains most of its keys."""
    with torch.device("meta"):
        skeleton = network.build(network.sizes(ShapeReader({})))
    best: dict[str, str] = {}
    spelling = ""
    for style, said in _SPELLINGS.items():
        keys = dict(_spelled(skeleton, style))
        if sum(key in state for key in keys) > sum(key in state for key in best):
            best, spelling = keys, said
    return {best.get(key, key): value for key, value in state.items()}, spelling


def _spelled(module: nn.Module, style: str, there: str = "", here: str = "") -> Iterator[tuple[str, str]]:
    """Pairs of a key as some training code spells it and the published key.

    Published, the layers of a `PerStep` container are numbered inside it: ``conv.3.0.weight``. "module" is the spelling
    of containers that hold them as an attribute, as one layer or a Sequential of several: ``conv.3.module.0.weight``.
    "flat" has no containers, their layers are numbered in the Sequential around: ``conv.4.weight``.
    """
    for key, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        yield there + key, here + key
    position = 0
    for name, child in module.named_children():
        inside = f"{here}{name}."
        index = str(position) if style == "flat" and name.isdigit() else name
        if not isinstance(child, PerStep) or style == "published":
            yield from _spelled(child, style, f"{there}{index}.", inside)
            position += 1
            continue
        for j, layer in enumerate(child):
            if style == "flat":
                outside = f"{there}{position + j}."
            else:
                outside = f"{there}{index}.module." + (f"{j}." if len(child) > 1 else "")
            yield from _spelled(layer, style, outside, f"{inside}{j}.")
        position += len(child)
