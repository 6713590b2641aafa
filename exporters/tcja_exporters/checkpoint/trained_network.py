"""A trained network with all that is known of it: what `identify` finds and what an export takes."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from tcja_exporters.modules.layers import Readout
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network rebuilt in PyTorch, its spiking layers `SpikingNeuron`, weights loaded, in eval mode.

    Attributes:
        name: of the network.
        summary: what it is, in a line.
        dialect: the training code whose neurons it has.
        model: takes a batch [N, *contract.shape] and returns one tensor [N, ...].
        contract: what it takes in.
        output: name of what it returns.
        classes: class names in the order of the output; none if it does not classify.
        time_steps: T.
        source: name, sha256 and bytes of what its weights come from.
        evidence: how all this is known, a line each.
    """

    name: str
    summary: str
    dialect: str
    model: nn.Module
    contract: InputContract
    output: str
    classes: tuple[str, ...]
    time_steps: int
    source: dict[str, Any]
    evidence: list[str]

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def answering_each_step(network: TrainedNetwork) -> TrainedNetwork:
    """The same network, returning [N, T, classes], what it answers at each step, instead of the mean over time.

    Raises:
        BadInput: its answer is no mean over time.
    """
    readouts = [module for module in network.model.modules() if isinstance(module, Readout)]
    if not readouts:
        raise BadInput(f"{network.name} does not average over time what it answers, so it has no answers per step")
    for readout in readouts:
        readout.per_step = True
    return dataclasses.replace(network, output=f"{network.output}_per_step")
