"""The nodes of a NIR graph that have no state, as modules of torch. Each takes the items of one time step, [N, ...]."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tcja_exporters.nir_graphs.graph import Node

Shape = tuple[int, ...]


class SumPool(nn.AvgPool2d):
    """The sum over windows of a picture, [N, C, H, W] -> [N, C, rows, columns], as norse and sinabs compute it.

    Both use ``torch.nn.LPPool2d`` with the norm 1: the average, multiplied by the number of values.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        rows, columns = cast("tuple[int, int]", self.kernel_size)
        return functional.avg_pool2d(input, (rows, columns), self.stride, self.padding) * (rows * columns)


class Scale(nn.Module):
    """A product with constants, value by value: [N, ...] -> [N, ...].

    Args:
        factors: the constants, in the shape of an item.
    """

    factors: Tensor

    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        self.register_buffer("factors", factors)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors


def layer(node: Node, item: Shape) -> nn.Module:
    """Return the module of a node without a state.

    Args:
        node: the node, one of `LAYERS`.
        item: the shape of its input at one time step.

    Raises:
        ValueError: the node does not take such an input, or its values cannot be used.
    """
    return LAYERS[node.kind](node.values, item)


def _linear(values: Any, item: Shape) -> nn.Module:
    weight = _floats("weight", values.weight, 2)
    _check_input(item, (weight.shape[1],))
    return _filled(nn.Linear(weight.shape[1], weight.shape[0], bias=hasattr(values, "bias")), weight, values)


def _conv1d(values: Any, item: Shape) -> nn.Module:
    return _conv(nn.Conv1d, values, item, 1)


def _conv2d(values: Any, item: Shape) -> nn.Module:
    return _conv(nn.Conv2d, values, item, 2)


def _conv(kind: Any, values: Any, item: Shape, axes: int) -> nn.Module:
    weight = _floats("weight", values.weight, axes + 2)
    groups = _sizes("groups", values.groups, 1)[0]
    padding = values.padding
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"its padding is '{padding}', not 'same', 'valid' or numbers")
    else:
        padding = _sizes("padding", padding, axes, least=0)
    if len(item) != axes + 1 or item[0] != weight.shape[1] * groups:
        raise ValueError(f"it takes {weight.shape[1] * groups} channels of {axes} axes, and its input is {list(item)}")
    if weight.shape[0] % groups:
        raise ValueError(f"its {weight.shape[0]} output channels are not {groups} groups of equal size")
    module = kind(
        item[0],
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=_sizes("stride", values.stride, axes),
        padding=padding,
        dilation=_sizes("dilation", values.dilation, axes),
        groups=groups,
    )
    return _filled(module, weight, values)


def _pool(kind: Any, values: Any, item: Shape) -> nn.Module:
    if len(item) != 3:
        raise ValueError(f"it takes channels of 2 axes, and its input is {list(item)}")
    kernel, padding = _sizes("kernel_size", values.kernel_size, 2), _sizes("padding", values.padding, 2, least=0)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"its padding {list(padding)} is more than half of its kernel_size {list(kernel)}")
    made: nn.Module = kind(kernel, _sizes("stride", values.stride, 2), padding)
    return made


def _avg_pool(values: Any, item: Shape) -> nn.Module:
    return _pool(nn.AvgPool2d, values, item)


def _sum_pool(values: Any, item: Shape) -> nn.Module:
    return _pool(SumPool, values, item)


def _flatten(values: Any, item: Shape) -> nn.Module:
    first, last = (int(np.asarray(end)) for end in (values.start_dim, values.end_dim))
    first, last = (end + len(item) if end < 0 else end for end in (first, last))
    if not 0 <= first <= last < len(item):
        raise ValueError(f"it flattens the axes {first} to {last}, and its input is {list(item)}")
    return nn.Flatten(first + 1, last + 1)


def _scale(values: Any, item: Shape) -> nn.Module:
    factors = torch.tensor(np.asarray(values.scale), dtype=torch.float32)
    check_constant("scale", tuple(factors.shape), item)
    return Scale(factors.reshape(()) if factors.numel() == 1 else factors)


LAYERS = {
    "Linear": _linear,
    "Affine": _linear,
    "Conv1d": _conv1d,
    "Conv2d": _conv2d,
    "AvgPool2d": _avg_pool,
    "SumPool2d": _sum_pool,
    "Flatten": _flatten,
    "Scale": _scale,
}
"""The functions that make the module of a node, by its type."""


def check_constant(name: str, shape: Shape, item: Shape) -> None:
    """Check that an array of constants fits an input: it has one value, or a value for each neuron or channel.

    Raises:
        ValueError: it has another shape.
    """
    fits = len(shape) == len(item) and all(n in (1, size) for n, size in zip(shape, item, strict=True))
    if int(np.prod(shape)) != 1 and not fits:
        raise ValueError(f"its {name} has shape {list(shape)}, and its input is {list(item)}")


def _filled(module: nn.Module, weight: Tensor, values: Any) -> nn.Module:
    """Return a module with the weight and the bias of a node."""
    state = {"weight": weight}
    if "bias" in module.state_dict():
        state["bias"] = _floats("bias", values.bias, 1)
        if state["bias"].shape != weight.shape[:1]:
            raise ValueError(f"its bias has shape {list(state['bias'].shape)}, its weight {list(weight.shape)}")
    module.load_state_dict(state)
    return module


def _check_input(item: Shape, wanted: Shape) -> None:
    if item != wanted:
        raise ValueError(f"it takes an input of shape {list(wanted)}, and its input is {list(item)}")


def _floats(name: str, values: Any, axes: int) -> Tensor:
    """Return weights in float32.

    Raises:
        ValueError: they have another number of axes, or are empty.
    """
    weights = torch.tensor(np.asarray(values), dtype=torch.float32)
    if weights.ndim != axes or not weights.numel():
        raise ValueError(f"its {name} has shape {list(weights.shape)}, and must have {axes} axes")
    if not torch.isfinite(weights).all():
        raise ValueError(f"its {name} has values too large for float32")
    return weights


def _sizes(name: str, values: Any, axes: int, *, least: int = 1) -> Shape:
    """Return a size for each axis; one number is meant for all axes.

    Raises:
        ValueError: there are more or fewer, or one is no whole number of at least `least`.
    """
    given = np.asarray(values)
    sizes = np.broadcast_to(given, (axes,)) if given.size == 1 else given
    if given.dtype.kind not in "iu" or sizes.shape != (axes,) or (sizes < least).any() or (sizes > 2**31 - 1).any():
        raise ValueError(f"its {name} is {given.tolist()}, and must be {axes} whole numbers of at least {least}")
    return tuple(int(size) for size in sizes)
