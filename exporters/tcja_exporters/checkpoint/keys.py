"""The keys of a checkpoint: how they may differ from those of the network, and which of them are no weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from tcja_exporters.checkpoint.weight_sets import is_average
from tcja_runtime.counting import listed

PREFIXES = ("module", "_orig_mod", "net", "model")
"""The first parts of keys that DistributedDataParallel, torch.compile and training frameworks add to all keys."""

_WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # torch's wrappers of a module
_COUNTS = ("total_ops", "total_params", "n_averaged")  # of the profiler thop, and of torch.optim.swa_utils
_STATES = ("mem", "syn", "syn_exc", "syn_inh", "spk", "v", "v_seq")  # of the neurons of snnTorch and SpikingJelly
_DEEPEST = 32  # the largest number of parts of a prefix
_MOST = 8  # the largest number of prefixes to try
_SHOWN, _LONG = 6, 60  # the largest numbers of keys in a message, and of characters of a key

V = TypeVar("V")


def is_weight(key: str) -> bool:
    """Whether a key that a network does not have may be a weight: it is no count of a tool, and no state of neurons."""
    return key.rpartition(".")[2] not in (*_COUNTS, *_STATES)


def is_state(key: str) -> bool:
    """Whether the last part of a key is the name of a state of neurons."""
    return key.rpartition(".")[2] in _STATES


def unwrapped(state: Mapping[str, V]) -> dict[str, V]:
    """Return a state whose keys are without the parts that torch's wrappers of modules add anywhere in them."""
    return {unwrapped_key(key): value for key, value in state.items()}


def unwrapped_key(key: str) -> str:
    """Return a key without the parts that torch's wrappers of modules add anywhere in it."""
    return ".".join(part for part in key.split(".") if part not in _WRAPPED)


def common_prefix(keys: Iterable[str]) -> str:
    """Return the parts, of `PREFIXES`, with which all keys begin, such as "module.net."; "" if there are none."""
    split = [key.split(".") for key in keys]
    prefix = ""
    for parts in zip(*(parts[:-1] for parts in split), strict=False):
        if len(set(parts)) > 1 or parts[0] not in PREFIXES:
            break
        prefix += f"{parts[0]}."
    return prefix


def few(keys: Iterable[str]) -> str:
    """Return a list of keys for a message; keys that begin with the same part are counted: "criterion.* (2 keys)"."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key.partition(".")[0], []).append(key)
    said = [
        found[0][:_LONG] if len(found) == 1 else f"{top[:_LONG]}.* ({len(found)} keys)" for top, found in groups.items()
    ]
    return listed(said, _SHOWN)


def prefixes(keys: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return the prefixes under which the keys of a checkpoint may be those of a network, the likeliest first.

    Under these prefixes are most of the names with which the network's keys begin. Those come first that are no average
    of the training, that are made of `PREFIXES`, and that are short.

    Args:
        keys: the keys of the checkpoint.
        wanted: the keys of the network.

    Returns:
        Prefixes that end with a dot, or are empty.
    """
    tops = {key.partition(".")[0] for key in wanted}
    found: dict[str, set[str]] = {"": set()}
    for key in keys:
        prefix = ""
        for part in key.split(".", _DEEPEST)[:_DEEPEST]:
            if part in tops:
                found.setdefault(prefix, set()).add(part)
            prefix += f"{part}."
    most = max(map(len, found.values()))
    likely = [prefix for prefix, names in found.items() if len(names) == most]
    return sorted(likely, key=lambda prefix: (*_rank(prefix), len(prefix)))[:_MOST]


def alike(one: str, other: str) -> bool:
    """Whether nothing in two prefixes says which of them is meant."""
    return _rank(one) == _rank(other) == (False, True)


def _rank(prefix: str) -> tuple[bool, bool]:
    return is_average(prefix), not all(part in PREFIXES for part in prefix.split(".")[:-1])
