"""What a user's network returns: finds the tensor that is its answer, and the axis of time in it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from tcja_exporters.modules.layers import Readout
from tcja_runtime.errors import BadInput

Shape = tuple[int, ...]


def answer_of(returned: Any) -> Tensor:
    """The answer of a network: what it returns, or the first of several things; the others are states.

    Raises:
        BadInput: the answer is no tensor of floating-point numbers.
    """
    several = isinstance(returned, (tuple, list))
    if several and not returned:
        raise BadInput(f"the network returns an empty {type(returned).__name__}; it must return a tensor [N, classes]")
    answer = returned[0] if several else returned
    if not isinstance(answer, Tensor):
        kind = type(answer).__name__
        raise BadInput(f"the network returns a {kind}; it must return a tensor, or a tuple that begins with it")
    if not answer.is_floating_point():
        kind = str(answer.dtype).removeprefix("torch.")
        raise BadInput(f"the network returns {kind}; return floating-point scores, such as the mean of its spikes")
    return answer


def check_other_tensors(returned: Any, layers: Collection[Shape], *, by_step: bool) -> None:
    """Refuse a network that returns several tensors if another one than the first could be the answer.

    States may follow the answer: tensors in the shape of a spiking layer, and anything that is no tensor.

    Args:
        returned: what the network returns.
        layers: the shapes of its spiking layers, without time and batch.
        by_step: whether the network is called once a time step; it then cannot return one tensor for each step.

    Raises:
        BadInput: a further tensor could be the answer.
    """
    tensors = [value for value in returned if isinstance(value, Tensor)] if isinstance(returned, (tuple, list)) else []
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(shapes) > 1 and len({*shapes}) == 1 and len(shapes[0]) != 3 and not by_step:
        raise BadInput(
            f"the network returns {len(shapes)} tensors of shape {list(shapes[0])}; if they are of the time steps, "
            "return torch.stack(outputs, 1), which is [N, T, classes], or their mean, else the answer alone"
        )
    for shape in shapes[1:]:
        if len(shape) > 1 and not {shape[1:], shape[2:]} & {*layers}:
            raise BadInput(
                f"the network returns tensors of shapes {list(shapes[0])} and {list(shape)}, and the latter, which is "
                "no spiking layer's state, could as well be the answer; return the one to export alone"
            )


def choose_readout(alone: Shape, together: Shape, steps: int) -> nn.Module:
    """The module that turns what a network returns into one answer a window, [N, ...]; it averages over time.

    Args:
        alone: the shape of what the network returns for one window.
        together: the shape of what it returns for several windows; the batch is the axis where both differ.
        steps: T.

    Raises:
        BadInput: the shapes have no axis of their own for the batch, or more than one axis could be time.
    """
    axes = [i for i, (one, several) in enumerate(zip(alone, together, strict=False)) if one != several]
    if 0 in together:
        raise BadInput(f"the network returns shape {list(together)}, which is empty; it must return [N, classes]")
    if axes == [1] and len(alone) == 3 and alone[0] == steps:
        return Readout(time_axis=0)
    if axes != [0] or len(alone) < 2:
        raise BadInput(
            f"the network returns shape {list(together)} for windows of {steps} steps; it must "
            "return [N, classes], [T, N, classes] or [N, T, classes]"
        )
    if len(alone) != 3 or steps not in alone[1:]:
        return nn.Identity()
    if alone[1] != steps:
        raise BadInput(
            f"the network returns [N, {alone[1]}, {alone[2]}] for {steps} time steps, its time axis last; return "
            "[N, T, classes], or the mean over time"
        )
    if alone[2] == steps > 1:
        raise BadInput(
            f"the network returns [N, {steps}, {steps}], of which either axis could be the {steps} time steps; return "
            "[T, N, classes], which is clear, or the mean over time"
        )
    return Readout(time_axis=1)
