"""Runs a user's network in float64, and records how it calls its neurons."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tcja_exporters.libraries import reset
from tcja_exporters.libraries.recognition import Recognised
from tcja_exporters.user_code import where_now
from tcja_exporters.user_models.diagnosis import failed
from tcja_exporters.user_models.driven import Driven, kept_attributes
from tcja_runtime.counting import an
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput


class Use(NamedTuple):
    """One call of a neuron by a network.

    Attributes:
        states: the arguments after the current, such as a membrane, by position.
        named: the arguments by name.
        output: what the neuron returned.
    """

    states: tuple[Any, ...]
    named: dict[str, Any]
    output: Any


@dataclasses.dataclass(frozen=True)
class Ran:
    """A run of a user's network in float64.

    Attributes:
        output: the output of the network, a numpy array.
        uses: the calls of each watched neuron, by the name of its module.
        returned: the whole return value of the last call of the network's forward.
    """

    output: Any
    uses: dict[str, list[Use]]
    returned: Any


def run(driven: Driven, inputs: Floats, watched: Iterable[str], seed: int = 0) -> Ran:
    """Run a network in float64, from rest.

    Args:
        driven: the network.
        inputs: windows [N, ...].
        watched: the neurons whose calls are recorded, by the name of their module.
        seed: the seed of torch's random numbers.

    Raises:
        BadInput: the network fails.
    """
    network = driven.double()
    reset(network)
    restore = kept_attributes(network.net)
    uses: dict[str, list[Use]] = {}
    given: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    returned: list[Any] = []

    def before(name: str) -> Any:
        def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given[name] = copy.deepcopy((args[1:], kwargs))  # a neuron may change its state in place

        return keep

    def after(name: str) -> Any:
        def observe(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            # Some libraries return float32 spikes for float64 inputs; the next layer would refuse them.
            spikes = output[0] if isinstance(output, (tuple, list)) and output else output
            if not isinstance(spikes, Tensor):
                raise BadInput(f"the neuron '{name}' returns {an(type(spikes).__name__)}; it must return its spikes")
            output = (spikes.double(), *output[1:]) if spikes is not output else spikes.double()
            uses.setdefault(name, []).append(Use(*given[name], output))
            return output

        return observe

    handles = [network.net.register_forward_hook(lambda _module, _inputs, output: returned.append(output))]
    for name in watched:
        module = network.net.get_submodule(name)
        handles += [
            module.register_forward_pre_hook(before(name), with_kwargs=True),
            module.register_forward_hook(after(name)),
        ]
    failure: Exception | None = None
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            output = network(torch.from_numpy(inputs).double())
    except BadInput:
        raise
    except Exception as error:  # a user's code can fail in any way
        failure = error
    finally:
        for handle in handles:
            handle.remove()
    if failure is not None:
        restore()  # a state in float64 must not reach the search for the cause
        raise failed(driven, inputs, failure) from failure
    return Ran(output.numpy(), uses, returned[-1])


def alone(module: Any, known: Recognised, current: Tensor, first: Use) -> Tensor:
    """Return the spikes or membranes [T, N, ...] of a neuron that runs without the rest of its network, from rest.

    Args:
        module: the neuron.
        known: what is known of it.
        current: the currents [T, N, ...].
        first: the first call of the neuron by the network, which shows the states that it is given.
    """
    reset(module)
    with torch.no_grad():
        if known.calls == "window":
            output = module(current.movedim(0, known.time_axis or 0), *first.states, **first.named)
            fired = known.result_of(output)
        else:
            steps, states, named = [], first.states, first.named
            for x in current:
                output = module(x, *states, **named)
                steps.append(known.result_of(output))
                states, named = _next(output, states, named)
            fired = torch.cat(steps)
    reset(module)
    return fired


def _next(output: Any, states: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the states to call a neuron with next: those that it returned, if the network gives it states at all."""
    if isinstance(output, (tuple, list)):
        made = list(output[1:])
        if states:
            return (*made[: len(states)], *states[len(made) :]), named
        return states, {**named, **dict(zip(named, made, strict=False))}
    return states, named


def where_random(driven: Driven, inputs: Floats, watched: Iterable[str]) -> str:
    """Return the line of the user's code that first draws one of torch's random numbers; empty if none is found.

    Args:
        driven: the network, which has run on the same windows before.
        inputs: windows [N, ...].
        watched: the neurons, as for `run`.
    """
    with _RandomWatch() as watch:
        run(driven, inputs, watched)
    found: str = watch.where
    return found


class _RandomWatch(TorchFunctionMode):
    """Finds the first operation that changes the state of torch's random numbers.

    Attributes:
        where: the line of the user's code that called it; empty until one was found.
    """

    def __init__(self) -> None:
        super().__init__()
        self.where = ""

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = torch.get_rng_state()
        result = func(*args, **(kwargs or {}))
        if not self.where and not torch.equal(before, torch.get_rng_state()):
            self.where = where_now()
        return result
