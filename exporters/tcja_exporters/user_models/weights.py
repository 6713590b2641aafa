"""Loads the weights of a checkpoint into a user's network, and says what in the checkpoint is not loaded."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tcja_exporters.checkpoint import keys
from tcja_exporters.checkpoint.constants import check_module, check_neurons
from tcja_exporters.checkpoint.load import Checkpoint, check_values, holds_integers
from tcja_exporters.checkpoint.weight_sets import EXTRA, WeightSet
from tcja_exporters.libraries import recognise
from tcja_exporters.libraries.recognition import class_name
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.counting import listed
from tcja_runtime.errors import BadInput

_SHOWN = 3  # the number of differences or keys in a message
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of batch norm, also of a class of one's own
_OF_TORCH = re.compile(r"torch\.(nn|ao|quantization)(\.|$)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """What was loaded into a user's network.

    Attributes:
        weights: the set of weights.
        lines: what the user should know, a line each: the set of weights that was taken, entries of the checkpoint that
            are left over, and constants of the network that the checkpoint changed or does not have.
    """

    weights: WeightSet
    lines: list[str]


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> Loaded:
    """Load a checkpoint's weights into a user's network.

    The keys of the checkpoint are those of the network, or end as they do: in front may be another prefix, such as
    "module.". The first set of weights that fits is loaded. Counts of tools and the states of neurons are not loaded.

    Raises:
        BadInput: the keys, shapes or types of the checkpoint are not those of the network; several sets of its keys
            fit equally well; the network has lazy layers, which have no shape before they run once; or a saved module
            has other constants than the network.
    """
    lazy = [key for key, value in _tensors(model).items() if is_lazy(value)]
    if lazy:
        raise BadInput(
            f"{class_name(model)} has layers without a shape yet ({lazy[0]}); the factory must run the network once"
        )
    fit = _best(model, checkpoint)
    if fit.differences:
        raise BadInput(
            f"{checkpoint.path} does not fit this {class_name(model)}: {listed(fit.differences, _SHOWN, '; ')}"
        )
    check_values(checkpoint.path, fit.state)
    before = {key: value.clone() for key, value in _constants(model).items()}
    _load(model, fit, checkpoint)
    lines = [*checkpoint.taken(fit.of), *_left(fit), *_replaced(model, fit, before), *_types(fit)]
    if fit.of.module is not None:
        lines += check_module(fit.of.module, model, checkpoint.path)
        lines += check_neurons(fit.of.module, model, checkpoint.path)
    return Loaded(weights=fit.of, lines=lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fit:
    """A set of weights compared with a network, for one prefix of its keys.

    Attributes:
        of: the set of weights.
        prefix: the prefix of the checkpoint's keys; empty, or ends with a dot.
        state: the tensors that the network takes, by its own keys.
        extra: the extra states that its modules take, by its own keys.
        left: the keys of the checkpoint that the network does not take.
        copies: the keys, as `weights` takes them, under which the checkpoint has other weights of this network.
        differences: the differences between the network and the checkpoint, a phrase each.
    """

    of: WeightSet
    prefix: str
    state: dict[str, Tensor]
    extra: dict[str, Any]
    left: list[str]
    copies: list[str]
    differences: list[str]


def _best(model: nn.Module, checkpoint: Checkpoint) -> _Fit:
    """Return the first fit without differences; if there is none, the one with the fewest.

    Raises:
        BadInput: several prefixes of one set of weights fit, and nothing says which is meant.
    """
    own = {keys.unwrapped_key(key): key for key in _tensors(model)}
    common = keys.common_prefix(own)
    wanted = {spelled.removeprefix(common): key for spelled, key in own.items()}
    fits: list[_Fit] = []
    for one in checkpoint.sets:
        state = keys.unwrapped(one.state)
        likely = keys.prefixes(state, wanted)
        copies = [prefix for prefix in likely if prefix and all(prefix + key in state for key in wanted)]
        whole = _fit(model, one, state, _Spelling("", "", own, copies))
        if not whole.differences:
            return whole
        found = [_fit(model, one, state, _Spelling(prefix, common, wanted, copies)) for prefix in likely]
        exact = [fit for fit in found if not fit.differences]
        if len(exact) > 1 and keys.alike(exact[0].prefix, exact[1].prefix):
            known = ", ".join(f"{one.key}.{fit.prefix}".strip(".") for fit in exact)
            raise BadInput(
                f"{checkpoint.path} has several sets of keys that fit this {class_name(model)}; choose one with "
                f"`weights`: {known}"
            )
        if exact:
            return exact[0]
        fits += [whole, *found]
    return min(fits, key=lambda fit: len(fit.differences))


class _Spelling(NamedTuple):
    """The keys of a network as a checkpoint may spell them.

    Attributes:
        prefix: the prefix of the checkpoint's keys; empty, or ends with a dot.
        common: the prefix of the network's keys that the checkpoint does not have.
        wanted: the keys of the network, by the keys that the checkpoint should have after the prefix.
        copies: the prefixes under which the checkpoint has all keys of the network; what is under another of them is
            another set of weights.
    """

    prefix: str
    common: str
    wanted: dict[str, str]
    copies: list[str]


def _fit(model: nn.Module, one: WeightSet, state: dict[str, Tensor], spelling: _Spelling) -> _Fit:
    """Return how a set of weights fits a network; `state` has its tensors without torch's wrappers of modules."""
    own, optional = _tensors(model), {key for key, value in _constants(model).items() if value.numel() == 1}
    prefix, wanted = spelling.prefix, spelling.wanted
    taken = {
        key: state[prefix + spelled]
        for spelled, key in wanted.items()
        if prefix + spelled in state and not _is_old_state(key, state[prefix + spelled], own[key])
    }
    used = {prefix + spelled for spelled, key in wanted.items() if key in taken}
    extra = {key: prefix + keys.unwrapped_key(key).removeprefix(spelling.common) for key in _extra(model)}
    stored = keys.unwrapped(one.extra)
    left = [key for key in (*state, *stored) if key not in {*used, *extra.values()}]
    copied = tuple(copy for copy in spelling.copies if not prefix.startswith(copy))
    missing = [
        f"{key} is missing"
        for key in own
        if key not in taken and key not in optional and not (key.endswith("num_batches_tracked") or keys.is_state(key))
    ] + [f"{key} is missing" for key, spelled in extra.items() if spelled not in stored]
    strange = [
        f"{key} is not part of it"
        for key in left
        if key.startswith(prefix) and not key.startswith(copied) and keys.is_weight(key)
    ]
    shapes = [
        f"{key} is {tuple(value.shape)}, it should be {tuple(own[key].shape)}"
        for key, value in taken.items()
        if value.shape != own[key].shape
    ]
    types = [
        f"{key} has the type {value.dtype}, it should be {own[key].dtype}".replace("torch.", "")
        for key, value in taken.items()
        if own[key].is_floating_point() and holds_integers(value)
    ]
    return _Fit(
        of=one,
        prefix=prefix,
        state=taken,
        extra={key: stored[spelled] for key, spelled in extra.items() if spelled in stored},
        left=left,
        copies=[
            f"{one.key}.{copy}".strip(".") for copy in spelling.copies if not any(k.startswith(copy) for k in used)
        ],
        differences=missing + strange + shapes + types,
    )


def _is_old_state(key: str, stored: Tensor, own: Tensor) -> bool:
    """Whether a stored tensor is the state of a neuron after a batch of another size."""
    return keys.is_state(key) and stored.shape != own.shape


def _extra(model: nn.Module) -> list[str]:
    """Return the keys of the extra states of a network's modules."""
    return [key for key, value in model.state_dict().items() if key.endswith(EXTRA) and not isinstance(value, Tensor)]


def _load(model: nn.Module, fit: _Fit, checkpoint: Checkpoint) -> None:
    """Load what fits into a network.

    Raises:
        BadInput: a module refuses its extra state.
    """
    try:
        model.load_state_dict({**fit.state, **fit.extra}, strict=False)
    except Exception as error:  # a user's module can fail in any way
        line = next((line.strip() for line in reversed(str(error).splitlines())), "") or type(error).__name__
        raise BadInput(f"{checkpoint.path}: loading it into this {class_name(model)} fails: {line}") from error


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a network that a checkpoint stores, by key.

    The states of known neurons are left out: they are not trained, and their shape is that of the last batch.
    """
    states = {
        f"{name}.{key}".lstrip(".")
        for name, module in model.named_modules()
        for key, _ in module.named_buffers(recurse=False)
        if keys.is_state(key) and _is_neuron(name, module)
    }
    return {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor) and key not in states}


def _is_neuron(name: str, module: nn.Module) -> bool:
    try:
        return recognise(name, module) is not None
    except BadInput:  # a neuron that cannot be exported
        return True


def _constants(model: nn.Module) -> dict[str, Tensor]:
    """Return the constants of a network by key: buffers that are no statistics, of modules that are not torch's own."""
    own = _tensors(model)
    return {
        key: own[key]
        for name, module in model.named_modules()
        if not _OF_TORCH.match(type(module).__module__)
        for buffer, _ in module.named_buffers(recurse=False)
        if buffer not in _STATISTICS and (key := f"{name}.{buffer}".lstrip(".")) in own
    }


def _left(fit: _Fit) -> list[str]:
    """Return a line that names the tensors of the checkpoint that are left over; none if all are used."""
    if not fit.left:
        return []
    under = f", those under '{fit.prefix.rstrip('.')}'," if fit.prefix else ""
    tensors = f"{len(fit.state)} of {len(fit.of.state)} tensors of the checkpoint{under}"
    line = f"{CHECK}{tensors} are the network's weights; not loaded: {keys.few(fit.left)}"
    return [f"{line}; choose other weights with `weights`: {listed(fit.copies, _SHOWN)}" if fit.copies else line]


def _replaced(model: nn.Module, fit: _Fit, before: dict[str, Tensor]) -> list[str]:
    """Return lines on the constants that the checkpoint changed in the network, and on those that it does not have."""
    after = _tensors(model)
    changed = [
        f"{key} = {_said(after[key])} in place of {_said(value)}"
        for key, value in before.items()
        if key in fit.state and not torch.equal(value, after[key])
    ]
    kept = [f"{key} = {_said(value)}" for key, value in before.items() if key not in fit.state]
    lines = {
        "constants of the checkpoint in place of the factory's": changed,
        "constants that the checkpoint does not have, with the network's own values": kept,
    }
    return [f"{CHECK}{what}: {listed(named, _SHOWN)}" for what, named in lines.items() if named]


def _said(value: Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else f"{value.numel()} values"


def _types(fit: _Fit) -> list[str]:
    """Return a line that names the types of the weights that are not float32; none if all are."""
    others = sorted({str(value.dtype).removeprefix("torch.") for value in fit.state.values() if _is_other(value)})
    return [f"weights are stored as {', '.join(others)}, and are used as float32"] if others else []


def _is_other(value: Tensor) -> bool:
    return value.is_floating_point() and value.dtype != torch.float32
