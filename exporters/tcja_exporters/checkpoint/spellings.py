"""The spellings of the keys of a network's checkpoint.

Older training code has the same layers in other containers, so its keys differ. They are changed to those of the
published checkpoints.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from tcja_exporters.modules.layers import PerStep
from tcja_exporters.networks.base import AnyNetwork, ShapeReader

_SPELLINGS = {"published": "", "module": " (keys of SpikingJelly up to 0.0.0.0.6)", "flat": " (flat keys)"}


def respelled(
    network: AnyNetwork, variant: dict[str, str], state: Mapping[str, Tensor]
) -> tuple[Mapping[str, Tensor], str]:
    """Return the state with the published keys, and a remark that names the spelling that most of its keys have."""
    best: Mapping[str, str] = {}
    spelling = ""
    for style, spelled in _spellings(network, tuple(variant.items())).items():
        if sum(key in state for key in spelled) > sum(key in state for key in best):
            best, spelling = spelled, _SPELLINGS[style]
    return {best.get(key, key): value for key, value in state.items()}, spelling


@functools.cache
def _spellings(network: AnyNetwork, variant: tuple[tuple[str, str], ...]) -> dict[str, dict[str, str]]:
    """Return for each spelling a dictionary from its keys to the published keys, for a network of published sizes."""
    with torch.device("meta"):
        skeleton = network.build(network.sizes(ShapeReader({}, dict(variant))))
    return {style: dict(_spelled(skeleton, style)) for style in _SPELLINGS}


def _spelled(module: nn.Module, style: str, there: str = "", here: str = "") -> Iterator[tuple[str, str]]:
    """Yield pairs: the key of a tensor in a spelling, and the published key of the same tensor.

    In the published spelling, the layers of a `PerStep` container are numbered inside it: ``conv.3.0.weight``. In the
    spelling "module", the container holds one layer, or a Sequential of several, as an attribute:
    ``conv.3.module.0.weight``. In the spelling "flat", there are no containers, and the layers are numbered in the
    outer Sequential: ``conv.4.weight``.

    Args:
        module: the network or a part of it.
        style: the spelling: "published", "module" or "flat".
        there: the prefix of the keys of `module` in this spelling.
        here: the prefix of the published keys of `module`.
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
