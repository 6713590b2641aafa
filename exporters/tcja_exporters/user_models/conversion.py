"""Converts a user's own network: replaces its neurons by ours, and proves that the result does the same.

The neurons of known libraries, and registered neurons, become `SpikingNeuron` or `SteppedNeuron` with the same
constants. Everything else stays as it is. Then both networks run in float64 on the same windows, and every spike of
every layer must agree (`tcja_exporters.user_models.equivalence`).
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tcja_exporters.checkpoint.trained_network import TrainedNetwork
from tcja_exporters.libraries import recognise, reset
from tcja_exporters.libraries.recognition import Recognised, class_name
from tcja_exporters.modules.neurons import SpikingNeuron, SteppedNeuron
from tcja_exporters.reference import recorder
from tcja_exporters.user_models.equivalence import Driven, Proven, prove
from tcja_runtime.choices import LAYOUTS
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.errors import BadInput


def convert(
    model: nn.Module,
    contract: InputContract,
    inputs: Floats,
    *,
    layout: str = "NT",
    name: str = "",
    source: Mapping[str, Any] | None = None,
) -> TrainedNetwork:
    """Replace the neurons of a user's network, and prove that it still does the same.

    Args:
        model: the network, with its weights loaded. Its neurons forget what they hold from earlier runs; nothing else
            of it changes.
        contract: its input.
        inputs: windows [N, *contract.shape], float32, for the proof.
        layout: how its forward takes frames, one of `tcja_runtime.choices.LAYOUTS`; images are always [N, C, H, W].
        name: the name of the network; if empty, the name of its class.
        source: name, sha256 and bytes of its checkpoint; None takes a hash of its weights.

    Raises:
        BadInput: the network has no neurons, or some that cannot be replaced, or does not run on such windows.
        ParityNotMet: the converted network does not do what the original does; the message names the first layer and
            step.
    """
    if layout not in LAYOUTS:
        raise BadInput(f"layout {layout} is none of {', '.join(LAYOUTS)}")
    if contract.name == "images" and layout != "NT":
        raise BadInput(f"layout {layout} is of frames; images are always [N, C, H, W]")
    reset(model)
    original = Driven(_copied(model).eval(), contract, layout)
    converted = copy.deepcopy(original)
    found = _replace_neurons(converted.net)
    if not found:
        raise BadInput(f"{class_name(model)} has no spiking neurons that are known; register its own")
    proven = prove(original, converted, inputs, found, contract)
    converted.float().readout = proven.readout
    try:
        recorder.layers(converted, contract)
    except Exception as error:  # a user's code can fail in any way
        raise _untraceable(converted.net, error) from error
    with torch.no_grad():
        units = converted(torch.from_numpy(inputs[:1])).shape
    return TrainedNetwork(
        name=name or type(model).__name__,
        summary=f"a network of one's own ({class_name(model)})",
        dialect="+".join(sorted({neuron.library for neuron in found.values()})),
        model=converted.eval(),
        contract=contract,
        output="rates",
        classes=tuple(map(str, range(units[1]))) if len(units) == 2 else (),
        time_steps=proven.steps,
        source=dict(source or _hashed(model)),
        evidence=_evidence(model, found, proven, contract, len(inputs)),
    )


def _evidence(
    model: nn.Module, found: Mapping[str, Recognised], proven: Proven, contract: InputContract, windows: int
) -> list[str]:
    """What was replaced and what was proven, one line each, for the manifest."""
    replaced = ", ".join(f"{layer} ({class_name(model.get_submodule(layer))})" for layer in found)
    lines = [
        f"{len(found)} spiking layers of {class_name(model)} replaced: {replaced}",
        f"float64: all spikes agree with the original's, layer by layer, on {windows} windows and one of three "
        "times their values; so do those of each layer's neurons alone, on currents that meet their threshold",
    ]
    if proven.returned > 1:
        lines.append(f"its forward returns {proven.returned} things, of which the first is the answer")
    if contract.name == "images":
        lines.append("images are in [0, 1]: those in whole numbers are divided by 255")
    return lines


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy of a network.

    Raises:
        BadInput: a module holds something that cannot be copied; the message names it.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:  # a module may hold anything
        where = next((name for name, value in _attributes(model) if not _can_be_copied(value)), class_name(model))
        line = str(error).partition("\n")[0].partition(".  ")[0]
        raise BadInput(
            f"'{where}' of the network cannot be copied ({type(error).__name__}: {line}); take it out before "
            "(detach() a tensor, torch.nn.utils.remove_weight_norm)"
        ) from error


def _can_be_copied(value: Any) -> bool:
    try:
        copy.deepcopy(value)
    except Exception:  # a module may hold anything
        return False
    return True


def _attributes(model: nn.Module) -> list[tuple[str, Any]]:
    """The attributes of all modules that are no parameters, buffers or modules, each with its dotted name."""
    return [
        (f"{name}.{attribute}".lstrip("."), value)
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if attribute not in ("_parameters", "_buffers", "_modules")
    ]


def _untraceable(net: nn.Module, error: Exception) -> BadInput:
    """The error of a network that does not run on tensors of the meta device, which have shapes but no values."""
    line = next(iter(str(error).splitlines()), "")
    if not re.search("device.*meta", line):
        return BadInput(f"the network's forward depends on the values of tensors, which cannot be exported: {line}")
    plain = [f"'{name}'" for name, value in _attributes(net) if isinstance(value, Tensor)]
    return BadInput(
        f"a tensor of the network ({', '.join(plain[:3]) or 'made in its forward'}) stays on a device of its own; make "
        "what it holds a buffer with self.register_buffer, and what forward makes with device=x.device"
    )


def _replace_neurons(model: nn.Module) -> dict[str, Recognised]:
    """Replace every neuron of a model, in place; return the original neurons by the name of their module.

    Raises:
        BadInput: a neuron cannot be exported, is used under two names, or is the whole network.
    """
    found: dict[str, Recognised] = {}
    seen: dict[int, str] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        known = recognise(name, module)
        if known is None:
            continue
        if id(module) in seen:
            raise BadInput(
                f"the neuron '{name}' is the same module as '{seen[id(module)]}'; give each layer its own neuron"
            )
        if not name:
            raise BadInput(f"the network is a neuron alone ({class_name(module)}); put it into a network with weights")
        seen[id(module)] = name
        found[name] = known
    for name, known in found.items():
        ours: nn.Module
        if known.calls == "window":
            ours = SpikingNeuron(known.spec, time_axis=known.time_axis, pairs=known.pairs)
        else:
            ours = SteppedNeuron(known.spec, pairs=known.pairs)
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, ours)
    return found


def _hashed(model: nn.Module) -> dict[str, Any]:
    """Name, sha256 and bytes of a network's weights, for a network without a checkpoint file."""
    digest, size = hashlib.sha256(), 0
    for key, value in model.state_dict().items():
        content = value.detach().cpu().contiguous().numpy().tobytes()
        digest.update(key.encode() + content)
        size += len(content)
    return {"name": type(model).__name__, "sha256": digest.hexdigest(), "bytes": size}
