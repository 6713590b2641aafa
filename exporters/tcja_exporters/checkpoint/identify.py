"""Identifies the network of a checkpoint.

Each registered network, in each of its variants, reads its sizes from the checkpoint's shapes and is built with them.
A network fits if the checkpoint has exactly its tensors, in the same shapes. Before that, the keys are changed to the
spelling of the published checkpoints, because older training code has the same layers in other containers.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from tcja_exporters.checkpoint.load import Checkpoint, stripped
from tcja_exporters.checkpoint.trained_network import TrainedNetwork
from tcja_exporters.modules.layers import PerStep
from tcja_exporters.networks import NETWORKS
from tcja_exporters.networks.base import AnyNetwork, ShapeReader, Sizes, T
from tcja_runtime.errors import BadInput

Settings = Mapping[str, str]
"""The settings of a network that its checkpoint does not tell, by name."""

_OPTIONAL = "num_batches_tracked"  # a counter that inference does not use and old checkpoints lack
_LONGEST = 10_000  # the largest number of time steps
_SHOWN = 3  # the number of differences in a message
_SPELLINGS = {"published": "", "module": " (keys of SpikingJelly up to 0.0.0.0.6)", "flat": " (flat keys)"}


def identify(checkpoint: Checkpoint, name: str | None = None, settings: Settings | None = None) -> TrainedNetwork:
    """Find a checkpoint's network and rebuild it.

    Args:
        checkpoint: the trained weights.
        name: the name of the network; None to find it.
        settings: the settings of the network that the checkpoint does not tell, by name.

    Raises:
        BadInput: the name is unknown, the network has no such setting, or no network fits; the message then names the
            nearest network and the differences.
    """
    if name is not None and name not in NETWORKS:
        raise BadInput(f"`network` {name} is unknown; known are: {', '.join(NETWORKS)}")
    settings = settings or {}
    candidates = [NETWORKS[name]] if name else list(NETWORKS.values())
    _check(settings, candidates)
    fits = [fit for network in candidates for fit in _fits(network, checkpoint.state, settings)]
    exact = [fit for fit in fits if not fit.differences]
    if not exact:
        raise BadInput(_refusal(checkpoint, max(fits, key=lambda fit: fit.matching), asked=name))
    fit, why = _only(exact, checkpoint)
    _check(settings, [fit.network])
    if fit.reader.unknown:
        raise BadInput(f"{checkpoint.path} is a {fit.network.name}, but does not tell {'; '.join(fit.reader.unknown)}")
    model = fit.network.build(fit.sizes)
    model.load_state_dict(fit.state, strict=False)
    where = f"under '{checkpoint.wrapper}'" if checkpoint.wrapper else "as a bare state_dict"
    left_out = len(checkpoint.state) - fit.used
    tensors = f"{fit.used} of {len(checkpoint.state)}" if left_out else f"all {fit.used}"
    return TrainedNetwork(
        name=fit.network.name,
        summary=fit.network.summary,
        dialect=fit.network.dialect_of(fit.sizes).name,
        model=model.eval(),
        contract=fit.network.contract(fit.sizes),
        output=fit.network.output,
        classes=fit.network.classes(fit.sizes),
        time_steps=fit.sizes.time_steps,
        source=checkpoint.source,
        evidence=[
            f"{tensors} tensors, found {where}, fit {fit.network.name}{fit.spelling}",
            *([f"the other {left_out} belong to what is not deployed"] if left_out else []),
            *why,
            *fit.reader.evidence,
        ],
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fit:
    """A checkpoint compared with one variant of a network.

    Attributes:
        network: the network.
        sizes: the sizes that the checkpoint tells.
        state: the tensors by the network's own keys.
        spelling: the spelling of the checkpoint's keys, as a remark; empty for the published spelling.
        reader: the reader of the sizes, with its evidence and conflicts.
        used: the number of tensors in the checkpoint that the network could use.
        differences: the differences between checkpoint and network, a phrase each.
        matching: the number of tensors of the network that the checkpoint has in the right shape.
        total: the number of tensors that the network needs.
    """

    network: AnyNetwork
    sizes: Sizes
    state: Mapping[str, Tensor]
    spelling: str
    reader: ShapeReader
    used: int
    differences: list[str]
    matching: int
    total: int


def _check(settings: Settings, candidates: list[AnyNetwork]) -> None:
    """Refuse a setting, or a value of a setting, that no candidate has."""
    for name, value in settings.items():
        if name == T:
            if not value.isdecimal() or not 1 <= int(value[: len(str(_LONGEST)) + 1]) <= _LONGEST:
                raise BadInput(f"`settings` T={value}: T is a number of time steps from 1 to {_LONGEST}")
            continue
        choices = {
            choice
            for network in candidates
            for choice in (*network.variants.get(name, ()), *network.settings.get(name, ()))
        }
        if not choices:
            known = sorted({T}.union(*({*network.variants, *network.settings} for network in candidates)))
            names = " or ".join(network.name for network in candidates)
            raise BadInput(f"`settings` {name}={value}: {names} has no such setting; known are: {', '.join(known)}")
        if value not in choices:
            raise BadInput(f"`settings` {name}={value}: it can be {' or '.join(sorted(choices))}")


def _variants(network: AnyNetwork, settings: Settings) -> Iterator[dict[str, str]]:
    """The variants of a network that the settings allow, the published one first."""
    allowed = [
        [choice for choice in choices if settings.get(name, choice) == choice]
        for name, choices in network.variants.items()
    ]
    for chosen in itertools.product(*allowed):
        yield dict(zip(network.variants, chosen, strict=True))


def _only(exact: list[_Fit], checkpoint: Checkpoint) -> tuple[_Fit, list[str]]:
    """The one network that fits; and, if others fit too, the reason for the choice.

    Raises:
        BadInput: several networks fit, and no size tells which it is.
    """
    if len(exact) == 1:
        return exact[0], []
    told = [(fit, fit.network.told_by(fit.sizes)) for fit in exact]
    sure = [(fit, why) for fit, why in told if why]
    if len(sure) != 1:
        which = "; ".join(f"{fit.network.name} ({fit.network.summary})" for fit in exact)
        raise BadInput(
            f"{checkpoint.path} fits several networks, whose keys and shapes are the same although they compute "
            f"otherwise: {which}. Say which with `network`"
        )
    fit, why = sure[0]
    others = " or ".join(other.network.name for other in exact if other is not fit)
    return fit, [f"{why}, as published for {fit.network.name}; a retrained {others} may look the same: then `network`"]


def _fits(network: AnyNetwork, state: Mapping[str, Tensor], settings: Settings) -> Iterator[_Fit]:
    """Compare a checkpoint with each variant of a network, or with the first alone if no tensor matches that."""
    state = stripped(state)
    state = {key: value for key, value in state.items() if not key.startswith(network.undeployed or "\0")}
    for i, variant in enumerate(_variants(network, settings)):
        fit = _fit(network, state, variant, settings)
        yield fit
        if i == 0 and not fit.matching:
            return


def _fit(network: AnyNetwork, state: Mapping[str, Tensor], variant: dict[str, str], settings: Settings) -> _Fit:
    """Compare a checkpoint with one variant of a network."""
    state, spelling = _respelled(network, variant, state)
    used = len(state)
    state, tied = _untied(network, state)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    reader = ShapeReader(shapes, variant, settings)
    sizes: Sizes = network.sizes(reader)
    with torch.device("meta"):
        wanted = {key: tuple(value.shape) for key, value in network.build(sizes).state_dict().items()}
    needed = [key for key in wanted if not key.endswith(_OPTIONAL)]
    differences = [
        *reader.conflicts,
        *tied,
        *(f"{key} is missing" for key in needed if key not in shapes),
        *(f"{key} is not part of it" for key in shapes if key not in wanted),
        *(
            f"{key} is {_by(shapes[key])}, it should be {_by(wanted[key])}"
            for key in needed
            if key in shapes and shapes[key] != wanted[key]
        ),
    ]
    return _Fit(
        network=network,
        sizes=sizes,
        state=state,
        spelling=spelling,
        reader=reader,
        used=used,
        differences=differences,
        matching=sum(shapes.get(key) == wanted[key] for key in needed),
        total=len(needed),
    )


def _untied(network: AnyNetwork, state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], list[str]]:
    """Each tensor once, under its canonical key; and a phrase for each tensor whose copies differ."""
    once: dict[str, Tensor] = {}
    differing: list[str] = []
    for key, value in state.items():
        first = once.setdefault(network.canonical(key), value)
        if first is not value and not torch.equal(first, value):
            differing.append(f"{key} must be the same tensor as {network.canonical(key)}, but differs")
    return once, differing


def _by(shape: tuple[int, ...]) -> str:
    """A shape in words, such as "3x3"."""
    return "x".join(map(str, shape)) or "a scalar"


def _refusal(checkpoint: Checkpoint, nearest: _Fit, asked: str | None) -> str:
    """The message for a checkpoint that fits no network; it names the nearest network and the differences."""
    lookalike = next((key for key in checkpoint.state if ".conv_t." in f".{key}"), None)
    if lookalike:
        return (
            f"{checkpoint.path} has {lookalike}, of a re-implementation of TCJA: the published block's keys are conv "
            "and conv_c. Those with conv_t are known to pad even kernels otherwise, so they compute another function; "
            "export it from its own code, with `model`"
        )
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


def _respelled(
    network: AnyNetwork, variant: dict[str, str], state: Mapping[str, Tensor]
) -> tuple[Mapping[str, Tensor], str]:
    """The state with the published keys, and a remark on its spelling: the one that most of its keys have."""
    best: Mapping[str, str] = {}
    spelling = ""
    for style, keys in _spellings(network, tuple(variant.items())).items():
        if sum(key in state for key in keys) > sum(key in state for key in best):
            best, spelling = keys, _SPELLINGS[style]
    return {best.get(key, key): value for key, value in state.items()}, spelling


@functools.cache
def _spellings(network: AnyNetwork, variant: tuple[tuple[str, str], ...]) -> dict[str, dict[str, str]]:
    """For each spelling, the published key of each of its keys, for a network of published sizes."""
    with torch.device("meta"):
        skeleton = network.build(network.sizes(ShapeReader({}, dict(variant))))
    return {style: dict(_spelled(skeleton, style)) for style in _SPELLINGS}


def _spelled(module: nn.Module, style: str, there: str = "", here: str = "") -> Iterator[tuple[str, str]]:
    """Pairs of a key in some spelling and the published key.

    In the published spelling, the layers of a `PerStep` container are numbered inside it: ``conv.3.0.weight``. In
    "module", the container holds one layer, or a Sequential of several, as an attribute: ``conv.3.module.0.weight``. In
    "flat", there are no containers, and their layers are numbered in the outer Sequential: ``conv.4.weight``.

    Args:
        module: the network or a part of it.
        style: the spelling: "published", "module" or "flat".
        there: the prefix of keys in this spelling.
        here: the prefix of published keys.
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
