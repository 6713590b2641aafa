"""Runs a user's network on windows, with any layout of its input, and under the names of its user."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from tcja_exporters.libraries import reset
from tcja_exporters.modules.neurons import SteppedNeuron
from tcja_exporters.user_code import where_now
from tcja_exporters.user_models.readout import answer_of, chosen_output
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput

Part = TypeVar("Part")


class Driven(nn.Module):
    """A user's network with a fixed input layout: it takes windows [N, T, ...] or images [N, C, H, W].

    It converts its input to the layout that the user's network takes. At each call, `SteppedNeuron`s start from rest;
    the neurons of libraries are reset by the caller. Compiled parts (torch.compile) run as if they were not compiled.

    A network that is called once a time step may also be called once a window, with time and batch in one axis
    (`at_once`). Its outputs are the same if it keeps no state besides that of its neurons.

    Attributes:
        net: the user's network.
        steps: the number of time steps of a window, T; 0 for images.
        by_step: whether `net` takes one time step; the outputs of all steps are then stacked to [T, N, ...].
        joined: whether `net`, which takes one time step, is called once, on [T * N, ...].
        layout: the order of the axes in which `net` takes frames.
        output: the choice among the values that `net` returns, which is that of the context in which this is made
            (`tcja_exporters.user_models.readout.output_chosen`); empty for none.
    """

    def __init__(self, net: nn.Module, contract: InputContract, layout: str, *, joined: bool = False) -> None:
        super().__init__()
        self.net = net
        self.steps = contract.steps
        self._contract, self.layout = contract, layout
        self.output = chosen_output()
        self.by_step = self.steps > 0 and layout == "step"
        self.joined = joined and self.by_step

    def at_once(self) -> Driven:
        """Return a copy of a network that takes one time step, which is called once with all steps of a window."""
        net = copy.deepcopy(self.net)
        for name, module in list(net.named_modules()):
            if isinstance(module, SteppedNeuron):
                parent, _, attribute = name.rpartition(".")
                setattr(net.get_submodule(parent), attribute, module.at_once(self.steps))
        return Driven(net, self._contract, self.layout, joined=True)

    def relaid(self, layout: str) -> Driven:
        """Return a copy of the network that is driven with another layout, from rest."""
        copied = copy.deepcopy(self.net)
        reset(copied)
        return Driven(copied, self._contract, layout)

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.compiler.set_stance("force_eager"), _DataAsDetached(), _attributes_restored(self.net):
            return self._run(inputs)

    def _run(self, inputs: Tensor) -> Tensor:
        # Read like this, and not as an attribute, torch.export does not put "net." before the names of its modules.
        net: Any = self._modules["net"]
        for module in net.modules():
            if isinstance(module, SteppedNeuron):
                module.restart()
        # Inputs are contiguous, like those of a data loader, and a copy, because forward may write into them.
        inputs = (inputs.transpose(0, 1) if self.layout == "TN" else inputs).clone(
            memory_format=torch.contiguous_format
        )
        if self.joined:
            answer = answer_of(net(inputs.transpose(0, 1).flatten(0, 1)), self.output)
            return answer.reshape(self.steps, -1, *answer.shape[1:])
        if self.by_step:
            steps = (inputs[:, t].contiguous() for t in range(self.steps))
            return torch.stack([answer_of(net(step), self.output) for step in steps])
        return answer_of(net(inputs), self.output)


_TAKEN = frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph())))
"""The names of a program of torch.export. No part of an exported network can have them, such as `code` and `meta`."""
_HELD = " held"
"""The name under which a converted network keeps what it runs. No part of a user's network has a name with a space."""


class ConvertedNetwork(nn.Module):
    """A user's network with a fixed input layout, and with a readout. It takes windows and returns one tensor for each.

    Its parts and weights are those of the user's network, under the same names: the neuron `lif` of the user's network
    is `lif` here, too. A name that torch.export uses itself ends with an underscore here (`code_` for `code`). The
    readout is one further part, which the user's network does not have.

    Args:
        driven: the user's network with its neurons replaced. The network shares its modules and weights.
        readout: the module that is applied to the output of the user's network.
    """

    def __init__(self, driven: Driven, readout: nn.Module) -> None:
        super().__init__()
        self.__dict__[_HELD] = (driven, readout)  # not among the parts, which would give them further names
        self._share()

    def _share(self) -> None:
        """Make the parts and weights of the user's network, and the readout, those of this network."""
        driven, readout = self.__dict__[_HELD]
        net = driven.net
        self._parameters, self._buffers = _renamed(net, net._parameters), _renamed(net, net._buffers)
        self._non_persistent_buffers_set = {_free(net, name) for name in net._non_persistent_buffers_set}
        name = "readout"
        while hasattr(net, name):
            name += "_"
        self._modules = {**_renamed(net, net._modules), name: readout}

    def forward(self, inputs: Tensor) -> Tensor:
        driven, readout = self.__dict__[_HELD]
        answer: Tensor = readout(driven(inputs))
        return answer

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ConvertedNetwork:
        for part in self.__dict__[_HELD]:
            part._apply(fn, recurse)
        self._share()  # some weights are new tensors now
        return self

    def train(self, mode: bool = True) -> ConvertedNetwork:
        for part in self.__dict__[_HELD]:
            part.train(mode)
        return super().train(mode)

    def __deepcopy__(self, memo: dict[int, Any]) -> ConvertedNetwork:
        driven, readout = copy.deepcopy(self.__dict__[_HELD], memo)
        copied = ConvertedNetwork(driven, readout)
        copied.training = self.training
        memo[id(self)] = copied
        return copied

    def _get_name(self) -> str:
        return type(self.__dict__[_HELD][0].net).__name__


def _renamed(net: nn.Module, parts: dict[str, Part]) -> dict[str, Part]:
    """Return parts of a network by names that torch.export does not use; the same dictionary if it has no others."""
    if _TAKEN.isdisjoint(parts):
        return parts
    return {_free(net, name): part for name, part in parts.items()}


def _free(net: nn.Module, name: str) -> str:
    """Return a name of a part, with underscores at its end if torch.export uses it."""
    if name in _TAKEN:
        while name in _TAKEN or hasattr(net, name):
            name += "_"
    return name


@contextlib.contextmanager
def _attributes_restored(net: nn.Module) -> Iterator[None]:
    """Undo, after an export, what forward stored in attributes of modules, such as the last spikes for a plot.

    torch.export refuses a forward that leaves tensors in attributes. Such tensors have no influence on later windows:
    the proof has compared two runs. Parameters, buffers and parts are left alone.
    """
    if not torch.compiler.is_exporting():
        yield
        return
    restore = kept_attributes(net)
    try:
        yield
    finally:
        restore()


def kept_attributes(net: nn.Module) -> Callable[[], None]:
    """Return a function that undoes what forward has stored in attributes of modules since this call."""
    kept = [(module, {key: _shallow(value) for key, value in vars(module).items()}) for module in net.modules()]

    def restore() -> None:
        for module, before in kept:
            for key in [key for key in vars(module) if key not in before]:
                del vars(module)[key]
            vars(module).update({key: value for key, value in before.items() if key not in _PARTS})

    return restore


_PARTS = ("_parameters", "_buffers", "_modules")


def _shallow(value: Any) -> Any:
    return copy.copy(value) if isinstance(value, (list, dict, set)) else value


class _DataAsDetached(TorchFunctionMode):
    """A context in which ``x.data`` is ``x.detach()``: the same values, but torch.export and the bounds can follow it.

    Raises:
        BadInput: the network assigns to ``x.data`` while it is exported.
    """

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == Tensor.data.__get__:  # type: ignore[attr-defined]
            return args[0].detach()
        if func == Tensor.data.__set__ and torch.compiler.is_exporting():  # type: ignore[attr-defined]
            raise BadInput(
                f"forward assigns to .data{where_now()}, which cannot be exported; assign the new value to a variable"
            )
        return func(*args, **(kwargs or {}))
