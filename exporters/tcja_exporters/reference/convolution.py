"""Convolutions of spikes, a few frames at a time and only over the channels that fire in them.

A convolution in float64 spreads out what each of its sums is of, for the whole batch at once, and multiplies by
channels whether they fire or not. Both cost most where a window is long and its maps are large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_BYTES = 2**26
"""About what a few frames may take, so that what a batch takes on the way stays small."""
_DENSE = 0.5
"""Share of channels from which on all of them are multiplied."""


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, options: tuple[Any, ...]) -> Tensor:
    """aten.convolution of a batch [N, C, ...], `options` being its further arguments, from the stride on."""
    y: Tensor | None = None
    for part in frames(x, weight):
        found = _some_frames(x[part], weight, bias, options)
        if y is None:
            if len(found) == len(x):
                return found
            y = found.new_empty((len(x), *found.shape[1:]))
        y[part] = found
    return _some_frames(x, weight, bias, options) if y is None else y


def frames(x: Tensor, weight: Tensor) -> Iterator[slice]:
    """The frames of a batch [N, C, ...] in parts that are worth convolving at once."""
    return _parts(len(x), max(weight[0].numel(), weight.shape[0]) * math.prod(x.shape[2:]))


def batches(x: Tensor) -> Iterator[slice]:
    """The first axis of a tensor in parts that are worth computing at once."""
    return _parts(len(x), x[:1].numel())


def _parts(n: int, elements: int) -> Iterator[slice]:
    most = max(torch.get_num_threads(), _BYTES // max(elements * torch.float64.itemsize, 1))
    for start in range(0, n, most):
        yield slice(start, start + most)


def _some_frames(x: Tensor, weight: Tensor, bias: Tensor | None, options: tuple[Any, ...]) -> Tensor:
    *_, transposed, _output_padding, groups = options
    if groups == 1:
        fire = (x != 0).any(0).flatten(1).any(1)
        which = fire.nonzero()[:, 0]
        if 0 < len(which) < _DENSE * len(fire):
            x, weight = x.index_select(1, which), weight.index_select(0 if transposed else 1, which)
    y: Tensor = torch.ops.aten.convolution(x, weight, bias, *options)
    return y
