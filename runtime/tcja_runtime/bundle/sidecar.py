"""The sidecar of an engine, engine.json: the TensorRT and the options of the build, and the GPU of the engine.

The manifest has a copy of the sidecar of each engine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tcja_runtime.choices import ENGINE_TARGETS

SIDECAR = "engine.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """The use of the plugin (`tcja_runtime.tensorrt.plugin`), a CUDA kernel for spiking layers, in an engine.

    Attributes:
        form: the form of the plugin, "ahead of time" or "at run time".
        nodes: the number of spiking layers that the plugin computes.
        halves: the number of spiking layers that it computes with float16 currents and spikes.
        pools: the number of maximum poolings that the plugin computes together with a spiking layer.
    """

    form: str
    nodes: int
    halves: int
    pools: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """An input or output of an engine.

    Attributes:
        name: the name of the tensor.
        type: TensorRT's name of the element type, such as "FLOAT".
        shape: the shape of the tensor; -1 for the batch axis.
        input: whether the tensor is an input; else it is an output.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    input: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """The content of an engine's sidecar.

    Attributes:
        module: the Python module of the TensorRT that built the engine.
        version: the version of that TensorRT.
        device: the GPU that the engine is for (`tcja_runtime.machine.gpu.Gpu.slug`), or the GPU generations that
            TensorRT-RTX compiled it for, such as "sm80-sm86".
        precision: the precision of the model; "tf32" for a float32 model with TF32 allowed.
        products: the number of convolutions and matrix products by type, such as {"HALF": 5}.
        tf32: whether float32 products may round their operands to TF32.
        version_compatible: whether later TensorRT versions of the same major version can load the engine.
        hardware: the `HardwareCompatibilityLevel`, such as "AMPERE_PLUS"; None for the GPU in `device` alone.
        level: the optimisation level of the builder, 0 to 5.
        workspace: the largest GPU memory that a layer may use, in bytes.
        batch: the smallest batch size, the batch size that the engine is tuned for, and the largest batch size.
        model_sha256: the sha256 of the model that the engine was built from.
        plugin: the use of the plugin; None for an engine without it.
        tensors: the inputs, then the outputs.
        layers: the number of layers of the network before TensorRT joined layers.
        build_seconds: the time that the build took, in seconds.
        bytes: the size of the engine, in bytes.
        created: the UTC time when the engine was built, ISO 8601.
        sha256: the sha256 of the engine.
    """

    module: str
    version: str
    device: str
    precision: str
    products: dict[str, int]
    tf32: bool
    version_compatible: bool
    hardware: str | None
    level: int
    workspace: int
    batch: tuple[int, int, int]
    model_sha256: str
    plugin: PluginInfo | None
    tensors: list[TensorInfo]
    layers: int
    build_seconds: float
    bytes: int
    created: str
    sha256: str

    @classmethod
    def from_dict(cls, fields: Any) -> EngineInfo:
        """Returns the sidecar whose fields `dataclasses.asdict` returned. Tuples may be lists, as after reading JSON.

        Raises:
            ValueError: an entry is missing or wrong; the text names the entry and its value.
        """
        if not isinstance(fields, dict):
            raise ValueError("the description of an engine is not a dictionary")
        for name, is_right in _RIGHT.items():
            if not is_right(fields.get(name)):
                raise ValueError(f"an engine's {name} cannot be {fields.get(name)!r}")
        known: dict[str, Any] = {name: fields.get(name) for name in _RIGHT}
        known["batch"] = tuple(known["batch"])
        known["plugin"] = known["plugin"] and PluginInfo(**known["plugin"])
        known["tensors"] = [TensorInfo(**{**tensor, "shape": tuple(tensor["shape"])}) for tensor in known["tensors"]]
        return cls(**known)


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_batch(value: Any) -> bool:
    sizes = isinstance(value, list | tuple) and len(value) == 3 and all(type(size) is int for size in value)
    return sizes and 0 < value[0] <= value[1] <= value[2]


def _is_plugin(value: Any) -> bool:
    return value is None or _has(value, form=_is_text, nodes=_is_count, halves=_is_count, pools=_is_count)


def _is_tensors(value: Any) -> bool:
    return isinstance(value, list) and all(
        _has(tensor, name=_is_text, type=_is_text, shape=_is_shape, input=_is_flag) for tensor in value
    )


def _is_shape(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(size) is int for size in value)


def _has(value: Any, **entries: Callable[[Any], bool]) -> bool:
    """Whether a value is a dictionary with exactly the given entries, and each entry passes its check."""
    return (
        isinstance(value, dict)
        and value.keys() == entries.keys()
        and all(is_right(value[name]) for name, is_right in entries.items())
    )


_RIGHT: dict[str, Callable[[Any], bool]] = {
    "module": lambda value: value in ENGINE_TARGETS.values(),
    "version": lambda value: _is_text(value) and value[:1].isdecimal(),
    "device": _is_text,
    "precision": _is_text,
    "products": lambda value: isinstance(value, dict) and all(map(_is_count, value.values())),
    "tf32": _is_flag,
    "version_compatible": _is_flag,
    "hardware": lambda value: value is None or _is_text(value),
    "level": lambda value: type(value) is int,
    "workspace": _is_count,
    "batch": _is_batch,
    "model_sha256": _is_text,
    "plugin": _is_plugin,
    "tensors": _is_tensors,
    "layers": _is_count,
    "build_seconds": lambda value: type(value) in (int, float),
    "bytes": _is_count,
    "created": _is_text,
    "sha256": _is_text,
}
"""For each entry of a sidecar, the function that checks its value from JSON."""
