"""Converts a user's own network: replaces its neurons, and proves that the result fires the same spikes.

The neurons of known libraries, and registered neurons, become our neurons with the same constants
(`tcja_exporters.libraries.recognition.Recognised.replacement`). The rest of the network stays as it is. Then the
original and the converted network run in float64 on the same windows, and every spike of every layer must agree
(`tcja_exporters.user_models.equivalence`).
"""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from tcja_exporters.checkpoint.trained_network import TrainedNetwork
from tcja_exporters.libraries import packages, recognise, reset
from tcja_exporters.libraries.recognition import Recognised, class_name
from tcja_exporters.reference import recorder
from tcja_exporters.user_code import kind_and_line, where
from tcja_exporters.user_models.diagnosis import attributes, failed_without_values
from tcja_exporters.user_models.driven import ConvertedNetwork, Driven
from tcja_exporters.user_models.equivalence import Proven, Run, observed, prove
from tcja_exporters.user_models.readout import chosen_output
from tcja_exporters.user_models.usage import settled, with_membranes
from tcja_exporters.user_models.wrappers import unwrap_parts
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.choices import LAYOUTS
from tcja_runtime.counting import counted
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.errors import BadInput, check_choice


def convert(
    model: nn.Module,
    contract: InputContract,
    inputs: Floats,
    *,
    layout: str = "NT",
    name: str = "",
    source: Mapping[str, Any] | None = None,
) -> TrainedNetwork:
    """Return a user's network with its neurons replaced; prove first that it fires the same spikes.

    Args:
        model: the user's network, with its weights loaded. The state of its neurons is reset; the conversion changes
            nothing else in it, because it works on a copy.
        contract: the input of the network.
        inputs: the windows for the proof, [N, *contract.shape], float32.
        layout: the order of the axes in which the network's forward takes frames, one of
            `tcja_runtime.choices.LAYOUTS`. Images are always [N, C, H, W].
        name: the name of the network; if empty, the name of its class.
        source: the name, sha256 and bytes of the network's checkpoint. None: the class name, and the hash and size of
            the weights in memory.

    Raises:
        BadInput: the layout is unknown; the network has no known neuron, or a neuron that cannot be replaced; or the
            network cannot be copied, does not run on the windows, or cannot be exported.
        ParityNotMet: a spike or the output of the converted network differs from the original's. The message names the
            first layer and time step that differ.
    """
    _check_layout(layout, contract)
    reset(model)
    copied = _copied(model).eval()
    _fix_rms_norms(copied)
    unwrap_parts(copied)
    original = Driven(copied, contract, layout)
    found = settled(original, inputs, _exportable_neurons(original.net))
    if all(known.spec.integrates for known in found.values()):
        raise BadInput(f"{class_name(model)} has no known spiking neurons; register its neurons")
    replaced = copy.deepcopy(original)
    _replace(replaced.net, found)
    found = with_membranes(replaced, inputs, found)
    proven = prove(original, replaced, inputs, found)
    taken, how = _called_once(replaced, proven, found) if original.by_step else (replaced, "")
    _compute_parametrized(taken.float().net)
    converted = ConvertedNetwork(taken, proven.readout)
    _run_without_values(converted, taken.net, contract)
    with torch.no_grad():
        units = converted(torch.from_numpy(inputs[:1])).shape
    return TrainedNetwork(
        name=name or type(model).__name__,
        summary=f"a user's network ({class_name(model)})",
        dialect="+".join(sorted({neuron.library for neuron in found.values()})),
        model=converted.eval(),
        contract=contract,
        output="rates",
        classes=tuple(map(str, range(units[1]))) if len(units) == 2 else (),
        time_steps=proven.steps,
        source=dict(source or _hashed(model)),
        evidence=[*_evidence(original.net, found, proven, contract, len(inputs)), *([how] if how else [])],
        packages=_packages(original.net, found),
    )


def _called_once(replaced: Driven, proven: Proven, found: Mapping[str, Recognised]) -> tuple[Driven, str]:
    """Return a network that takes one time step, called once with all steps of a window; prove that it is the same.

    A network that keeps no state besides that of its neurons computes each step alone. So one call on [T * N, ...] has
    the same results, and its model has each layer once, not T times. Any other network is returned as it was given.

    Args:
        replaced: the network with replaced neurons, which is called once a time step.
        proven: the run of the original network.
        found: the recognised original neurons, by the name of their module.

    Returns:
        The network, and a line for the manifest that says how it is called.
    """
    steps = counted(proven.steps, "time step")
    together = replaced.at_once()
    try:
        why = _first_difference(proven.run, observed(together, proven.batch, found))
    except Exception as error:  # a user's code can fail in any way
        cause = error.__cause__ or error
        why = f"called with all of them at once, it fails: {kind_and_line(cause)}{where(cause)}"
    if not why:
        return together, (
            f"forward takes one time step; it is called once for all {steps}, with the same spikes and output in "
            "float64, so the models have each layer once"
        )
    return replaced, (
        f"{CHECK}forward is called once for each of the {steps}, because it does more than compute each step "
        f"alone: {why}"
    )


def _first_difference(theirs: Run, ours: Run) -> str:
    """Return what differs first in two runs; empty if nothing does."""
    if ours.agrees(theirs):
        return ""
    for layer, fired in theirs.spikes.items():
        others = ours.spikes.get(layer)
        if others is None or others.shape != fired.shape:
            return f"'{layer}' gets currents of another shape if all steps are computed at once"
        differs = (others != fired).reshape(len(fired), -1).any(axis=1)
        if differs.any():
            return f"'{layer}' fires otherwise at time step {int(differs.argmax()) + 1} if all are computed at once"
    return "its output differs if all steps are computed at once"


def _check_layout(layout: str, contract: InputContract) -> None:
    """Check that a layout is one, and that images, which have no time steps, have none."""
    check_choice("layout", layout, LAYOUTS)
    if contract.name == "images" and layout != "NT":
        raise BadInput(
            f"`layout` {layout} is for time steps, not for images; for features T,C,L, give `input` features"
        )


def _fix_rms_norms(network: nn.Module) -> None:
    """Give the RMS norms of a network that have no `eps` the one of float32, in place.

    Without an `eps`, PyTorch takes the machine epsilon of the type of the input. The network was trained in float32, so
    its reference in float64 computes with the same number.
    """
    for module in network.modules():
        if isinstance(module, nn.RMSNorm) and module.eps is None:
            module.eps = torch.finfo(torch.float32).eps


def _compute_parametrized(network: nn.Module) -> None:
    """Replace the parametrisations of a network by the values that they compute in float32, in place.

    They are `torch.nn.utils.parametrizations`, such as weight norm. In eval mode the values are constants.
    """
    with torch.no_grad():
        for module in list(network.modules()):
            for name in list(module.parametrizations) if parametrize.is_parametrized(module) else ():  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _run_without_values(converted: ConvertedNetwork, net: nn.Module, contract: InputContract) -> None:
    """Run a converted network on tensors that have shapes and no values, as the export does.

    Raises:
        BadInput: the network fails; the message names what in the user's network is the cause.
    """
    try:
        recorder.layers(converted, contract)
    except Exception as error:  # a user's code can fail in any way
        raise failed_without_values(net, error) from error


def _evidence(
    model: nn.Module, found: Mapping[str, Recognised], proven: Proven, contract: InputContract, windows: int
) -> list[str]:
    """Return the lines for the manifest that say which layers were replaced and what the proof showed."""
    replaced = ", ".join(f"{layer} ({class_name(model.get_submodule(layer))})" for layer in found)
    versions = ", ".join(f"{name} {number}" for name, number in _packages(model, found).items())
    fire = sum(not known.spec.integrates for known in found.values())
    layers = counted(fire, "spiking layer")
    layers += f" and {counted(len(found) - fire, 'integrator')}" if fire < len(found) else ""
    compared = "; membranes of integrators agree, too" if fire < len(found) else ""
    lines = [
        f"{layers} of {class_name(model)} replaced: {replaced}",
        *([f"the neurons and their constants are those of {versions}"] if versions else []),
        f"float64: all spikes agree with the original's, layer by layer, on {counted(windows, 'window')} and on a "
        "further one of about three times their values; the neurons of each layer also agree when they run without the "
        f"network, on currents that often bring them exactly to their threshold{compared}",
    ]
    if output := chosen_output():
        lines.append(f"the output is the value {output} of those that its forward returns, as chosen")
    elif proven.returned > 1:
        lines.append(f"{CHECK}its forward returns {proven.returned} values; the first is the output")
    if contract.name == "images":
        lines.append("images are in [0, 1]: images of integers are divided by 255")
    return lines


def _packages(model: nn.Module, found: Mapping[str, Recognised]) -> dict[str, str]:
    """Return the packages that define the recognised neurons of a model, with their versions."""
    every = (packages(model.get_submodule(layer)) for layer in found)
    return {name: number for each in every for name, number in each.items()}


def check_values(model: nn.Module) -> None:
    """Check that all weights and buffers of a network have values, which those on the device "meta" do not have.

    Raises:
        BadInput: one has no values; the message names it.
    """
    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    empty = next((name for name, value in tensors if value.is_meta), None)
    if empty is not None:
        raise BadInput(f"the weight {empty} of the network has no values (its device is meta); load the weights first")


def _copied(model: nn.Module) -> nn.Module:
    """Return a deep copy of a network, on the processor: networks come from training on a GPU.

    Raises:
        BadInput: a module holds something that cannot be copied; the message names it.
    """
    try:
        return copy.deepcopy(model).cpu()
    except Exception as error:  # a module may hold anything
        where = next((name for name, value in attributes(model) if not _can_be_copied(value)), class_name(model))
        line = str(error).partition("\n")[0].partition(".  ")[0]
        raise BadInput(
            f"'{where}' of the network cannot be copied ({type(error).__name__}: {line}); remove it first "
            "(detach() a tensor, torch.nn.utils.remove_weight_norm)"
        ) from error


def _can_be_copied(value: Any) -> bool:
    """Whether `copy.deepcopy` works on a value."""
    try:
        copy.deepcopy(value)
    except Exception:  # a module may hold anything
        return False
    return True


def neurons(model: nn.Module) -> tuple[dict[str, Recognised], dict[str, BadInput]]:
    """Return the recognised neurons of a model, and an error for each that cannot be exported, by module name.

    A neuron cannot be exported if its class or its constants are refused (`tcja_exporters.libraries.recognise`), if its
    module has two names, or if the network is only this neuron.
    """
    found: dict[str, Recognised] = {}
    refused: dict[str, BadInput] = {}
    seen: dict[int, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        try:
            known = recognise(name, module)
            if known is not None:
                _check_place(name, module, seen)
                found[name] = known
        except BadInput as error:
            refused[name] = error
    return found, refused


def _exportable_neurons(model: nn.Module) -> dict[str, Recognised]:
    """Return the recognised neurons of a model, by module name.

    Raises:
        BadInput: a neuron cannot be exported.
    """
    found, refused = neurons(model)
    for error in refused.values():
        raise error
    return found


def _check_place(name: str, neuron: nn.Module, seen: dict[int, str]) -> None:
    """Check that a neuron is in a network, and has one name; store the name in `seen`, by the id of the module.

    Raises:
        BadInput: it has two names, or is the network.
    """
    if id(neuron) in seen:
        raise BadInput(
            f"the neuron '{name}' is the same module as '{seen[id(neuron)]}'; give each layer its own neuron"
        )
    if not name:
        raise BadInput(f"the network is only a neuron ({class_name(neuron)}); put it into a network with weights")
    seen[id(neuron)] = name


def _replace(model: nn.Module, found: Mapping[str, Recognised]) -> None:
    """Replace the recognised neurons of a model, in place."""
    for name, known in found.items():
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, known.replacement())


def _hashed(model: nn.Module) -> dict[str, Any]:
    """Return the name, sha256 and bytes of a network's weights, for a network without a checkpoint file."""
    digest, size = hashlib.sha256(), 0
    for key, value in model.state_dict().items():
        content = value.detach().cpu().contiguous().numpy().tobytes()
        digest.update(key.encode() + content)
        size += len(content)
    return {"name": type(model).__name__, "sha256": digest.hexdigest(), "bytes": size}
