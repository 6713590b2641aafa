"""The words that a user can choose: targets, backends, precisions, time forms, layouts, hardware.

Each list of words is defined here once. The command line offers the enums. All other code takes strings, which are the
values of the enums, such as "fp16". Code that needs the whole list of values uses the tuples and dictionaries at the
end of this module.
"""

from __future__ import annotations

import enum

AUTO = "auto"
"""The word with which the user leaves a choice to the program."""


class Target(str, enum.Enum):
    """The targets of an export: the ONNX models alone ("onnx"), or the models and an engine."""

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
    """The GPUs that can load an engine, besides GPUs of the type that it was built on.

    The values are the names of TensorRT's `HardwareCompatibilityLevel`, in lower case and with hyphens.
    """

    AMPERE_PLUS = "ampere-plus"
    SAME_COMPUTE_CAPABILITY = "same-compute-capability"


class BackendName(str, enum.Enum):
    """The backends, which run a bundle's network: TensorRT, TensorRT-RTX, or ONNX Runtime with one of its providers."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"
    ONNXRUNTIME = "onnxruntime"
    ONNXRUNTIME_CUDA = "onnxruntime-cuda"
    ONNXRUNTIME_TENSORRT = "onnxruntime-tensorrt"


class PackageKind(str, enum.Enum):
    """What a bundle is packaged for."""

    TRITON = "triton"
    ISAAC_ROS = "isaac-ros"


class TritonBackend(str, enum.Enum):
    """The backends of a Triton Inference Server that run a network.

    "python" runs what `tcja_runtime.load` loads; the others are Triton's own, with a model or an engine of the bundle.
    """

    PYTHON = "python"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


class InputKind(str, enum.Enum):
    """What a user's own network takes (`tcja_runtime.data.contract.InputContract.name`)."""

    FRAMES = "frames"
    IMAGES = "images"
    FEATURES = "features"


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


class Calibration(str, enum.Enum):
    """The windows on which the scales of int8 are measured."""

    DATA = "data"
    RANDOM = "random"


class TimeForm(str, enum.Enum):
    """How time is laid out in a graph.

    "scan" is a loop over the time steps. "unrolled" has the operations of all time steps, one step after another.
    "fused" has other operations, which TensorRT makes one kernel of for all time steps, or for a block of them.
    "stepwise" has the operations of one time step; the state of the neurons is an input and an output.
    """

    AUTO = "auto"
    SCAN = "scan"
    UNROLLED = "unrolled"
    FUSED = "fused"
    STEPWISE = "stepwise"


class SpikeCounts(str, enum.Enum):
    """Whether model.plain.onnx also returns its spike counts (`tcja_deploy.export.spike_counts`)."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Resize(str, enum.Enum):
    """How the picture of a camera is resized to a network's frames (`tcja_runtime.data.resizing`)."""

    BILINEAR = "bilinear"
    NEAREST = "nearest"
    SUM = "sum"


class LabelRule(str, enum.Enum):
    """How the name of a folder, or a number in a label file, tells a class (`tcja_runtime.data.class_folders`)."""

    NAMES = "names"
    NUMBERS = "numbers"
    TEXT_ORDER = "text-order"


ENGINE_TARGETS = {EngineTarget.TENSORRT.value: "tensorrt", EngineTarget.TENSORRT_RTX.value: "tensorrt_rtx"}
"""The Python module of TensorRT for each target that has an engine. "auto" prefers the first target."""

PROVIDERS = {
    BackendName.ONNXRUNTIME.value: "CPUExecutionProvider",
    BackendName.ONNXRUNTIME_CUDA.value: "CUDAExecutionProvider",
    BackendName.ONNXRUNTIME_TENSORRT.value: "TensorrtExecutionProvider",
}
"""The execution provider of each backend that is ONNX Runtime."""

BACKENDS = tuple(each.value for each in BackendName if each.value != AUTO)

HARDWARE = tuple(each.value for each in Hardware)

RANDOM = Calibration.RANDOM.value

CALIBRATIONS = tuple(each.value for each in Calibration)

PRECISIONS = tuple(each.value for each in Precision)

TIME_FORMS = (TimeForm.SCAN.value, TimeForm.UNROLLED.value, TimeForm.FUSED.value)
"""The time forms that a layer of model.plain.onnx can have."""

RESIZES = tuple(each.value for each in Resize)

LABEL_RULES = tuple(each.value for each in LabelRule)

INPUTS = tuple(each.value for each in InputKind)

LAYOUTS = tuple(each.value for each in ForwardLayout)
