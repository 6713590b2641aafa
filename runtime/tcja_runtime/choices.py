"""The words that a user chooses from, each list once: targets, backends, precisions, time forms, layouts, hardware.

The command line offers the enums. All code below it takes plain strings, the values of the enums, such as "fp16". Where
that code must know all of them, it uses the tuples and dictionaries below.
"""

from __future__ import annotations

import enum

AUTO = "auto"
"""The choice that is left to the program."""


class Target(str, enum.Enum):
    """What a bundle is built for: the ONNX models alone, or an engine too."""

    AUTO = "auto"
    ONNX = "onnx"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


class EngineTarget(str, enum.Enum):
    """The targets that have an engine."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


class Hardware(str, enum.Enum):
    """The other GPUs that can load an engine. The names are those of TensorRT's `HardwareCompatibilityLevel`."""

    AMPERE_PLUS = "ampere-plus"
    SAME_COMPUTE_CAPABILITY = "same-compute-capability"


class BackendName(str, enum.Enum):
    """What runs a bundle's network."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"
    ONNXRUNTIME = "onnxruntime"
    ONNXRUNTIME_CUDA = "onnxruntime-cuda"
    ONNXRUNTIME_TENSORRT = "onnxruntime-tensorrt"


class ForwardLayout(str, enum.Enum):
    """The input that a user's own network takes: [N, T, ...], [T, N, ...], or one step [N, ...] at a time."""

    NT = "NT"
    TN = "TN"
    STEP = "step"


class Precision(str, enum.Enum):
    """The type of weights and activations."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class TimeForm(str, enum.Enum):
    """How time is laid out in a graph: a loop, all steps in a row, or one step with its state as input and output."""

    AUTO = "auto"
    SCAN = "scan"
    UNROLLED = "unrolled"
    STEPWISE = "stepwise"


ENGINE_TARGETS = {EngineTarget.TENSORRT.value: "tensorrt", EngineTarget.TENSORRT_RTX.value: "tensorrt_rtx"}
"""The targets that have an engine, each with the Python module of its TensorRT. The first is preferred."""

PROVIDERS = {
    BackendName.ONNXRUNTIME.value: "CPUExecutionProvider",
    BackendName.ONNXRUNTIME_CUDA.value: "CUDAExecutionProvider",
    BackendName.ONNXRUNTIME_TENSORRT.value: "TensorrtExecutionProvider",
}
"""The backends that are ONNX Runtime, each with its execution provider."""

BACKENDS = tuple(each.value for each in BackendName if each.value != AUTO)

HARDWARE = tuple(each.value for each in Hardware)

PRECISIONS = tuple(each.value for each in Precision)

TIME_FORMS = (TimeForm.SCAN.value, TimeForm.UNROLLED.value)
"""The time forms that a layer of model.plain.onnx can have."""

LAYOUTS = tuple(each.value for each in ForwardLayout)
