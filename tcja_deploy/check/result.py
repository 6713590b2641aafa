"""The result of a check."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

from tcja_runtime.bundle.network_signature import Layer, UnjudgedLayer
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import TcjaError

LARGEST_BUILT = 2_986
"""The layers of the largest network of which an engine was built and measured (docs/measurements/speed.md).

TensorRT publishes no limit. An engine of this size was built in seconds.
"""


class Becomes(str, Enum):
    """What a module becomes in an export."""

    JUDGED = "spiking layer, judged"
    INTEGRATES = "integrator, membranes compared"
    ATTENTION = "attention"
    OPERATORS = "plain operators"
    FIRES = "plain operators that fire, not judged"
    NOTHING = "no operators"
    REFUSED = "refused"
    NEURON = "known neuron"
    NOT_REACHED = "not reached"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Module:
    """A PyTorch module of the network.

    Attributes:
        name: its name in the network; empty for the network itself.
        kind: the name of its class.
        becomes: what it becomes. If the export would stop before there are models, a neuron is only known, and other
            modules are not reached.
        nodes: the number of its nodes in model.onnx; None if there is no model.
        remark: the reason why it is refused, or what happens to it; else empty.
    """

    name: str
    kind: str
    becomes: Becomes
    nodes: int | None = None
    remark: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """What is known of a network before it is exported.

    Attributes:
        name: its name: that in the registry, or that of its class.
        summary: a description in one line.
        dialect: the dialect of its neurons.
        checkpoint: the name, sha256 and bytes of the file of its weights.
        evidence: how it was found and what was proven, a line each.
        time_steps: the number of time steps, T.
        input: the contract of its input.
        output: the name of its output.
        output_shape: the shape of its output without the batch.
        classes: the names of its classes.
        parameters: the number of its trained parameters.
        layers: its known spiking layers, in the order in which they fire. Each is judged.
        integrators: its layers of neurons that never fire, and return their membranes, in the order in which they run.
    """

    name: str
    summary: str
    dialect: str
    checkpoint: dict[str, Any]
    evidence: list[str]
    time_steps: int
    input: InputContract
    output: str
    output_shape: tuple[int, ...]
    classes: tuple[str, ...]
    parameters: int
    layers: list[Layer]
    integrators: list[Layer] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What TensorRT makes of the plain model.

    Attributes:
        target: the TensorRT that was asked: `tensorrt` or `tensorrt-rtx`; None if the export builds no engine.
        layers: the number of layers of TensorRT's network; None if no TensorRT parsed the model.
        why: the reason why no TensorRT parsed it; empty if one did, or refuses it.
    """

    target: str | None
    layers: int | None = None
    why: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of the models of an export before they are compared with the network.

    Attributes:
        nodes: the number of nodes of each model of the bundle, by the name of its file. The body of a loop counts as
            one node.
        time_form: the time form of the spiking layers in model.plain.onnx.
        why: the reason for this time form.
        forms: the number of nodes of model.plain.onnx in each time form; without those that cannot be made.
        precision: the precision of the models.
        lowered: the number of weights that have this precision.
        kept: the modules whose weights stay in float32, if the precision is lower.
        weight_bytes: the size of all weights; None if it is not known.
        activation_bytes: the largest size of the data in memory at a time, for one window, without weights; None if it
            is not known.
        unjudged: the modules that fire and are not known neurons.
        estimated: for each signal whose rounding bound is an estimate, the operations without a rule.
        engine: what TensorRT makes of model.plain.onnx.
    """

    nodes: dict[str, int]
    time_form: str
    why: str
    forms: dict[str, int]
    precision: str
    lowered: int
    kept: list[str]
    weight_bytes: int | None
    activation_bytes: int | None
    unjudged: list[UnjudgedLayer]
    estimated: Mapping[str, list[str]]
    engine: EngineFacts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """What an export would make of a checkpoint or a network.

    Attributes:
        subject: the name of the checkpoint, or of the network's class or factory.
        error: the error with which the export would stop; None if it would reach the comparison of the spikes.
        refusals: the reasons why the export refuses the network, that of `error` first; empty if it does not.
        modules: the modules of the network, in the order of their definition.
        network: the facts of the network; None if they are not known.
        models: the facts of the models; None if they are not known.
        remarks: what was left out or should be known besides, a sentence each.
    """

    subject: str
    error: TcjaError | None
    refusals: list[str]
    modules: list[Module]
    network: NetworkFacts | None
    models: ModelFacts | None
    remarks: list[str]

    @property
    def accepted(self) -> bool:
        """Whether an export would reach the comparison of the spikes."""
        return self.error is None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: all attributes but `error`, and "accepted". Sizes are in bytes."""
        fields = dataclasses.asdict(dataclasses.replace(self, error=None))
        del fields["error"]
        return {"subject": fields.pop("subject"), "accepted": self.accepted, **fields}
