"""Convolutions of spikes in float64, computed for a few frames at a time and only for the channels that fire.

PyTorch's own float64 convolution copies all patches of the whole batch, which needs much memory, and multiplies
channels without spikes, too, which needs time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_BYTES = 2**26
"""The approximate memory of one part of a convolution, in bytes."""
_DENSE = 0.5
"""The share of firing channels above which all channels are multiplied."""


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, options: tuple[Any, ...]) -> Tensor:
    """Return the result of aten.convolution.

    Args:
        x: a batch [N, C, ...].
        weight: the weight, as aten.convolution takes it.
        bias: the bias, or None.
        options: the arguments of aten.convolution after the bias: stride, padding, dilation, transposed, output
            padding, groups.
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
    """Yield slices of the first axis of a batch [N, C, ...]. A convolution of one slice at a time needs less memory."""
    return _parts(len(x), max(weight[0].numel(), weight.shape[0]) * math.prod(x.shape[2:]))


def batch_parts(x: Tensor) -> Iterator[slice]:
    """Yield slices of a tensor's first axis. An operation on one slice at a time needs less memory."""
    return _parts(len(x), x[:1].numel())


def _parts(n: int, elements: int) -> Iterator[slice]:
    """Yield slices of an axis. A slice needs at most about `_BYTES`, but has at least one index for each CPU thread.

    Args:
        n: the length of the axis. The last slice may have fewer indices than the others.
        elements: the number of float64 values that the computation for one index needs.
    """
    most = max(torch.get_num_threads(), _BYTES // max(elements * torch.float64.itemsize, 1))
    for start in range(0, n, most):
        yield slice(start, start + most)


def _over_firing_channels(x: Tensor, weight: Tensor, bias: Tensor | None, options: tuple[Any, ...]) -> Tensor:
    """Return the convolution of a few frames; channels that are 0 in all of these frames are left out."""
    *_, transposed, _output_padding, groups = options
    if groups == 1:
        fire = (x != 0).any(0).flatten(1).any(1)
        which = fire.nonzero()[:, 0]
        if 0 < len(which) < _DENSE * len(fire):
            x, weight = x.index_select(1, which), weight.index_select(0 if transposed else 1, which)
    y: Tensor = torch.ops.aten.convolution(x, weight, bias, *options)
    return y
