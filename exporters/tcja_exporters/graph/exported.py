"""An exported network: its two models and the weights that they share, in memory and in files."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import external_data_helper, helper

from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.bundle.network_signature import UnjudgedLayer, Weight
from tcja_runtime.model_file.model import WEIGHTS

EXTERNAL_FROM_BYTES = 1024
"""The smallest size of a tensor in the shared weights file, in bytes. Smaller tensors stay in the model."""
ALIGNMENT = 64
"""The alignment of tensors in the weights file, in bytes."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported network.

    Attributes:
        model: the canonical model, with TcjaLif nodes.
        plain: the plain model, with standard operators only.
        passes: the report of each pass that ran: name, changes, exact, note.
        weights: the weights of convolutions and matrix products, with the names of their tensors in both models.
        unjudged: the modules that fire and are not known neurons (`tcja_exporters.graph.unjudged`).
    """

    model: onnx.ModelProto
    plain: onnx.ModelProto
    passes: list[dict[str, Any]]
    weights: list[Weight]
    unjudged: list[UnjudgedLayer] = dataclasses.field(default_factory=list)


def check(model: onnx.ModelProto) -> None:
    """Check a model with onnx's checker, with little memory.

    The checker copies the model twice. So it gets a copy of the model with inputs of the same shapes in place of the
    weights.

    Raises:
        onnx.checker.ValidationError: the model is not valid.
    """
    light, weights = _light(model)
    for tensor, _ in weights:
        light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        light.graph.initializer.remove(tensor)
    onnx.checker.check_model(light, full_check=True)


def _light(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[tuple[onnx.TensorProto, onnx.TensorProto]]]:
    """Return a copy of a model without the values of large tensors, and pairs (tensor in the copy, original tensor)."""
    light, without = _copied(model, "graph"), []
    light.graph.CopyFrom(_copied(model.graph, "initializer"))
    for tensor in model.graph.initializer:
        size = math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        if not tensor.HasField("raw_data") or size < EXTERNAL_FROM_BYTES:
            light.graph.initializer.append(tensor)
        else:
            light.graph.initializer.append(_copied(tensor, "raw_data"))
            without.append((light.graph.initializer[-1], tensor))
    return light, without


def _copied(message: Any, without: str) -> Any:
    """Return a copy of a protobuf message without one of its fields."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name == without:
            continue
        if field.is_repeated:
            getattr(copy, field.name).extend(value)
        elif field.message_type:
            getattr(copy, field.name).CopyFrom(value)
        else:
            setattr(copy, field.name, value)
    return copy


def save(exported: Exported, folder: Path, more: Mapping[str, onnx.ModelProto] | None = None) -> None:
    """Write the models of a network into a folder, and their shared weights into one file.

    Args:
        exported: the exported network.
        folder: the folder.
        more: further models that share the weights, by the names of their files.
    """
    stored: dict[bytes, tuple[int, int]] = {}
    with (folder / WEIGHTS).open("wb") as weights:
        for name, model in {MODEL: exported.model, PLAIN_MODEL: exported.plain, **(more or {})}.items():
            light, tensors = _light(model)
            for tensor, whole in tensors:
                content = whole.raw_data
                digest = hashlib.sha256(content).digest()
                if digest not in stored:
                    weights.write(b"\0" * (-weights.tell() % ALIGNMENT))
                    stored[digest] = (weights.tell(), len(content))
                    weights.write(content)
                tensor.raw_data = b""  # set_external_data wants the field to be set
                external_data_helper.set_external_data(tensor, WEIGHTS, *stored[digest])
                tensor.ClearField("raw_data")
            (folder / name).write_bytes(light.SerializeToString())
