"""A trained network in PyTorch, with its description: the input of an export."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import nn

from tcja_exporters.modules.layers import Readout
from tcja_runtime.bundle.metadata import Description
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A trained network in eval mode. Its spiking layers are `SpikingNeuron` or `SteppedNeuron`.

    Attributes:
        name: the name of the network.
        summary: a description in one line.
        dialect: the dialect of its neurons.
        model: the PyTorch module, which takes a batch [N, *contract.shape] and returns one tensor [N, ...].
        contract: the input of the network.
        output: the name of the output, such as "rates" or "logits".
        classes: the class names in the order of the output; empty if the network does not classify.
        time_steps: the number of time steps, T.
        source: the name, sha256 and bytes of the file of the weights, and their key in it if it is a checkpoint.
        evidence: the facts in the checkpoint or in the conversion that support this description, a line each, for the
            manifest; for example "T = 8 (conv.3.conv.weight)".
        packages: the packages that the network and its neurons come from, besides tcja-deploy and torch, with their
            versions.
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
    packages: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """The number of trained parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def description(self, precision: str, layers: Sequence[Layer]) -> Description:
        """Return the description that the models of an export have as their metadata.

        Args:
            precision: the precision of the export.
            layers: the spiking layers of the network.
        """
        return Description(
            network=self.name,
            dialect=self.dialect,
            time_steps=self.time_steps,
            input=self.contract,
            checkpoint_sha256=self.source["sha256"],
            classes=self.classes,
            precision=precision,
            evidence=self.evidence,
            parameters=self.parameters,
            layers=layers,
        )


def with_output_per_step(network: TrainedNetwork) -> TrainedNetwork:
    """Return the network with one output for each time step, [N, T, classes], in place of the mean over time.

    The model of the given network is changed in place.

    Raises:
        BadInput: the network has no `Readout`, so its output is not a known mean over time.
    """
    readouts = [module for module in network.model.modules() if isinstance(module, Readout)]
    if not readouts:
        raise BadInput(f"{network.name} does not average its output over time, so it has no output per step")
    for readout in readouts:
        readout.per_step = True
    return dataclasses.replace(network, output=f"{network.output}_per_step")
