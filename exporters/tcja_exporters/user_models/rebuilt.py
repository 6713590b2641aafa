"""Builds a user's network a second time, with other random numbers: what differs is not in the checkpoint.

A factory may draw constants at random, such as a mask that no state_dict holds. The trained values are then lost, and
each call of the factory gives another network.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tcja_exporters.checkpoint import keys
from tcja_exporters.checkpoint.load import Checkpoint
from tcja_exporters.libraries import recognise, reset
from tcja_exporters.user_models.diagnosis import attributes, quoted
from tcja_exporters.user_models.driven import Driven
from tcja_exporters.user_models.factory import from_factory
from tcja_exporters.user_models.running import run
from tcja_exporters.user_models.weights import load_weights
from tcja_exporters.user_models.wrappers import network_inside, unwrap_parts
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.errors import BadInput, first_line
from tcja_runtime.neuron import NeuronSpec

_SEED = 0x7C1A
_DEEPEST = 4  # the levels of lists, dictionaries and objects in an attribute
_NUMBERS = (bool, int, float, complex, str)
_OF_ALL_MODULES = {*vars(nn.Module())} | {"_parameters", "_buffers", "_modules"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """A network that a factory has built.

    Attributes:
        path: the import path of the factory, ``pkg.mod:factory``.
        network: the network, with the weights of the checkpoint.
        checkpoint: the checkpoint; None if the factory loads the weights itself.
    """

    path: str
    network: nn.Module
    checkpoint: Checkpoint | None


def check_rebuilt(built: Built, contract: InputContract, layout: str, inputs: Floats) -> list[str]:
    """Call a factory a second time, with other random numbers, and compare the network with the first.

    Args:
        built: the network of the first call. Its neurons are reset.
        contract: the input of the network.
        layout: the order of the axes in which the network takes frames.
        inputs: windows [N, *contract.shape] on which both networks run.

    Returns:
        A line on what was compared, or on why nothing was; none if the path is that of one network, which is not built.

    Raises:
        BadInput: the networks differ in what the checkpoint does not have.
    """
    path = built.path
    try:
        second = _again(built)
        if second is built.network:
            return []
        one, other = (_driven(net, contract, layout) for net in (built.network, second))
        constants, others = _differing(one.net, other.net)
    except Exception as error:  # a factory may be made for one call
        why = first_line(error).removeprefix(f"`model` {path}: ")
        return [f"{CHECK}{path} cannot be called twice ({why}), so its random constants are not found"]
    parts = [] if constants else _computing_otherwise(one, other, inputs)
    if parts is None:
        return [
            f"{CHECK}{path}, called again with other random numbers, gives the same constants; runs were not compared"
        ]
    if not constants and not parts:
        return [f"{path}, called again with other random numbers, builds the same network"]
    names = constants or others
    if built.checkpoint is None:
        return [
            f"{CHECK}{path} builds another network each time it is called ({quoted(names or parts)} differ), and "
            "no checkpoint was given; the bundle has the network of this call"
        ]
    if names:
        are = "is" if len(names) == 1 else "are"
        raise BadInput(
            f"{quoted(names)} {are} not in the checkpoint, and {are} different each time {path} is called; give the "
            "factory the values that the network was trained with, or a fixed seed if it was trained with the same one "
            "(self.register_buffer stores a tensor in later checkpoints)"
        )
    raise BadInput(
        f"{quoted(parts[:1]) if parts[0] else 'the network'} computes something else each time {path} is called, "
        "although the weights are the same: the factory draws random numbers that the checkpoint does not have; give "
        "it the values that the network was trained with"
    )


def _again(built: Built) -> nn.Module:
    """Return the network of a second call, with the weights of the checkpoint."""
    with _other_random_numbers():
        second = network_inside(from_factory(built.path).network)
    kind, other = type(built.network).__qualname__, type(second).__qualname__
    if kind != other:
        raise BadInput(f"the first call returns {kind}, the second {other}")
    if built.checkpoint and second is not built.network:
        load_weights(second, built.checkpoint)
    return second


def _driven(network: nn.Module, contract: InputContract, layout: str) -> Driven:
    """Return a copy of a network, from rest."""
    reset(network)
    copied = copy.deepcopy(network).eval()
    unwrap_parts(copied)
    return Driven(copied, contract, layout)


@contextlib.contextmanager
def _other_random_numbers() -> Iterator[None]:
    """A context in which torch, numpy and Python draw other random numbers; afterwards they go on as before."""
    of_torch, of_numpy, of_python = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(_SEED)
    np.random.seed(_SEED)
    random.seed(_SEED)
    try:
        yield
    finally:
        torch.set_rng_state(of_torch)
        np.random.set_state(of_numpy)
        random.setstate(of_python)


def _differing(one: nn.Module, other: nn.Module) -> tuple[list[str], list[str]]:
    """Return the names of the constants that differ in two networks: those that matter, and those that may not.

    Tensors and the constants of neurons matter. Other numbers and texts may be about anything, such as the time of the
    call, and states of neurons have no effect if the neuron is reset.
    """
    ours, theirs = dict(_constants(one)), dict(_constants(other))
    names = [name for name, value in ours.items() if name in theirs and not _same(value, theirs[name])]
    known, specs = _neurons(one), _neurons(other)
    neurons = [name for name, spec in known.items() if specs.get(name, spec) != spec]
    matter = [
        name
        for name in names
        if name.rpartition(".")[0] in neurons or not (isinstance(ours[name], _NUMBERS) or keys.is_state(name))
    ]
    return matter or neurons, [name for name in names if name not in matter]


def _neurons(network: nn.Module) -> dict[str, NeuronSpec]:
    """Return the constants of the known neurons of a network, by the name of their module."""
    found = {name: recognise(name, module) for name, module in network.named_modules()}
    return {name: known.spec for name, known in found.items() if known}


def _constants(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the tensors, arrays, numbers and texts of a network: parameters, buffers and attributes, by dotted name."""
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)
    for name, value in attributes(network):
        if name.rpartition(".")[2] not in _OF_ALL_MODULES:
            yield from _inside(name, value, _DEEPEST)


def _inside(name: str, value: Any, levels: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (Tensor, np.ndarray, np.number, *_NUMBERS)):
        yield name, value
    elif isinstance(value, nn.Module):  # one in a list, which torch does not know as a part
        yield from ((f"{name}.{key}", each) for key, each in _constants(value))
    elif levels > 0:
        if isinstance(value, (list, tuple)):
            inner: Iterable[tuple[Any, Any]] = enumerate(value)
        else:
            inner = (value if isinstance(value, dict) else getattr(value, "__dict__", {})).items()
        for key, each in inner if not isinstance(value, type) and not callable(value) else ():
            yield from _inside(f"{name}.{key}", each, levels - 1)


def _same(one: Any, other: Any) -> bool:
    """Whether two constants are equal; those that cannot be compared are taken as equal."""
    try:
        if not isinstance(one, Tensor):
            return type(one) is type(other) and np.array_equal(one, other, equal_nan=isinstance(one, float))
        nans = one.is_floating_point()
        return one.shape == other.shape and bool(torch.allclose(one, other, rtol=0, atol=0, equal_nan=nans))
    except Exception:  # such as sparse tensors
        return True


def _computing_otherwise(one: Driven, other: Driven, inputs: Floats) -> list[str] | None:
    """Return the names of the modules whose inputs or outputs differ in the two networks, in the order of the calls.

    It is None if nothing can be compared: one of them does not run, or even two runs of one network differ.
    """
    try:
        ours, again, theirs = (_calls(driven, inputs[:1]) for driven in (one, one, other))
    except Exception:  # a user's code can fail in any way; the conversion says why
        return None
    if ours != again:
        return None
    if len(ours) != len(theirs):
        return [""]
    return [mine[0] for mine, its in zip(ours, theirs, strict=True) if mine != its]


def _calls(driven: Driven, inputs: Floats) -> list[tuple[str, str]]:
    """Return, for each call of a module of a network in float64, its name and a hash of its inputs and outputs."""
    calls: list[tuple[str, str]] = []

    def kept(name: str) -> Any:
        def keep(_module: nn.Module, inputs: Any, output: Any) -> None:
            digest = hashlib.blake2b()
            for _, each in _inside("", (inputs, output), _DEEPEST):
                digest.update(each.double().numpy().tobytes() if isinstance(each, Tensor) else repr(each).encode())
            calls.append((name, digest.hexdigest()))

        return keep

    handles = [module.register_forward_hook(kept(name)) for name, module in driven.net.named_modules()]
    try:
        run(driven, inputs, _neurons(driven.net))
    finally:
        for handle in handles:
            handle.remove()
    return calls
