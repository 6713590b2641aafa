"""The sidecar of an engine, engine.json: the TensorRT and the options of the build, and the GPU of the engine.

The manifest has a copy of the sidecar of each engine.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tcja_runtime import records
from tcja_runtime.choices import ENGINE_TARGETS
from tcja_runtime.records import WrongField

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
class Kernel:
    """A kernel of an engine, and the bytes that it moves in one run of the tuned batch size.

    Attributes:
        name: TensorRT's name of the kernel.
        kind: TensorRT's type of the layer, such as "correlation" or "kgen".
        modules: the PyTorch modules whose nodes the kernel computes; empty if TensorRT names no node.
        bytes: the size of the tensors that it reads and writes, without weights.
        weight_bytes: the size of the weights and other constants that it reads.
    """

    name: str
    kind: str
    modules: list[str]
    bytes: int
    weight_bytes: int

    def __post_init__(self) -> None:
        _check_counts(self, "bytes", "weight_bytes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelPlan:
    """The kernels of an engine, and the bytes that they move between memory and GPU in one run of the tuned batch size.

    Attributes:
        kernels: the number of kernels.
        bytes: the size of all tensors that the kernels read and write, without weights.
        weight_bytes: the size of the weights and other constants that the kernels read.
        largest: the kernels that move most, at most ten, the largest first.
    """

    kernels: int
    bytes: int
    weight_bytes: int
    largest: list[Kernel]

    def __post_init__(self) -> None:
        _check_counts(self, "kernels", "bytes", "weight_bytes")

    @property
    def moved(self) -> int:
        """All bytes that the kernels move in one run, with weights."""
        return self.bytes + self.weight_bytes


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
        plan: the kernels of the engine and what they move; None if it could not be read from the builder.
        plan_unread: the reason why there is no plan; empty if there is one.
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
    plan: KernelPlan | None = None
    plan_unread: str = "it was built by a version that recorded no kernels"

    TAKES_MORE: ClassVar[bool] = True  # the sidecar of another version may have other fields

    def __post_init__(self) -> None:
        problems = {
            "module": None if self.module in ENGINE_TARGETS.values() else " or ".join(ENGINE_TARGETS.values()),
            "version": None if self.version[:1].isdecimal() else "a version, such as 10.3.0",
            "batch": None if 0 < self.batch[0] <= self.batch[1] <= self.batch[2] else "three growing sizes above 0",
            **{name: None if getattr(self, name) >= 0 else "at least 0" for name in ("workspace", "layers", "bytes")},
            "products": None if min(self.products.values(), default=0) >= 0 else "counts of at least 0",
        }
        for name, wanted in problems.items():
            if wanted is not None:
                raise WrongField(name, f"is {getattr(self, name)!r}, and must be {wanted}")

    @classmethod
    def from_dict(cls, fields: Any) -> EngineInfo:
        """Returns the sidecar whose fields `dataclasses.asdict` returned. Tuples may be lists, as after reading JSON.

        Raises:
            ValueError: a field is missing or wrong; the text names the field and says what it must be.
        """
        return records.read(cls, fields)


def _check_counts(record: Any, *names: str) -> None:
    """Check that fields are at least 0.

    Raises:
        WrongField: a field is negative.
    """
    for name in names:
        if getattr(record, name) < 0:
            raise WrongField(name, f"is {getattr(record, name)}, and must be at least 0")
