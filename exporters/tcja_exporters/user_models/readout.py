"""Finds the output of a user's network in its return value, and the axes of batch and time in the output."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from tcja_exporters.modules.layers import Readout
from tcja_runtime.counting import an, counted, listed
from tcja_runtime.errors import BadInput

Shape = tuple[int, ...]


_chosen: contextvars.ContextVar[str] = contextvars.ContextVar("output", default="")
_SHOWN = 6  # the number of keys in a message


@contextlib.contextmanager
def output_chosen(output: str | None) -> Iterator[None]:
    """In this context, networks that are driven return a chosen one of several values.

    Args:
        output: an index of the tuple or list that the network returns, or a key of its dict; None for no choice.
    """
    token = _chosen.set(output or "")
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen_output() -> str:
    """Return the choice of the context; empty if there is none."""
    return _chosen.get()


def answer_of(returned: Any, output: str = "") -> Tensor:
    """Return the output in the return value of a network: the value, or its first item if it is a tuple or list.

    The further items are taken as states, unless one of them is chosen.

    Args:
        returned: the return value.
        output: an index of a tuple or list, or a key of a dict; empty for the first item.

    Raises:
        BadInput: the output is not a tensor of floating-point numbers, or there is no such value.
    """
    returned = _value(returned, output) if output else returned
    several = isinstance(returned, (tuple, list))
    if several and not returned:
        raise BadInput(f"the network returns an empty {type(returned).__name__}; it must return a tensor [N, classes]")
    answer = returned[0] if several else returned
    if not isinstance(answer, Tensor):
        kind = an(type(answer).__name__)
        if isinstance(answer, Mapping) and answer is returned:
            keys = listed(list(map(str, answer)), _SHOWN)
            raise BadInput(f"the network returns {kind} with the keys {keys}; choose the output with `output`")
        raise BadInput(f"the network returns {kind}; it must return a tensor, or a tuple that begins with it")
    if not answer.is_floating_point():
        kind = str(answer.dtype).removeprefix("torch.")
        raise BadInput(f"the network returns {kind}; return floating-point scores, such as the mean of its spikes")
    return answer


def _value(returned: Any, output: str) -> Any:
    """Return the chosen one of several values.

    Raises:
        BadInput: there is no such value.
    """
    if isinstance(returned, Mapping):
        names = {str(key): value for key, value in returned.items()}
    elif isinstance(returned, (tuple, list)):
        names = {str(i): value for i, value in enumerate(returned)}
    else:
        raise BadInput(f"`output` {output} chooses one of several values, and the network returns one; leave it out")
    if output not in names:
        raise BadInput(f"`output` {output} is not one of the network's values: {listed(list(names), _SHOWN)}")
    return names[output]


def check_other_tensors(returned: Any, layers: Collection[Shape], *, by_step: bool) -> None:
    """Check that no tensor after the first could be the output of a network that returns several.

    States may follow the output: tensors of the shape of a spiking layer, and values that are not tensors.

    Args:
        returned: the return value of the network.
        layers: the shapes of the network's spiking layers, without the axes of time and batch.
        by_step: whether the network is called once a time step; its tensors are then not the outputs of the time steps.

    Raises:
        BadInput: a further tensor could be the output.
    """
    tensors = [value for value in returned if isinstance(value, Tensor)] if isinstance(returned, (tuple, list)) else []
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(shapes) > 1 and len({*shapes}) == 1 and len(shapes[0]) != 3 and not by_step:
        raise BadInput(
            f"the network returns {len(shapes)} tensors of shape {list(shapes[0])}; if they are the outputs of "
            "the time steps, return torch.stack(outputs, 1), which is [N, T, classes], or their mean; otherwise choose "
            "one with `output`"
        )
    for shape in shapes[1:]:
        if len(shape) > 1 and not {shape[1:], shape[2:]} & {*layers}:
            raise BadInput(
                f"the network returns tensors of shapes {list(shapes[0])} and {list(shape)}, and the second "
                "has no spiking layer's shape, so it could be the output too; choose one with `output`"
            )


def choose_readout(alone: Shape, together: Shape, steps: int) -> nn.Module:
    """Return the module that turns the output of a network into one result a window, [N, ...].

    It is a `Readout`, which averages over time, if the output has a time axis; otherwise it is an Identity.

    Args:
        alone: the shape of the output for one window.
        together: the shape of the output for several windows; the batch is the axis in which both shapes differ.
        steps: the number of time steps, T.

    Raises:
        BadInput: the output is empty, has no batch axis, or is not laid out as one of [N, ...], [T, N, classes] and
            [N, T, classes]; or two axes could be time.
    """
    axes = [i for i, (one, several) in enumerate(zip(alone, together, strict=False)) if one != several]
    if 0 in together:
        raise BadInput(f"the network returns shape {list(together)}, which is empty; it must return [N, classes]")
    if axes == [1] and len(alone) == 3 and alone[0] == steps:
        return Readout(time_axis=0)
    if axes != [0] or len(alone) < 2:
        raise BadInput(
            f"the network returns shape {list(together)} for windows of {counted(steps, 'step')}; it must "
            "return [N, classes], [T, N, classes] or [N, T, classes]"
        )
    if len(alone) != 3 or steps not in alone[1:]:
        return nn.Identity()
    if alone[1] != steps:
        raise BadInput(
            f"the network returns [N, {alone[1]}, {alone[2]}] for {counted(steps, 'time step')}, with the time axis "
            "last; return "
            "[N, T, classes], or the mean over time"
        )
    if alone[2] == steps > 1:
        raise BadInput(
            f"the network returns [N, {steps}, {steps}], in which both last axes could be the {steps} time steps; "
            "return [T, N, classes], which is clear, or the mean over time"
        )
    return Readout(time_axis=1)
