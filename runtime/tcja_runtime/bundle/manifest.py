"""The manifest of a bundle, and the records that it contains."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Any, TypedDict

from tcja_runtime import records
from tcja_runtime.bundle.network_signature import Layer, NetworkSignature, Tap, UnjudgedLayer, Weight
from tcja_runtime.bundle.parity_summary import ParitySummary, of_today
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.bundle.statistics.firing import FiringStatistics
from tcja_runtime.bundle.statistics.inputs import Figures, InputStatistics
from tcja_runtime.bundle.stepwise import Streaming
from tcja_runtime.choices import LABEL_RULES, PRECISIONS, TIME_FORMS
from tcja_runtime.counting import counted
from tcja_runtime.data.contract import InputContract
from tcja_runtime.files.reading import is_name
from tcja_runtime.records import WrongField

Json = dict[str, Any]

CHECK = "check this: "
"""The begin of a line of evidence that is no proof, and that the user should check."""

_LARGEST = 2**31
"""The limit of sizes: every size in a manifest, and the number of values of every array, must be smaller."""


class FileFact(TypedDict):
    """What a manifest says of a file: its sha256, and its size in bytes."""

    sha256: str
    bytes: int


def seal(content: Json) -> str:
    """Returns the hash of a manifest's own fields, by which a change of any of its bytes is found."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeForms:
    """The time forms of a network's spiking layers in model.plain.onnx.

    Attributes:
        form: the time form of all layers, "scan", "unrolled" or "fused"; "mixed" if layers have different time forms.
        why: the reason for this choice, in one line.
        layers: for each layer, a dictionary with its time form as "form". If time forms were measured, it also has
            "scan_ms", "unrolled_ms" and so on: the time that the layer's neurons take for a window, in milliseconds.
    """

    form: str
    why: str
    layers: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        for name, layer in self.layers.items():
            if layer.get("form") not in TIME_FORMS:
                raise WrongField(
                    f"layers.{name}.form", f"is {layer.get('form')!r}, and must be {' or '.join(TIME_FORMS)}"
                )
        if self.form not in (*TIME_FORMS, "mixed"):
            raise WrongField("form", f"is {self.form!r}, and must be {', '.join(TIME_FORMS)} or mixed")

    @property
    def forms(self) -> dict[str, str]:
        """The time form of each layer, by the layer's name."""
        return {name: layer.get("form", "") for name, layer in self.layers.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of a bundle. It is written to manifest.json, together with the hashes of all files.

    Attributes:
        producer: the tool that made the bundle, with its version.
        created: the UTC time of the export, ISO 8601.
        checkpoint: the file of the trained network: "name", "sha256" and "bytes"; and "weights", the key of the weights
            in it, if it is known.
        network: the name of the network in the registry.
        dialect: the training code that the neurons come from.
        evidence: the reasons why the checkpoint was identified as this network, a line each.
        time_steps: T.
        parameters: the number of trained parameters.
        input: the input contract.
        output: the name of the ONNX output.
        output_shape: the shape of the output without the batch axis: (classes,); (T, classes) if the output has a value
            for each time step; or the shape of an image.
        classes: the names of the classes, in the order of the output.
        layers: the spiking layers, in the order in which they fire.
        integrators: the layers of neurons that never fire and return their membranes, in the order in which they run.
        taps: the tensors that parity reads besides the currents and spikes of the spiking layers.
        answer: the tensor with a value for each time step, whose mean over time is the output. None if no such tensor
            is known, or if the output itself has the time steps.
        weights: the weights of convolutions and matrix products (`NetworkSignature`).
        unjudged: the modules that fire and are not known neurons, so that parity does not judge their spikes.
        passes: the changes that each graph pass made, in order. In an entry, "exact" is true if the pass does not
            change any bit of the results.
        time_form: the time forms of the spiking layers in model.plain.onnx.
        precision: the type of weights and activations, such as "fp16". Some weights may have another type
            (`Weight.type`).
        streaming: how the network is split into two parts for stepwise runs; empty for a bundle without these parts.
        calibration: the data from which the scales of INT8 were computed: "source", "windows", and "real", which says
            whether they are data and not random; empty without INT8.
        targets: "onnx", and the targets of the engines in the bundle.
        engines: the sidecar of each engine, by the name of the engine, which is also the name of its folder in
            engines/.
        parity: the result of the parity comparison during the export.
        tools: the version of each package that made the bundle.
        input_statistics: what the windows of the export looked like; None if they were random.
        labels: the rule by which the folders and label files of the export's data told classes, one of
            `tcja_runtime.choices.LABEL_RULES`; None if the user gave none.
        spike_counts: whether model.plain.onnx also returns its spike counts (`NetworkSignature.spike_counts`).
        firing_statistics: how the network fired in the windows that were judged; None without spike counts, and if the
            windows were random or fewer than 16.
    """

    producer: str
    created: str
    checkpoint: Json
    network: str
    dialect: str
    evidence: list[str]
    time_steps: int
    parameters: int
    input: InputContract
    output: str
    output_shape: tuple[int, ...]
    classes: list[str]
    layers: list[Layer]
    taps: list[Tap]
    answer: Tap | None
    weights: list[Weight]
    unjudged: list[UnjudgedLayer] = dataclasses.field(default_factory=list)
    passes: list[Json]
    time_form: TimeForms
    precision: str
    streaming: Streaming = dataclasses.field(default_factory=Streaming)
    calibration: Json
    targets: list[str]
    engines: dict[str, EngineInfo]
    parity: ParitySummary
    tools: dict[str, str]
    input_statistics: InputStatistics | None = None
    labels: str | None = None
    spike_counts: bool = False
    firing_statistics: FiringStatistics | None = None
    integrators: list[Layer] = dataclasses.field(default_factory=list)

    @classmethod
    def from_dict(cls, fields: Json) -> Manifest:
        """Returns the manifest whose fields `dataclasses.asdict` returned. Tuples may be lists, as after reading JSON.

        Raises:
            ValueError: a field is missing, unknown or wrong; the text names the field and says what it must be.
        """
        named = {**fields, "parity": of_today(fields["parity"])} if "parity" in fields else fields
        manifest = records.read(cls, named)
        _check(manifest)
        return manifest

    def unlike(self, figures: Figures) -> str:
        """Returns a sentence if windows look unlike those of the export; empty if they do not, or if it is not known.

        Args:
            figures: the figures of the windows (`tcja_runtime.bundle.statistics.inputs.measured`).
        """
        return self.input_statistics.unlike(self.input, figures) if self.input_statistics else ""

    @property
    def doubts(self) -> list[str]:
        """The lines of `evidence` that the user should check, such as other weights in the checkpoint."""
        return [line for line in self.evidence if line.startswith(CHECK)]

    @property
    def calibrated_on(self) -> Json:
        """The entry `calibration` with "real". Bundles of schema 5 were calibrated on the windows of the export."""
        return {"real": self.parity.real, **self.calibration} if self.calibration else {}

    @property
    def classifies(self) -> str | None:
        """What `tcja-deploy run` takes, as a word for commands: RECORDING or DATA.npz; None without classes."""
        if not self.classes:
            return None
        return "RECORDING" if self.input.name == "frames" and self.input.split else "DATA.npz"

    @property
    def signature(self) -> NetworkSignature:
        """The network signature."""
        return NetworkSignature(
            input=self.input,
            output=self.output,
            output_shape=self.output_shape,
            time_steps=self.time_steps,
            layers=self.layers,
            taps=self.taps,
            step_output=self.answer,
            weights=self.weights,
            unjudged=self.unjudged,
            spike_counts=self.spike_counts,
            integrators=self.integrators,
        )


class _Source(TypedDict):
    """The file of the trained network, as in `Manifest.checkpoint`."""

    name: str
    sha256: str
    bytes: int


def _are_sizes(shape: tuple[int, ...]) -> bool:
    """Whether numbers can be the sizes of an array's axes."""
    return all(type(size) is int and size > 0 for size in shape) and math.prod(shape) < _LARGEST


def _check(manifest: Manifest) -> None:
    """Raise a ValueError if a field has a value that its type allows, and that it cannot have."""
    records.read(_Source, manifest.checkpoint, "checkpoint")
    for name in manifest.engines:
        if not is_name(name) or "/" in name:
            raise ValueError(f"'{name}' cannot be the name of an engine")
    for tap in (*manifest.taps, *([manifest.answer] if manifest.answer else [])):
        rank = len(tap.axes)
        if sorted(tap.axes) != list(range(rank)) or len(tap.unfold) not in (0, 2) or rank < 2:
            raise ValueError(f"{tap.name} cannot have the axes {tap.axes} with the unfold {tap.unfold}")
    for weight in manifest.weights:
        if not _are_sizes(weight.shape) or not 0 <= weight.outputs < _LARGEST:
            raise ValueError(f"{weight.tensor} cannot have the shape {weight.shape} and {weight.outputs} outputs")
    layers = [*manifest.layers, *manifest.integrators]
    for layer in layers:
        if not layer.shape or not _are_sizes(layer.shape):
            raise ValueError(f"{layer.name} cannot have the shape {layer.shape}")
    if manifest.classes and len(manifest.classes) != (manifest.output_shape or (0,))[-1]:
        raise ValueError(
            f"it names {counted(len(manifest.classes), 'class')}, and the output has the shape {manifest.output_shape}"
        )
    if manifest.precision not in PRECISIONS:
        raise WrongField("precision", f"is {manifest.precision!r}, and must be {', '.join(PRECISIONS)}")
    if manifest.labels not in (None, *LABEL_RULES):
        raise WrongField("labels", f"is {manifest.labels!r}, and must be {', '.join(LABEL_RULES)} or null")
    if not 0 < manifest.time_steps < _LARGEST:
        raise ValueError(f"time_steps cannot be {manifest.time_steps}")
    manifest.streaming.check({layer.name: (layer.shape, layer.neuron.v_initial) for layer in layers})
