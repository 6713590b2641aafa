"""Names the cause of a failure of a user's network, and the line of the user's code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tcja_exporters.graph.capture import looks_at_values
from tcja_exporters.libraries import reset
from tcja_exporters.libraries.spikingjelly import in_step_mode, made_for
from tcja_exporters.modules.neurons import spiking_neurons
from tcja_exporters.user_code import kind_and_line, where
from tcja_exporters.user_models.driven import Driven
from tcja_runtime.counting import agree, counted, listed
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput

_SHOWN = 3  # the number of names in a message
_SHAPES = re.compile(r"shape|size|dimension|channels|expected \dD|-D |unpack|out of range|reshape|view", re.IGNORECASE)
_VALUES = re.compile(
    r"item\(\) cannot be called|data-dependent|meta tensors?\b|meta device type tensor to numpy|out of meta"
)

_SHAPES_OF_VALUES = re.compile(r"torch\.nonzero|aten::(_unique|unique|bincount|masked_select|nonzero)")


def failed(driven: Driven, inputs: Floats, error: Exception) -> BadInput:
    """Return the error to raise for a network that failed in float64; it says if the type or the shape is the cause."""
    line = kind_and_line(error) + where(error)
    if spiking_neurons(driven):
        return BadInput(f"the network uses more than the spikes of its neurons, which cannot be exported: {line}")
    others = {} if driven.by_step else {name: t for name, t in made_for(driven.net).items() if t != driven.steps}
    if others and driven.steps:
        steps = listed(sorted({*others.values()}), _SHOWN)
        return BadInput(
            f"{quoted(others)} of SpikingJelly {agree(len(others), 'is', 'are')} made for T = {steps}, and a window "
            f"has {counted(driven.steps, 'time step')}; give a `shape` or "
            f"frames of this T, or train with T = {driven.steps}"
        )
    try:
        reset(driven)
        with torch.no_grad():
            driven.float()(torch.from_numpy(inputs))
    except Exception:  # it fails in float32 too
        if not _SHAPES.search(str(error)):
            return BadInput(f"the network's forward fails: {line}")
        hint = step_mode_hint(driven)
        return BadInput(
            f"the network fails on windows of shape {inputs.shape[1:]}: {line}; {hint or 'see `shape` and `layout`'}"
        )
    return BadInput(
        f"the network runs in float32 only, but the proof runs in float64 ({line}); convert to the type of the "
        "weights, not to a fixed type: x.to(self.conv.weight.dtype), not x.float(). Register stored tensors as "
        "buffers, and create others with dtype=x.dtype"
    )


def step_mode_hint(driven: Driven) -> str:
    """Return what to do if modules of SpikingJelly are in the step mode that the layout does not mean; else nothing."""
    wrong = "m" if driven.by_step else "s"
    names = in_step_mode(driven.net, wrong)
    if not names or not driven.steps:
        return ""
    takes, layout = ("whole windows", "TN") if driven.by_step else ("one time step a call", "step")
    return (
        f"{quoted(names)} of SpikingJelly in step mode '{wrong}' take {takes}: call functional.set_step_mode(network, "
        f"'{'s' if driven.by_step else 'm'}') in the factory, or give `layout` {layout}"
    )


def changed_states(before: nn.Module, after: nn.Module, neurons: Iterable[str]) -> list[str]:
    """Return the names of what a network keeps, outside its neurons, that is not as it was before a run.

    Args:
        before: a copy of the network from before the run.
        after: the network.
        neurons: the names of its neurons.
    """
    own = tuple(f"{name}." for name in neurons)
    was = {**dict(attributes(before)), **dict(before.named_buffers())}
    now = {**dict(attributes(after)), **dict(after.named_buffers())}
    return [name for name, value in now.items() if not name.startswith(own) and not _alike(was.get(name), value)]


def _alike(one: Any, other: Any) -> bool:
    """Whether two attributes are equal; those of types that cannot hold a state of numbers are taken as equal."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return False
    plain = (bool, int, float, str, type(None))
    return not (isinstance(one, plain) and isinstance(other, plain)) or one == other


def failed_without_values(net: nn.Module, error: Exception) -> BadInput:
    """Return the error to raise for a network that does not run on tensors of the meta device (shapes, no values)."""
    text = str(error)
    if _VALUES.search(text):
        return BadInput(looks_at_values(error))
    if _SHAPES_OF_VALUES.search(text):
        return BadInput(
            f"a shape in the network's forward depends on the values of tensors{where(error)}, which cannot be "
            f"exported ({kind_and_line(error)}); replace x[mask], nonzero and unique by torch.where"
        )
    if not re.search("device.*meta", text):
        return BadInput(
            f"the network's forward fails on tensors that have shapes and no values, as an export uses: "
            f"{kind_and_line(error)}{where(error)}"
        )
    plain = [f"'{name}'" for name, value in attributes(net) if isinstance(value, Tensor)]
    return BadInput(
        f"a tensor of the network ({', '.join(plain[:_SHOWN]) or 'made in its forward'}) does not move with the "
        f"network to another device{where(error)}; register stored tensors with self.register_buffer, and create "
        "tensors in forward with device=x.device"
    )


def attributes(model: nn.Module) -> list[tuple[str, Any]]:
    """Return the attributes of all modules, each with its dotted name; parameters, buffers and modules are left out."""
    return [
        (f"{name}.{attribute}".lstrip("."), value)
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if attribute not in ("_parameters", "_buffers", "_modules")
    ]


def quoted(names: Iterable[str]) -> str:
    """Return names in quotes for a message, the first few of many."""
    return listed((f"'{name}'" for name in names), _SHOWN)
