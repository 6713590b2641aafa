"""Convolutions of spikes in float64, a few frames at a time and only over the channels that fire in them.

PyTorch's own convolution in float64 copies every patch of the whole batch, and multiplies by all channels whether they
fire or not. Both cost most where a window is long and its maps are large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_BYTES = 2**26
"""The memory that one part may take, roughly, in bytes."""
_DENSE = 0.5
"""The share of firing channels from which on all channels are multiplied."""


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, options: tuple[Any, ...]) -> Tensor:
    """The result of aten.convolution.

    Args:
        x: a batch [N, C, ...].
        weight: the weight, as aten.convolution takes it.
        bias: the bias, or None.
        options: the further arguments of aten.convolution, from the stride on.
    """
    y: Tensor | None = None
    for part in convolution_parts(x, weight):
        found = _over_firing_channels(x[part], weight, bias, options)
        if y is None:
            if len(found) == len(x):
                return found
            y = found.new_empty((len(x), *found.shape[1:]))
        y[part] = found
    return _over_firing_channels(x, weight, bias, options) if y is None else y


def convolution_parts(x: Tensor, weight: Tensor) -> Iterator[slice]:
    """The parts of a batch [N, C, ...] to convolve one after the other."""
    return _parts(len(x), max(weight[0].numel(), weight.shape[0]) * math.prod(x.shape[2:]))


def batch_parts(x: Tensor) -> Iterator[slice]:
    """The parts of a tensor's first axis to compute one after the other."""
    return _parts(len(x), x[:1].numel())


def _parts(n: int, elements: int) -> Iterator[slice]:
    """Slices of an axis of length n, of which each index takes so many float64 elements."""
    most = max(torch.get_num_threads(), _BYTES // max(elements * torch.float64.itemsize, 1))
    for start in range(0, n, most):
        yield slice(start, start + most)


def _over_firing_channels(x: Tensor, weight: Tensor, bias: Tensor | None, options: tuple[Any, ...]) -> Tensor:
    """The convolution of a few frames, without the channels that are 0 in all of them."""
    *_, transposed, _output_padding, groups = options
    if groups == 1:
        fire = (x != 0).any(0).flatten(1).any(1)
        which = fire.nonzero()[:, 0]
        if 0 < len(which) < _DENSE * len(fire):
            x, weight = x.index_select(1, which), weight.index_select(0 if transposed else 1, which)
    y: Tensor = torch.ops.aten.convolution(x, weight, bias, *options)
    return y
