"""The words that users choose from, each list once: targets, precisions, backends, layouts, time forms."""

from __future__ import annotations

import enum


class Target(str, enum.Enum):
    """What to build besides the ONNX models."""

    AUTO = "auto"
    ONNX = "onnx"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


class Builder(str, enum.Enum):
    """What to build an engine with."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


class Hardware(str, enum.Enum):
    """Which other GPUs an engine is for."""

    AMPERE_PLUS = "ampere-plus"
    SAME_COMPUTE_CAPABILITY = "same-compute-capability"


class BackendName(str, enum.Enum):
    """What to run a bundle with."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"
    ONNXRUNTIME = "onnxruntime"
    ONNXRUNTIME_CUDA = "onnxruntime-cuda"
    ONNXRUNTIME_TENSORRT = "onnxruntime-tensorrt"


class LayoutName(str, enum.Enum):
    """How a network of one's own takes frames."""

    NT = "NT"
    TN = "TN"
    STEP = "step"


class Precision(str, enum.Enum):
    """Of weights and activations."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class TimeForm(str, enum.Enum):
    """How time is laid out in model.plain.onnx."""

    AUTO = "auto"
    SCAN = "scan"
    UNROLLED = "unrolled"
    STEPWISE = "stepwise"
