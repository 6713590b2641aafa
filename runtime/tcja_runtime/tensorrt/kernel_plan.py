"""The kernels of an engine and the bytes that they move, read from what TensorRT says of its layers. No GPU is needed.

With the profiling verbosity DETAILED, the builder tells a VERBOSE logger about every layer of the engine that it made,
in one message, a line for each layer. Its first line is "Layers:" or "Engine Layer Information:". The engine inspector
returns the same fields as JSON. There are two formats of a tensor:

    TensorRT 10    { Name: a, Location: Device, Dimensions: [1,64,55,55], Format/Datatype: Half }
    TensorRT-RTX   { Name: a, Dimensions: [1,64], Strides: [64,1], StrideOrder: [1,0], Datatype: Float, Format: ... }

* The fields, and where they appear: https://docs.nvidia.com/deeplearning/tensorrt/10.16.1/inference-library/engine-tools.html
  ("Engine Inspector"), the same for 11.4.
* All texts of Format/Datatype: `trex/activations.py` of NVIDIA's TensorRT Engine Explorer
  (github.com/NVIDIA/TensorRT, tools/experimental/trt-engine-explorer), which is for 8.2 to 10.
* Lines of TensorRT 10 as people printed them: github.com/NVIDIA/TensorRT issues 4020 (JSON) and 4397 (the log).
* TensorRT-RTX 1.7: what its builder prints. TensorRT 11 is not documented; each field is read in both formats.

What counts: a kernel writes each tensor of its outputs once, and reads each tensor of its inputs once. A kernel that
reads slices of a tensor names the whole tensor once for each slice: k mentions of a tensor of T time steps are k/T of
it. Weights and other constants are counted apart. TensorRT-RTX lists them as constants; TensorRT lists them with the
inputs, or only their number, so an input that no layer writes and that is no input of the engine is a constant. Padding
of vectorised formats, and what a kernel reads twice because the cache is too small, are not counted.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tcja_runtime.bundle.sidecar import Kernel, KernelPlan

LARGEST = 10
"""The number of kernels that a plan names."""

_HEADS = ("Layers:", "Engine Layer Information:")

_BITS = {
    **dict.fromkeys(("double", "int64", "uint64"), 64),
    **dict.fromkeys(("float", "fp32", "int32", "uint32"), 32),
    **dict.fromkeys(("half", "fp16", "bfloat16", "bf16", "int16", "uint16"), 16),
    **dict.fromkeys(("int8", "uint8", "fp8", "fp8e4m3", "fp8e5m2", "bool"), 8),
    **dict.fromkeys(("int4", "fp4", "fp4e2m1"), 4),
}
"""The size of a value in bits, by each word for its type, in lower case."""

_TENSOR = re.compile(
    r"\{ Name: (?P<name>.+?),(?: Location: \w+,)? Dimensions: \[(?P<dims>[-\d,\s]*)\],"
    r"(?: Strides: \[[^]]*\],)?(?: StrideOrder: \[[^]]*\],)? (?:Datatype|Format/Datatype): (?P<type>[^,}]+)"
)
_COUNT = re.compile(r'(?:Weights|Bias): \{"Type": "(\w+)", "Count": (\d+)\}')
_NODE = re.compile(r"\[ONNX Layer: ([^]]*)\]")

_NO_KERNELS = ("NoOp", "Constant")
"""The types of layers that have tensors, but start no kernel."""

_HIDING = "Myelin"
"""The type of a layer that stands for kernels that TensorRT does not name, in versions before 10."""

_JUMP = "jmp"
"""A part of the type of a layer that jumps back to the start of a loop: "cjmp" in TensorRT-RTX."""


class PlanUnread(ValueError):
    """What TensorRT says of an engine's layers cannot be read, or does not have what the bytes are computed from."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor that a layer of an engine reads or writes.

    Attributes:
        name: the name of the tensor.
        dims: the size of each axis; -1 for an axis that depends on the batch size.
        type: TensorRT's text for its type and format.
    """

    name: str
    dims: tuple[int, ...]
    type: str

    @property
    def bytes(self) -> int:
        """The size of the tensor, in bytes; its axes must be known."""
        return math.prod(self.dims) * _bits(self.type) // 8


@dataclasses.dataclass(frozen=True)
class EngineLayer:
    """A layer of a built engine.

    Attributes:
        name: the name of the layer.
        kind: the type of the layer.
        reads: the tensors that it reads, a tensor once for each slice.
        constants: the constants that it reads, if TensorRT lists them apart.
        writes: the tensors that it writes.
        stored_bytes: the size of the weights of which TensorRT says only the number.
        modules: the PyTorch modules whose nodes it computes.
    """

    name: str
    kind: str
    reads: tuple[Tensor, ...]
    constants: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]
    stored_bytes: int
    modules: tuple[str, ...]

    @property
    def is_kernel(self) -> bool:
        """Whether the layer starts a kernel. Layers without tensors wait for others, or compute shapes."""
        return self.kind not in _NO_KERNELS and bool(self.reads or self.writes)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the layer."""
        return (*self.reads, *self.constants, *self.writes)


def is_layer_information(message: str) -> bool:
    """Whether a message of TensorRT's logger says what the layers of an engine are."""
    return message.lstrip().startswith(_HEADS)


def from_log(messages: Iterable[str]) -> list[EngineLayer]:
    """Return the layers of an engine, from the messages of its builder's VERBOSE logger.

    Raises:
        PlanUnread: no message has the layers, or a line has another format.
    """
    text = next((message for message in reversed([*messages]) if is_layer_information(message)), None)
    if text is None:
        raise PlanUnread("the builder's log does not have the layers of the engine")
    lines = [line.strip() for line in text.splitlines() if line.startswith("Name: ") and ", LayerType: " in line]
    layers = [_from_line(line) for line in lines]
    if not layers:
        raise PlanUnread("the builder's log has the layers of the engine in a format that is not known")
    return layers


def from_json(text: str) -> list[EngineLayer]:
    """Return the layers of an engine, from the JSON of TensorRT's engine inspector.

    Raises:
        PlanUnread: the text has another format.
    """
    try:
        layers = json.loads(text)["Layers"]
        return [_from_fields(layer) for layer in layers]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, PlanUnread):
            raise
        raise PlanUnread("the engine inspector tells of the layers in a format that is not known") from error


def is_open(layers: Iterable[EngineLayer]) -> bool:
    """Whether an axis of a tensor depends on the batch size, so that its bytes cannot be computed."""
    return any(min(tensor.dims, default=0) < 0 for layer in layers for tensor in layer.tensors)


def filled(layers: Sequence[EngineLayer], fixed: Sequence[EngineLayer], times: int = 1) -> list[EngineLayer]:
    """Return the layers of an engine with the axes that its log leaves open, which depend on the batch size.

    They are taken from the layers of an engine of one batch size: of the same model, in the same order. A kernel must
    have the type of the other engine's kernel, and its inputs and outputs the same types and the same known axes. Only
    a kernel without open axes may have no counterpart: the engine computes sizes with it, which the other one knows.

    Args:
        layers: the layers, with open axes.
        fixed: the layers of the engine of one batch size.
        times: how many times as large this batch size is as the one for which the axes are filled. An open axis is as
            many times as long.

    Raises:
        PlanUnread: the two engines have other kernels.
    """
    known = [layer for layer in fixed if layer.is_kernel]
    made = []
    for layer in (layer for layer in layers if layer.is_kernel):
        if known and _fits(layer, known[0]):
            other = known.pop(0)
            reads, writes = (
                tuple(map(functools.partial(_filled, times=times), mine, theirs))
                for mine, theirs in ((layer.reads, other.reads), (layer.writes, other.writes))
            )
            made.append(dataclasses.replace(layer, reads=reads, writes=writes))
        elif not is_open([layer]):
            made.append(layer)
        else:
            raise PlanUnread(
                f"it takes several batch sizes, and its kernel {layer.name} is another than in an engine of one batch "
                "size"
            )
    if known:
        raise PlanUnread(
            f"it takes several batch sizes, and an engine of one batch size has also the kernel {known[0].name}"
        )
    return made


def _filled(mine: Tensor, other: Tensor, *, times: int) -> Tensor:
    """Return a tensor of the other engine, with each axis that is open in this one `times` times shorter."""
    pairs = [*zip(mine.dims, other.dims, strict=True)]
    if any(size < 0 and known % times for size, known in pairs):
        raise PlanUnread(f"it takes several batch sizes, and an axis of {mine.name} does not grow with the batch size")
    return dataclasses.replace(other, dims=tuple(known // times if size < 0 else known for size, known in pairs))


def kernel_plan(layers: Sequence[EngineLayer], inputs: Collection[str], time_steps: int) -> KernelPlan:
    """Return the kernels of an engine, and what they move.

    Args:
        layers: the layers of the engine.
        inputs: the names of the engine's inputs.
        time_steps: the number of time steps T, of which each slice of a tensor is one; 1 if no tensor has slices.

    Raises:
        PlanUnread: a layer hides its kernels, a loop repeats kernels, the size of a type is not known, or an axis
            depends on the batch size.
    """
    hiding = next((layer for layer in layers if layer.kind == _HIDING), None)
    if hiding is not None:
        raise PlanUnread(f"TensorRT does not name the kernels of its layer {hiding.name}")
    jump = next((layer for layer in layers if _JUMP in layer.kind), None)
    if jump is not None:
        raise PlanUnread(f"it has a loop, and TensorRT does not say how often its kernels run ({jump.name})")
    if is_open(layers):
        raise PlanUnread("it takes several batch sizes, and the sizes of its tensors depend on it")
    made = {tensor.name for layer in layers if layer.kind != "Constant" for tensor in layer.writes} | {*inputs}
    whole: dict[str, int] = collections.defaultdict(int)
    for tensor in (tensor for layer in layers for tensor in layer.tensors):
        whole[tensor.name] = max(whole[tensor.name], tensor.bytes)
    kernels = [_kernel(layer, made, whole, time_steps) for layer in layers if layer.is_kernel]
    return KernelPlan(
        kernels=len(kernels),
        bytes=sum(kernel.bytes for kernel in kernels),
        weight_bytes=sum(kernel.weight_bytes for kernel in kernels),
        largest=sorted(kernels, key=lambda kernel: kernel.bytes + kernel.weight_bytes, reverse=True)[:LARGEST],
    )


def _kernel(layer: EngineLayer, made: Collection[str], whole: Mapping[str, int], time_steps: int) -> Kernel:
    mentions: dict[str, list[int]] = collections.defaultdict(list)
    for tensor in layer.reads:
        mentions[tensor.name].append(tensor.bytes)
    slices = time_steps if "Slic" in layer.name else 1
    read = {name: _read(sizes, whole[name], slices) for name, sizes in mentions.items()}
    constants = {tensor.name: tensor.bytes for tensor in layer.constants}
    constants |= {name: size for name, size in read.items() if name not in made}
    written = {tensor.name: tensor.bytes for tensor in layer.writes}
    return Kernel(
        name=layer.name,
        kind=layer.kind,
        modules=list(layer.modules),
        bytes=sum(size for name, size in read.items() if name in made) + sum(written.values()),
        weight_bytes=sum(constants.values()) + layer.stored_bytes,
    )


def _read(sizes: Sequence[int], whole: int, time_steps: int) -> int:
    """Return the bytes that a kernel reads of a tensor, from the sizes that it names and the size of the whole tensor.

    A tensor that is named once is read whole. One that is named several times is read in slices, of which each is named
    by its own size or by that of the whole tensor.
    """
    if len(sizes) == 1:
        return sizes[0]
    return min(whole, sum(size // time_steps if size == whole else size for size in sizes))


def _bits(text: str) -> int:
    found = {_BITS[word] for word in re.findall(r"\w+", text.lower()) if word in _BITS}
    if len(found) != 1:
        raise PlanUnread(f"the size of TensorRT's type {text!r} is not known")
    return found.pop()


def _fits(layer: EngineLayer, other: EngineLayer) -> bool:
    """Whether a kernel has the type, the inputs and the outputs of another one, but for its open axes."""
    mine, theirs = (*layer.reads, *layer.writes), (*other.reads, *other.writes)
    return (layer.kind, len(layer.reads), len(mine)) == (other.kind, len(other.reads), len(theirs)) and all(
        len(a.dims) == len(b.dims)
        and _bits(a.type) == _bits(b.type)
        and all(size in (-1, known) for size, known in zip(a.dims, b.dims, strict=True))
        for a, b in zip(mine, theirs, strict=True)
    )


def _from_line(line: str) -> EngineLayer:
    head, found, rest = line.partition(", Inputs: [")
    reads, ended, writes = rest.partition("Outputs: [")
    name, typed, kind = head.removeprefix("Name: ").partition(", LayerType: ")
    if not (found and ended and typed):
        raise PlanUnread(f"the builder's log tells of the layer {name} in a format that is not known")
    reads, _, constants = reads.partition("Constants: [")
    return EngineLayer(
        name=name,
        kind=kind,
        reads=_tensors(reads, name),
        constants=_tensors(constants, name),
        writes=_tensors(writes, name),
        stored_bytes=sum(_stored(kind, int(count)) for kind, count in _COUNT.findall(writes)),
        modules=_modules(writes),
    )


def _tensors(text: str, layer: str) -> tuple[Tensor, ...]:
    found = [
        Tensor(match["name"], tuple(map(int, re.findall(r"-?\d+", match["dims"]))), match["type"].strip())
        for match in _TENSOR.finditer(text)
    ]
    if len(found) != text.count("{ Name: "):
        raise PlanUnread(f"the builder's log tells of the tensors of the layer {layer} in a format that is not known")
    return tuple(found)


def _from_fields(fields: Mapping[str, Any]) -> EngineLayer:
    stored = [fields[key] for key in ("Weights", "Bias") if isinstance(fields.get(key), dict)]
    return EngineLayer(
        name=fields["Name"],
        kind=fields["LayerType"],
        reads=_listed(fields["Inputs"]),
        constants=_listed(fields.get("Constants", [])),
        writes=_listed(fields["Outputs"]),
        stored_bytes=sum(_stored(each["Type"], each["Count"]) for each in stored),
        modules=_modules(fields.get("Metadata", "")),
    )


def _listed(tensors: Sequence[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(each["Name"], tuple(each["Dimensions"]), each.get("Datatype") or each["Format/Datatype"])
        for each in tensors
    )


def _stored(kind: str, count: int) -> int:
    return count * _bits(kind) // 8 if count else 0


def _modules(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node.partition("/")[0] for node in _NODE.findall(text) if "/" in node))
