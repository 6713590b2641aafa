"""A network that a user wrote: its neurons are replaced by ours, and the result is proven to be the same.

The neurons of known libraries, and those that were registered, become `SpikingNeuron` or `SteppedNeuron` with the same
constants; everything else stays as it is. Then both networks run in float64 on the same windows, and every spike of
every layer must agree.
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
from tcja_exporters.user_models.equivalence import Driven, prove
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
    """Take a user's network, trained and with its weights loaded.

    Args:
        model: the network. What its neurons hold from earlier runs is forgotten; nothing else of it changes.
        contract: what it takes in.
        inputs: windows [N, *contract.shape] to prove the replacement on.
        layout: what its forward takes of frames, one of `tcja_runtime.choices.LAYOUTS`; images are always [N, C, H, W].
        name: of the network; its class's otherwise.
        source: name, sha256 and bytes of its checkpoint; a hash of its weights otherwise.

    Raises:
        BadInput: it has no neurons, or some that cannot be replaced, or does not run on such windows.
        ParityNotMet: the replaced network does not do what the original does; the first layer and step is named.
    """
    if layout not in LAYOUTS:
        raise BadInput(f"layout {layout} is none of {', '.join(LAYOUTS)}")
    if contract.name == "images" and layout != "NT":
        raise BadInput(f"layout {layout} is of frames; images are always [N, C, H, W]")
    reset(model)
    original = Driven(_copied(model).eval(), contract, layout)
    replaced = copy.deepcopy(original)
    found = _replaced(replaced.net)
    if not found:
        raise BadInput(f"{class_name(model)} has no spiking neurons that are known; register its own")
    proven = prove(original, replaced, inputs, found, contract)
    replaced.float().readout = proven.readout
    try:
        recorder.layers(replaced, contract)
    except Exception as error:  # a user's code can fail in any way
        raise _untraceable(replaced.net, error) from error
    with torch.no_grad():
        units = replaced(torch.from_numpy(inputs[:1])).shape
    return TrainedNetwork(
        name=name or type(model).__name__,
        summary=f"a network of one's own ({class_name(model)})",
        dialect="+".join(sorted({known.library for known in found.values()})),
        model=replaced.eval(),
        contract=contract,
        output="rates",
        classes=tuple(map(str, range(units[1]))) if len(units) == 2 else (),
        time_steps=proven.steps,
        source=dict(source or _hashed(model)),
        evidence=[
            f"{len(found)} spiking layers of {class_name(model)} replaced: "
            + ", ".join(f"{layer} ({kind})" for layer, kind in _kinds(model, found).items()),
            f"float64: all spikes agree with the original's, layer by layer, on {len(inputs)} windows and one of three "
            "times their values; so do those of each layer's neurons alone, on currents that meet their threshold",
            *(
                [f"its forward returns {proven.returned} things, of which the first is the answer"]
                * (proven.returned > 1)
            ),
            *(["images are in [0, 1]: those in whole numbers are divided by 255"] * (contract.name == "images")),
        ],
    )


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:  # a module may hold anything
        where = next((name for name, value in _attributes(model) if not _is_copied(value)), class_name(model))
        line = str(error).partition("\n")[0].partition(".  ")[0]
        raise BadInput(
            f"'{where}' of the network cannot be copied ({type(error).__name__}: {line}); take it out before "
            "(detach() a tensor, torch.nn.utils.remove_weight_norm)"
        ) from error


def _is_copied(value: Any) -> bool:
    try:
        copy.deepcopy(value)
    except Exception:  # a module may hold anything
        return False
    return True


def _attributes(model: nn.Module) -> list[tuple[str, Any]]:
    """What modules hold besides parameters, buffers and modules, by dotted name."""
    return [
        (f"{name}.{attribute}".lstrip("."), value)
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if attribute not in ("_parameters", "_buffers", "_modules")
    ]


def _untraceable(net: nn.Module, error: Exception) -> BadInput:
    """Why a network cannot be run without values."""
    line = next(iter(str(error).splitlines()), "")
    if not re.search("device.*meta", line):
        return BadInput(f"the network looks at the values of tensors, which a model cannot: {line}")
    plain = [f"'{name}'" for name, value in _attributes(net) if isinstance(value, Tensor)]
    return BadInput(
        f"a tensor of the network ({', '.join(plain[:3]) or 'made in its forward'}) stays on a device of its own; make "
        "what it holds a buffer with self.register_buffer, and what forward makes with device=x.device"
    )


def _replaced(model: nn.Module) -> dict[str, Recognised]:
    """Replace every neuron of a model, and say what each was."""
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


def _kinds(model: nn.Module, found: Mapping[str, Recognised]) -> dict[str, str]:
    return {name: class_name(model.get_submodule(name)) for name in found}


def _hashed(model: nn.Module) -> dict[str, Any]:
    """A hash over a network's weights, in place of a file's."""
    digest, size = hashlib.sha256(), 0
    for key, value in model.state_dict().items():
        content = value.detach().cpu().contiguous().numpy().tobytes()
        digest.update(key.encode() + content)
        size += len(content)
    return {"name": type(model).__name__, "sha256": digest.hexdigest(), "bytes": size}
