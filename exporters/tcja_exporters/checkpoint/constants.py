"""Compares the constants that a checkpoint tells with those of the network that gets its weights.

A state_dict stores no constants of neurons in most libraries. But a saved module has them as attributes, and training
scripts save their options beside the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tcja_exporters.checkpoint import keys
from tcja_exporters.libraries import recognise
from tcja_exporters.libraries.recognition import class_name
from tcja_exporters.modules.neurons import Neuron
from tcja_exporters.user_code import kind_and_line
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.constant_arrays import Constant, array_of, constant
from tcja_runtime.counting import an, listed
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec

_SHOWN = 3  # the number of layers or attributes in a message
_MOST = 6  # the largest number of lines on options
_TRAINING = ("training", "inplace", "p", "momentum")  # attributes that change nothing in eval mode
_STEPS = ("T", "time_steps", "timesteps", "time_step", "num_time_steps", "n_time_steps")
_THRESHOLDS = ("v_threshold", "v_th", "vth", "v_thr", "vthr", "thresh", "threshold")


def check_neurons(saved: nn.Module, network: nn.Module, path: Path) -> list[str]:
    """Compare the neurons of a saved module with those of the network, layer by layer.

    Args:
        saved: the module in the checkpoint.
        network: the network that gets its weights.
        path: the checkpoint, for messages.

    Returns:
        A line on what was compared.

    Raises:
        BadInput: the constants of a layer differ; or a neuron cannot be exported.
    """
    theirs, ours = _specs(saved), _specs(network)
    if not theirs:
        return [f"{CHECK}the saved module has no known neurons, so their constants are not compared with the network's"]
    if len(theirs) != len(ours):
        return [
            f"{CHECK}the saved module has {len(theirs)} known spiking layers, the network has {len(ours)}; their "
            "constants are not compared"
        ]
    by_name = theirs if theirs.keys() == ours.keys() else dict(zip(ours, theirs.values(), strict=True))
    for layer, spec in ours.items():
        if by_name[layer] != spec:
            raise BadInput(
                f"the module saved in {path} and the network differ in the neurons of layer '{layer}': "
                f"{by_name[layer].rules} in the checkpoint, {spec.rules} in the network; give the network the "
                "constants that it was trained with, or save the state_dict alone if the network's are right"
            )
    layers = f"all {len(ours)} spiking layers" if len(ours) > 1 else "its spiking layer"
    return [f"the saved module has the same neuron constants in {layers}"]


def check_module(saved: nn.Module, network: nn.Module, path: Path) -> list[str]:
    """Compare the attributes of the layers of a saved module with those of the network's layers of the same name.

    Returns:
        Up to three lines: on the layers whose classes differ, on those that only one of the two has, and on the
        attributes of the user's own classes that differ.

    Raises:
        BadInput: an attribute of one of torch's layers differs, such as the stride of a convolution.
    """
    check_layers(saved, network, path)
    theirs, ours = _layers(saved), _layers(network)
    both = sorted(theirs.keys() & ours.keys())
    classes = [
        f"{name or 'the whole'} ({an(type(theirs[name]).__name__)}, here {an(type(ours[name]).__name__)})"
        for name in both
        if type(theirs[name]).__name__ != type(ours[name]).__name__
    ]
    attributes = [said for name in both for said in _differing(name, theirs[name], ours[name])]
    missing = sorted(theirs.keys() ^ ours.keys())
    return [
        *_line("layers of the saved module that are of another class in the network: ", classes),
        *_line("layers that only one of the saved module and the network has: ", missing),
        *_line("attributes of the saved module that differ: ", attributes),
    ]


def check_layers(saved: nn.Module, network: nn.Module, path: Path, among: tuple[str, ...] = ()) -> None:
    """Compare the attributes of torch's layers of the same class and name in a saved module and in the network.

    Args:
        saved: the module in the checkpoint.
        network: the network that gets its weights.
        path: the checkpoint, for messages.
        among: the names of the attributes to compare; empty compares all that matter in eval mode.

    Raises:
        BadInput: an attribute differs.
    """
    theirs, ours = _layers(saved), _layers(network)
    for name in theirs.keys() & ours.keys():
        if not type(theirs[name]).__module__.startswith("torch.nn."):
            continue
        for said in _differing(name, theirs[name], ours[name], among):
            raise BadInput(f"the module saved in {path} is not this network: {said}")


def attributes(saved: nn.Module) -> dict[str, Any]:
    """Return the numbers in a saved module's layers that are not torch's, by layer and attribute."""
    return {
        f"{name}.{attribute}".lstrip("."): value
        for name, module in _layers(saved).items()
        if not type(module).__module__.startswith("torch.nn.")
        for attribute, value in _constants(module).items()
    }


def _differing(name: str, one: nn.Module, other: nn.Module, among: tuple[str, ...] = ()) -> list[str]:
    """Return a phrase for each attribute that differs in two layers; none if the layers are of different classes."""
    if type(one).__name__ != type(other).__name__:
        return []
    theirs, ours = _constants(one), _constants(other)
    return [
        f"{name}.{key}".lstrip(".") + f" is {value} in the checkpoint, {ours[key]} in the network"
        for key, value in theirs.items()
        if key in ours and (not among or key in among) and not _same(value, ours[key])
    ]


def remarks(beside: Mapping[str, Any], neurons: Mapping[str, NeuronSpec], time_steps: int) -> list[str]:
    """Return a line for each option in a checkpoint that clearly names a constant, and contradicts the network.

    Args:
        beside: the values in the checkpoint that are not weights, by the path of keys.
        neurons: the constants of the spiking layers, by name.
        time_steps: the number of time steps of the network, T.
    """
    found = []
    for key, stored in beside.items():
        name, value = key.rpartition(".")[2], _number(stored)
        if value is None:
            continue
        if name in _STEPS and value != time_steps:
            found.append(f"{CHECK}the checkpoint says {key} = {value:g}, but T is {time_steps} here")
        elif not neurons or not math.isfinite(value):  # an infinite threshold is of no spiking layer
            continue
        elif name in _THRESHOLDS and not any(_near(spec.threshold, value) for spec in neurons.values()):
            found.append(_contradiction(key, value, {spec.fire_rule for spec in neurons.values()}))
        elif name == "v_reset" and not any(_near(spec.v_reset, value) for spec in neurons.values()):
            found.append(_contradiction(key, value, {f"reset {spec.reset_rule}" for spec in neurons.values()}))
        elif name == "tau" and not any(_has_tau(spec, value) for spec in neurons.values()):
            found.append(_contradiction(key, value, {spec.charge_rule for spec in neurons.values()}))
    return found[:_MOST]


def _contradiction(key: str, value: float, rules: set[str]) -> str:
    known = ", ".join(sorted(rules)[:_SHOWN])
    return f"{CHECK}the checkpoint says {key} = {value:g}, but no spiking layer has it: {known}"


def _has_tau(spec: NeuronSpec, tau: float) -> bool:
    """Whether a neuron has this tau: a time constant, as in SpikingJelly, or the factor of the membrane, as in TET."""
    return _near(spec.decay, tau) or (tau > 0 and _near(constant("decay", 1.0 - array_of(spec.decay)), 1.0 / tau))


def _near(one: Constant, other: float) -> bool:
    """Whether a constant, or one of its values, is a number, up to the rounding of float32."""
    return any(math.isclose(value, other, rel_tol=1e-6) for value in array_of(one).flat)


def _number(stored: Any) -> float | None:
    """Return a number, or one that is stored as text, as in the metadata of safetensors; None for other values."""
    if isinstance(stored, bool) or not isinstance(stored, (int, float, str)):
        return None
    try:
        return float(stored)
    except (ValueError, OverflowError):
        return None


def _specs(model: nn.Module) -> dict[str, NeuronSpec]:
    """Return the constants of the known neurons of a model by layer, without prefixes that all layers have.

    Raises:
        BadInput: a neuron cannot be exported, or its constants cannot be read.
    """
    found: dict[str, NeuronSpec] = {}
    for name, module in model.named_modules():
        try:
            known = module if isinstance(module, Neuron) else recognise(name, module)
        except BadInput:
            raise
        except Exception as error:  # a module that another version saved may lack anything
            raise BadInput(
                f"the constants of the neuron '{name}' ({class_name(module)}) cannot be read ({kind_and_line(error)}); "
                "save the state_dict alone"
            ) from error
        if known is not None:
            found[name] = known.spec
    prefix = keys.common_prefix(found)
    return {name.removeprefix(prefix): spec for name, spec in found.items()}


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules of a model by name, without torch's wrappers and the prefixes that all names have."""
    named = keys.unwrapped(dict(model.named_modules()))
    leaves = [name for name, module in named.items() if not list(module.children())]
    prefix = keys.common_prefix(leaves)
    return {f"{name}."[len(prefix) : -1]: module for name, module in named.items() if f"{name}.".startswith(prefix)}


def _constants(module: nn.Module) -> dict[str, Any]:
    """Return the attributes of a module that are numbers, texts or tuples of these, and matter in eval mode."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in _TRAINING and isinstance(value, (bool, int, float, str, tuple))
    }


def _same(one: Any, other: Any) -> bool:
    """Whether two attributes are equal; torch's layers take a size as a number or as a tuple of equal numbers."""
    if isinstance(one, tuple) != isinstance(other, tuple):
        sizes, size = (one, other) if isinstance(one, tuple) else (other, one)
        return all(value == size for value in sizes)
    return bool(one == other)


def _line(title: str, items: list[str]) -> list[str]:
    return [CHECK + title + listed(sorted(items), _SHOWN)] if items else []
