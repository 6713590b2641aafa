"""The manifest of a bundle, and the records that it is made of."""

from __future__ import annotations

import dataclasses
from pathlib import PurePosixPath
from types import UnionType
from typing import Any, get_origin, get_type_hints

from tcja_runtime.bundle.parity_summary import ParitySummary
from tcja_runtime.bundle.signature import Layer, NetworkSignature, Tap, Weight
from tcja_runtime.bundle.stepwise import Streaming
from tcja_runtime.choices import ENGINE_TARGETS
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec

Json = dict[str, Any]


_ENTRIES = {
    "checkpoint": ("name", "sha256", "bytes"),
    "time_form": ("form", "why", "layers"),
}
"""What is read of a manifest's dictionaries."""


_LARGEST = 2**31
"""No size is as large."""


_SIDECAR: dict[str, type] = {
    **dict.fromkeys(("module", "version", "device", "precision", "sha256", "model_sha256"), str),
    **dict.fromkeys(("bytes", "layers"), int),
    **dict.fromkeys(("version_compatible", "tf32"), bool),
    "batch": list,
}
"""What is read of what an engine says of itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        producer: tool and version.
        created: UTC time, ISO 8601.
        checkpoint: the trained network's file: name, sha256, bytes.
        network: its name in the registry.
        dialect: the training code its neurons come from.
        evidence: how the network was identified, a line each.
        time_steps: T.
        parameters: number of trained parameters.
        input: the input contract.
        output: name of the ONNX output.
        output_shape: its shape without the batch: (classes,), (T, classes) of each step, or that of an image.
        classes: their names, in the order of the output.
        layers: the spiking layers in the order they fire.
        taps: what is looked at besides them.
        answer: what the output is the mean over time of, and consecutive units' votes; None where it is not known, or
            where the output has the steps itself.
        weights: of all convolutions and matrix products.
        passes: what the graph passes did, in order; `exact` says whether a pass keeps every bit.
        time_form: how time is laid out in the plain model: `form` of all layers, or "mixed", `why`, and by layer its
            form in `layers`.
        precision: of weights and activations, where a weight does not say otherwise.
        streaming: how it is streamed; empty where it is not.
        calibration: what scales were found on: source and number of windows; empty where there are none.
        targets: what was built: "onnx", and the targets of `engines`.
        engines: folder below engines/ and sidecar of each engine.
        parity: the parity of the network, as the export found it.
        tools: versions of what made the bundle.
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
    passes: list[Json]
    time_form: Json
    precision: str
    streaming: Streaming = dataclasses.field(default_factory=Streaming)
    calibration: Json
    targets: list[str]
    engines: dict[str, Json]
    parity: ParitySummary
    tools: dict[str, str]

    @classmethod
    def from_dict(cls, fields: Json) -> Manifest:
        """The inverse of `dataclasses.asdict`, from JSON too."""
        layers = [
            Layer(name=f["name"], shape=tuple(f["shape"]), neuron=NeuronSpec.from_dict(f["neuron"]))
            for f in fields["layers"]
        ]
        taps = [Tap.from_dict(f) for f in fields["taps"]]
        answer = fields["answer"] and Tap.from_dict(fields["answer"])
        weights = [Weight(**{**f, "shape": tuple(f["shape"])}) for f in fields["weights"]]
        shape, contract = tuple(fields["output_shape"]), InputContract.from_dict(fields["input"])
        kept = {"input": contract, "output_shape": shape, "layers": layers, "taps": taps, "answer": answer}
        kept["parity"] = ParitySummary.from_dict(fields["parity"])
        manifest = cls(**{**fields, **kept, "weights": weights, "streaming": Streaming.from_dict(fields["streaming"])})
        _check_types(manifest)
        return manifest

    @property
    def signature(self) -> NetworkSignature:
        """The signature of the network."""
        return NetworkSignature(
            input=self.input,
            output=self.output,
            output_shape=self.output_shape,
            time_steps=self.time_steps,
            layers=self.layers,
            taps=self.taps,
            step_output=self.answer,
            weights=self.weights,
        )


def check_sidecar(sidecar: Any) -> None:
    """Check what an engine says of itself, in engine.json or a manifest.

    Raises:
        ValueError: it does not say what is read of it.
    """
    if not isinstance(sidecar, dict):
        raise ValueError("an engine says nothing of itself")
    for entry, kind in _SIDECAR.items():
        if type(sidecar.get(entry)) is not kind:
            raise ValueError(f"an engine's {entry} is {sidecar.get(entry)!r}")
    batch, plugin = sidecar["batch"], sidecar.get("plugin")
    if len(batch) != 3 or not all(type(n) is int and n > 0 for n in batch) or batch != sorted(batch):
        raise ValueError(f"an engine's batch is {batch}")
    if sidecar["module"] not in ENGINE_TARGETS.values():
        raise ValueError(f"an engine's module is {sidecar['module']!r}")
    if not sidecar["version"][:1].isdecimal():
        raise ValueError(f"an engine's version is {sidecar['version']!r}")
    if plugin is not None and not (isinstance(plugin, dict) and isinstance(plugin.get("form"), str)):
        raise ValueError(f"an engine's plugin is {plugin!r}")


def _check_types(manifest: Manifest) -> None:
    for name, kind in get_type_hints(Manifest).items():
        value, wanted = getattr(manifest, name), kind if isinstance(kind, UnionType) else get_origin(kind) or kind
        if not isinstance(value, wanted):
            raise TypeError(f"{name} is a {type(value).__name__}, not a {getattr(wanted, '__name__', wanted)}")
    entries = [
        (f"{name}.{entry}", entry in getattr(manifest, name)) for name, all_ in _ENTRIES.items() for entry in all_
    ]
    for name, there in entries:
        if not there:
            raise KeyError(f"{name} is missing")
    if manifest.time_form["form"] not in ("scan", "unrolled", "mixed") or type(manifest.time_form["why"]) is not str:
        raise ValueError(f"time_form is {manifest.time_form}")
    for name, sidecar in manifest.engines.items():
        if len(PurePosixPath(name).parts) != 1 or name == "..":
            raise ValueError(f"'{name}' is no engine's name")
        check_sidecar(sidecar)
    for tap in (*manifest.taps, *([manifest.answer] if manifest.answer else [])):
        rank = len(tap.axes)
        if sorted(tap.axes) != list(range(rank)) or len(tap.unfold) not in (0, 2) or rank < 2:
            raise ValueError(f"{tap.name} has axes {tap.axes} of {tap.unfold}")
    for weight in manifest.weights:
        if not all(type(size) is int and 0 < size < _LARGEST for size in (*weight.shape, weight.outputs + 1)):
            raise ValueError(f"{weight.tensor} has shape {weight.shape} and {weight.outputs} outputs")
    for layer in manifest.layers:
        if not all(type(size) is int and 0 < size < _LARGEST for size in layer.shape):
            raise ValueError(f"{layer.name} has shape {layer.shape}")
    if not 0 < manifest.time_steps < _LARGEST:
        raise ValueError(f"time_steps is {manifest.time_steps}")
    manifest.streaming.check({layer.name: (layer.shape, layer.neuron.v_reset) for layer in manifest.layers})
