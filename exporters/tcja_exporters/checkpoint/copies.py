"""Checkpoints of copies of TCJA, whose block has the keys conv_t and conv_c in place of conv and conv_c.

The published block pads a kernel of size k by (k-1)//2 zeros on the left and k//2 on the right
(`tcja_exporters.modules.attention`). Known copies pad k//2 on both sides, and cut what is too long from the end. For
odd k this is the same function, as (k-1)//2 = k//2. For even k they have one zero more on the left where the published
block has one more on the right, so they compute another function.

Sources: the blocks TCJA of LynxiTech/BIDL, ``layers/attention.py`` (padding 1, so its kernels have size 3; it
gives the windows of a batch each other's gates, and computes TCJA for one window), and of
Angelazhh/FDASNN-for-SPAD-MNIST (padding k//2). A block with a further convolution conv_s, over space, is STCJA, another
block.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.counting import counted

_OVER_CHANNELS, _OVER_TIME, _OVER_SPACE = "conv_t.weight", "conv_c.weight", "conv_s.weight"


def as_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state in which the blocks of copies that compute the published function have the published keys."""
    prefixes = {block for block in _blocks(state) if _is_published(state, block)}
    return {
        f"{key.removesuffix(_OVER_CHANNELS)}conv.weight" if key.removesuffix(_OVER_CHANNELS) in prefixes else key: value
        for key, value in state.items()
    }


def remarks(state: Mapping[str, Tensor]) -> list[str]:
    """Return a line on the blocks of copies that are taken as the published block; none if there are none."""
    n = sum(_is_published(state, block) for block in _blocks(state))
    if not n:
        return []
    return [
        f"{CHECK}{counted(n, 'block')} with the keys conv_t and conv_c, of a copy of TCJA, taken as the published "
        "block: with kernels of odd size, padded by the same number of zeros on both sides, they compute the same"
    ]


def refusal(path: Path, state: Mapping[str, Tensor]) -> str:
    """Return why a checkpoint of a copy is no published network; empty if it has no block of another function."""
    for block in _blocks(state):
        if block + _OVER_SPACE in state:
            return (
                f"{path} has the key {block}{_OVER_SPACE}: its attention has a third convolution, over space, beside "
                "conv_t and conv_c. This block is STCJA, and TCJA has only two; export the network from its own code, "
                "with `model`"
            )
        if not _is_published(state, block):
            even = next(key for key in (block + _OVER_CHANNELS, block + _OVER_TIME) if state[key].shape[-1] % 2 == 0)
            return (
                f"{path} has the keys conv_t and conv_c of a copy of TCJA, and a kernel of even size "
                f"({even}, {state[even].shape[-1]}): there the published block has one zero more on the right, and "
                "known copies have one more on the left, so they compute another function; export the network from its "
                "own code, with `model`"
            )
    return ""


def _blocks(state: Mapping[str, Tensor]) -> list[str]:
    """Return the prefixes of the blocks that have the keys of a copy, such as "conv.11."."""
    found = [key.removesuffix(_OVER_CHANNELS) for key in state if f".{key}".endswith(f".{_OVER_CHANNELS}")]
    return [
        block
        for block in found
        if block + _OVER_TIME in state and all(state[block + key].ndim == 3 for key in (_OVER_CHANNELS, _OVER_TIME))
    ]


def _is_published(state: Mapping[str, Tensor], block: str) -> bool:
    """Whether the block of a copy computes the published function."""
    odd = all(state[block + key].shape[-1] % 2 == 1 for key in (_OVER_CHANNELS, _OVER_TIME))
    return odd and block + _OVER_SPACE not in state
