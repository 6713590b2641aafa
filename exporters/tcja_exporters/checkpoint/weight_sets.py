"""Finds the sets of weights in the content of a checkpoint file, and what else it stores."""

from __future__ import annotations

import argparse
import dataclasses
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tcja_runtime.counting import listed
from tcja_runtime.files.limits import MOST_TENSORS

_PREFERRED = ("net", "model", "state_dict", "model_state_dict")  # under which training scripts store the weights
_AVERAGE = re.compile(r"(?<![a-z])(ema|avg|averaged?|swa|teacher|shadow)(?![a-z])")
EXTRA = "_extra_state"
"""The last part of the key of a module's extra state."""

_OPTIONS = (argparse.Namespace, types.SimpleNamespace)
_DEPTH = 8  # the largest number of containers inside each other
_ENTRIES = 10_000  # the largest number of entries that are looked at, apart from tensors
_FEW = 8  # the largest number of values in a phrase
_BITS = 64  # the largest size of an integer that is shown
_SHOWN = 40  # the largest number of characters of a value in a message


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightSet:
    """A set of weights in a checkpoint.

    Attributes:
        key: the path of keys to it, such as "model" or "model.state_dict"; "" if the file is a bare state_dict.
        state: the tensors by key, in the order of the file.
        extra: the extra states of modules by key (``get_extra_state`` of torch.nn.Module), if they are no tensors.
        module: the saved module that has these weights; None if the file stores a state_dict.
    """

    key: str
    state: dict[str, Tensor]
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    module: nn.Module | None = None

    @property
    def name(self) -> str:
        """The set in words, for messages."""
        return f"'{self.key}'" if self.key else "the bare state_dict"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """The content of a checkpoint file.

    Attributes:
        sets: the sets of weights; first the one that is meant if nobody chooses.
        beside: the values that are not weights, by the path of keys. A value that is no number, text or None is
            replaced by a `Described`.
    """

    sets: list[WeightSet]
    beside: dict[str, Any]


class Described(str):
    """A value that is not shown itself, in words, such as "a list"."""


def is_average(key: str) -> bool:
    """Whether a key says that its weights are an average over the training, such as "model_ema"."""
    return bool(_AVERAGE.search(key.lower()))


class TooManyTensors(ValueError):
    """The sets of weights in a checkpoint have too many tensors to look for a network in them."""


def contents(content: Any) -> Contents:
    """Return the sets of weights in the object that a checkpoint file holds, and what else it holds.

    Raises:
        TooManyTensors: they have more tensors than `tcja_runtime.files.limits.MOST_TENSORS`.
    """
    sets: list[WeightSet] = []
    beside: dict[str, Any] = {}
    seen, count = set[int](), 0
    queue: list[tuple[tuple[str, ...], Any]] = [((), content)]
    # The queue grows while it is read: all entries of a level, then those of the next.
    for i, (path, value) in enumerate(queue):
        key = ".".join(path)
        entries = None if isinstance(value, Tensor) else _entries(value)
        if entries is None or len(path) > _DEPTH or i > _ENTRIES or id(value) in seen:
            beside[key] = _described(value)
            continue
        seen.add(id(value))
        if "param_groups" in entries:
            beside[key] = Described("the state of an optimizer")
            continue
        stored = _state_dict(value) if isinstance(value, nn.Module) else entries
        tensors = {name: entry for name, entry in stored.items() if _has_shape(entry)}
        count += len(tensors)
        if count > MOST_TENSORS:
            raise TooManyTensors(f"it has more than {MOST_TENSORS:,} tensors with names")
        state = {name: entry.detach() for name, entry in tensors.items()}
        extra = {name: entry for name, entry in stored.items() if name.endswith(EXTRA) and name not in state}
        if isinstance(value, (list, tuple)):  # tensors without names are not weights
            entries, state = {**entries, **{name: Described("a tensor") for name in state}}, {}
        if state:
            module = value if isinstance(value, nn.Module) else None
            sets.append(WeightSet(key=key, state=state, extra=extra, module=module))
        queue += [((*path, name), each) for name, each in entries.items() if name not in state and name not in extra]
    beside.pop("", None)
    if not all(map(_has_no_matrix, sets)):  # tensors beside matrices are values, such as the state of a generator
        for one in filter(_has_no_matrix, sets):
            beside |= {f"{one.key}.{name}".lstrip("."): _value(tensor) for name, tensor in one.state.items()}
        sets = [one for one in sets if not _has_no_matrix(one)]
    return Contents(sets=sorted(sets, key=_preference), beside=beside)


def summary(beside: Mapping[str, Any]) -> list[str]:
    """Return what a checkpoint stores beside its weights: a phrase for each of the outermost keys."""
    inside: dict[str, list[tuple[str, Any]]] = {}
    for key, value in beside.items():
        outer, _, rest = key.partition(".")
        inside.setdefault(outer, []).append((rest, value))
    return [
        f"{outer} = {values[0][1]}"
        if not values[0][0]
        else f"{outer} ({listed((f'{key} = {value}' for key, value in values), _FEW)})"
        for outer, values in inside.items()
    ]


def _entries(value: Any) -> dict[str, Any] | None:
    """Return the entries of a container by name; None if a value is no container. A module has no entries."""
    if isinstance(value, nn.Module):
        return {}
    if isinstance(value, _OPTIONS) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return dict(vars(value))
    if isinstance(value, Mapping):
        try:
            return dict(_named(value))
        except Exception:  # a mapping of another package may fail on a missing value
            return None
    if isinstance(value, (list, tuple)) and any(isinstance(entry, (Mapping, nn.Module)) for entry in value):
        return {str(i): entry for i, entry in enumerate(value)}
    return None


def _state_dict(module: nn.Module) -> dict[str, Any]:
    """Return the state_dict of a saved module; it is empty if the module does not work with this version of torch."""
    try:
        return dict(module.state_dict())
    except Exception:  # a module of another version may lack anything
        return {}


def _named(value: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a mapping by name. A tensor under a key that is no text is no weight."""
    for key, entry in value.items():
        unnamed = isinstance(entry, Tensor) and not isinstance(key, str)
        yield str(key), Described("a tensor") if unnamed else entry


def _described(value: Any) -> Any:
    """Return a value if it is a number or a short text, else a description of it."""
    if isinstance(value, int) and value.bit_length() > _BITS:  # Python writes none of thousands of digits
        return Described(f"a number of {value.bit_length():,} bits")
    if isinstance(value, (bool, int, float, Described)) or value is None:
        return value
    if isinstance(value, str) and len(value) <= _SHOWN:
        return value
    kind = type(value).__name__
    return Described(f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}")


def _has_shape(value: Any) -> bool:
    """Whether a value is a tensor with one shape. A nested tensor has none, so it is no weight."""
    return isinstance(value, Tensor) and not value.is_nested


def _has_no_matrix(found: WeightSet) -> bool:
    return found.module is None and all(value.ndim < 2 for value in found.state.values())


def _value(tensor: Tensor) -> Any:
    """Return the value of a tensor that holds one number, else a description of the tensor."""
    plain = tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_quantized or tensor.is_complex())
    return tensor.item() if plain and tensor.numel() == 1 else Described("a tensor")


def _preference(found: WeightSet) -> tuple[bool, int, bool]:
    """Return the sort key of a set of weights: averages last; the usual keys first, in their order."""
    first, *_ = found.key.split(".")
    rank = _PREFERRED.index(first) if first in _PREFERRED else len(_PREFERRED)
    return is_average(found.key), rank, bool(found.key)
