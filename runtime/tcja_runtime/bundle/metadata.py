"""The metadata of a bundle's models. They say what the manifest says, so a manifest of another network is found.

The metadata are texts in the ONNX file (ModelProto.metadata_props). A model of an older version has some of them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

from tcja_runtime import records
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.data.contract import InputContract
from tcja_runtime.files.text import parsed, storable
from tcja_runtime.model_file import protobuf

_MODEL_METADATA, _KEY, _VALUE = 14, 1, 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """The description of a network that its models and the manifest share.

    Attributes:
        network: the name of the network in the registry.
        dialect: the training code that the neurons come from.
        time_steps: T.
        input: the input contract.
        checkpoint_sha256: the sha256 of the checkpoint.
        classes: the names of the classes, in the order of the output.
        precision: the precision of weights and activations.
        evidence: the reasons why the checkpoint was identified as this network.
        parameters: the number of trained parameters.
        layers: the spiking layers, with the constants of their neurons.
    """

    network: str
    dialect: str
    time_steps: int
    input: InputContract
    checkpoint_sha256: str
    classes: Sequence[str]
    precision: str
    evidence: Sequence[str]
    parameters: int
    layers: Sequence[Layer]

    @classmethod
    def of(cls, manifest: Manifest) -> Description:
        """Returns the description in a manifest."""
        return cls(
            network=manifest.network,
            dialect=manifest.dialect,
            time_steps=manifest.time_steps,
            input=manifest.input,
            checkpoint_sha256=manifest.checkpoint["sha256"],
            classes=manifest.classes,
            precision=manifest.precision,
            evidence=manifest.evidence,
            parameters=manifest.parameters,
            layers=manifest.layers,
        )

    def texts(self) -> dict[str, str]:
        """Returns the metadata of a model: texts by key, which can be printed."""
        described: Description = dataclasses.replace(self, **storable(vars(self)))
        return {
            "network": described.network,
            "dialect": described.dialect,
            "T": str(described.time_steps),
            "input": json.dumps(dataclasses.asdict(described.input)),
            "checkpoint_sha256": described.checkpoint_sha256,
            "classes": json.dumps(list(described.classes)),
            "precision": described.precision,
            "evidence": json.dumps(list(described.evidence)),
            "parameters": str(described.parameters),
            "layers": json.dumps(storable([dataclasses.asdict(layer) for layer in self.layers])),
        }

    def unlike(self, model: bytes) -> str:
        """Returns the first key for which a model says something else than the description; empty if none does.

        A key that the model does not have is not compared.

        Raises:
            ValueError: the bytes are not an ONNX model.
        """
        said = read(model)
        for key, text in self.texts().items():
            if key in said and not _same(_READ.get(key, str), said[key], text):
                return key
        return ""


def read(model: bytes) -> dict[str, str]:
    """Returns the metadata of a serialised model.

    Raises:
        ValueError: the bytes are not an ONNX model.
    """
    found = {}
    for number, _, content in protobuf.fields(model):
        if number == _MODEL_METADATA:
            entry = dict.fromkeys((_KEY, _VALUE), "") | {n: text.decode() for n, _, text in protobuf.fields(content)}
            found[entry[_KEY]] = entry[_VALUE]
    return found


def _contract(text: str) -> InputContract:
    return InputContract.from_dict(parsed(text))


def _layers(text: str) -> list[Layer]:
    return records.read(list[Layer], parsed(text))


_READ: dict[str, Callable[[str], Any]] = {"input": _contract, "layers": _layers}
"""For a key whose text may differ between versions, the function that reads the text."""


def _same(reads: Callable[[str], Any], said: str, text: str) -> bool:
    try:
        return bool(reads(said) == reads(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
