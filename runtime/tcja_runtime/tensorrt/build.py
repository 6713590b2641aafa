"""Builds an engine in a child process, with the TensorRT that is installed.

TensorRT's builder is native code: it may crash its process, and it keeps the GPU's memory until its process ends. So it
runs in a child process (`tcja_runtime.tensorrt.builder_process`). Neither process needs torch or onnx, so the same code
builds engines on a board.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tcja_runtime.bundle.engines import Engine
from tcja_runtime.bundle.sidecar import SIDECAR, EngineInfo
from tcja_runtime.choices import ENGINE_TARGETS, HARDWARE
from tcja_runtime.counting import counted
from tcja_runtime.errors import BadInput, BuildTimeout, TcjaError, Unavailable
from tcja_runtime.files import journal
from tcja_runtime.machine import children
from tcja_runtime.machine.jetpack import how_to_get
from tcja_runtime.records import check_arguments, check_size

LARGEST_BATCH = 1024
"""The largest batch size. More windows do not fit into the memory of any board, or into TensorRT's largest tensor."""

LEVELS = range(6)
"""TensorRT's optimisation levels, from the fastest build to the fastest engine."""

BUILD_TIMEOUTS = {"tensorrt": 7200, "tensorrt-rtx": 600}
"""The seconds after which a builder is ended by default, by target.

TensorRT runs all kernels that it may choose, which takes tens of minutes on a small board. TensorRT-RTX runs none.
"""

LONGEST_BUILD = 10**6
"""The largest number of seconds that a builder may be given."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """The batch sizes of an engine: the smallest, the one for which TensorRT tunes the engine, and the largest.

    Raises:
        BadInput: a size is not a whole number, or is out of range.
    """

    least: int
    tuned: int
    most: int

    def __post_init__(self) -> None:
        check_arguments(self)
        if not 1 <= self.least <= self.tuned <= self.most <= LARGEST_BATCH:
            text = f"{self.least}:{self.tuned}:{self.most}"
            raise BadInput(f"`batch` {text}: 1 <= MIN <= OPT <= MAX <= {LARGEST_BATCH} must hold")

    @classmethod
    def parse(cls, text: str) -> Batch:
        """Returns the batch sizes from a text such as "1:1:8" (MIN:OPT:MAX), or "4", one number for all three sizes.

        Raises:
            BadInput: the text has another form, or a size is out of range.
        """
        try:
            numbers = [int(part) for part in text.split(":")]
            least, tuned, most = numbers * 3 if len(numbers) == 1 else numbers
        except ValueError:
            raise BadInput(f"`batch` {text} is not MIN:OPT:MAX, for example 1:1:8") from None
        return cls(least, tuned, most)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """The options of a build.

    Attributes:
        batch: the batch sizes of the engine.
        tf32: whether float32 products may round their operands to TF32, which flips spikes near a threshold.
        level: the optimisation level, one of `LEVELS`; None for TensorRT's own default.
        workspace: the GPU memory that a layer may use, in bytes; None for half of the free memory.
        version_compatible: whether later TensorRT versions of the same major version can load the engine.
        hardware: which GPUs of other types can load the engine, one of `tcja_runtime.choices.HARDWARE`. None if only
            GPUs of the same type can load it.
        plugin: whether each spiking layer is the plugin's CUDA kernel (`tcja_runtime.tensorrt.plugin`) instead of
            standard operators.
        build_timeout: the seconds after which the builder is ended; None for `BUILD_TIMEOUTS`.

    Raises:
        BadInput: an option is out of range.
    """

    batch: Batch = Batch(1, 1, 8)
    tf32: bool = False
    level: int | None = None
    workspace: int | None = None
    version_compatible: bool = False
    hardware: str | None = None
    plugin: bool = False
    build_timeout: int | None = None

    def __post_init__(self) -> None:
        check_arguments(self)
        if self.level is not None and self.level not in LEVELS:
            raise BadInput(f"`level` {self.level} must be {LEVELS[0]} to {LEVELS[-1]}")
        if self.workspace is not None and not 2**20 <= self.workspace <= 2**40:
            raise BadInput(f"`workspace` {self.workspace} is a number of bytes, and must be {2**20:,} to {2**40:,}")
        if self.hardware is not None and self.hardware not in HARDWARE:
            raise BadInput(f"`hardware` {self.hardware} must be {' or '.join(HARDWARE)}")
        check_size("build_timeout", self.build_timeout, 1, LONGEST_BUILD)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """An engine to build.

    Attributes:
        model: the ONNX file to build from. It has standard operators, or TcjaLif operators if the plugin is used. The
            engine computes in the types of this model.
        engines: the folder in which a folder for the engine is made.
        target: one of `tcja_runtime.choices.ENGINE_TARGETS`.
        precision: the precision of the model, for the engine's name.
        products: for the types "FLOAT", "HALF" and "INT8", the smallest number of convolutions and matrix products that
            the engine must compute in this type.
        shapes: the shapes of the inputs that take only one shape. The first axis of every other input is the batch.
        options: the options of the build.
        time_steps: the number of time steps T that a kernel may read one by one; 1 if it reads no single time step.
        only_parse: whether TensorRT only parses the model, and builds no engine.
    """

    model: Path
    engines: Path
    target: str
    precision: str
    products: Mapping[str, int] = dataclasses.field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    options: BuildOptions = BuildOptions()
    time_steps: int = 1
    only_parse: bool = False

    def engine_name(self, device: str, version: str, precision: str) -> str:
        """Returns the name of the engine: the device, TensorRT, the precision, and the options other than the defaults.

        Examples: "orin-sm87-trt10.3.0-fp16", and "orin-sm87-trt10.3.0-fp16-b1-4-16-plugin", with the smallest, the
        tuned and the largest batch size.

        Args:
            device: the device that the engine is for (`EngineInfo.device`).
            version: the version of TensorRT.
            precision: the precision of the engine (`EngineInfo.precision`).
        """
        library = {"tensorrt": "trt", "tensorrt-rtx": "rtx"}[self.target]
        options, sizes = self.options, dataclasses.astuple(self.options.batch)
        batch = "-".join(map(str, sizes if len(set(sizes)) > 1 else sizes[:1]))
        kinds = [
            *([f"b{batch}"] if options.batch != BuildOptions().batch else []),
            *([options.hardware] if options.hardware else []),
            *(["version-compatible"] if options.version_compatible else []),
            *(["plugin"] if options.plugin else []),
        ]
        return "-".join([device, f"{library}{version}", precision, *kinds])

    def to_json(self) -> str:
        """Returns the request as JSON, for the child process."""
        fields = {**dataclasses.asdict(self), "model": str(self.model), "engines": str(self.engines)}
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> BuildRequest:
        """Returns the request from the JSON that `to_json` returned."""
        fields = json.loads(text)
        options = {**fields["options"], "batch": Batch(**fields["options"]["batch"])}
        paths = {"model": Path(fields["model"]), "engines": Path(fields["engines"])}
        return cls(**{**fields, **paths, "options": BuildOptions(**options)})


def installed() -> list[str]:
    """Returns the targets whose TensorRT is installed for this Python, the preferred target first."""
    return [target for target, module in ENGINE_TARGETS.items() if importlib.util.find_spec(module)]


def check_target(target: str, options: BuildOptions) -> None:
    """Check that a target's TensorRT is installed and supports the options.

    Raises:
        BadInput: the target is TensorRT-RTX, and an option needs plugins or version compatibility, which it does not
            have.
        Unavailable: the target's TensorRT is not installed.
    """
    if options.plugin and target == "tensorrt-rtx":
        raise BadInput("`plugin`: TensorRT-RTX has no plugins; leave it out, or build with `target` tensorrt")
    if target not in installed():
        raise Unavailable(
            f"`target` {target} needs the package {target}, which this Python does not have: {how_to_get(target)}"
        )
    if options.version_compatible and target == "tensorrt-rtx":
        raise BadInput("`version_compatible` is for full TensorRT; TensorRT-RTX cannot; leave it out")


def build(request: BuildRequest) -> Engine:
    """Build an engine and return it.

    The target "tensorrt" builds for the GPU of this machine, "tensorrt-rtx" for desktop RTX GPUs. The files
    model.engine and engine.json are written into a new folder for the engine, and build.log if it can be.

    Raises:
        BuildTimeout: the builder did not end in time.
        Unavailable: TensorRT, a GPU or memory is missing, or the builder was killed.
        BadInput: TensorRT cannot parse or build the model (the text names the ONNX node and the PyTorch module), or the
            engine would compute in other types than the types of the model.
    """
    reply = _answer(request, _log_file(request.target))
    folder = request.engines / reply["engine"]
    return Engine(folder, EngineInfo.from_dict(json.loads((folder / SIDECAR).read_text())))


def parse(request: BuildRequest) -> int:
    """Parse a model as for a build, and return the number of layers of TensorRT's network. Nothing is written.

    Raises:
        Unavailable: TensorRT is missing, or it needs a GPU and there is none.
        BadInput: TensorRT cannot parse the model, or would compute in other types than the types of the model.
    """
    reply = _answer(dataclasses.replace(request, only_parse=True), Path(os.devnull))
    return int(reply["layers"])


def _answer(request: BuildRequest, log: Path) -> dict[str, Any]:
    """Return the reply of the child process to a request that it could do.

    The process goes on after its reply, to read the kernel plan. An end without a plan is no failure.

    Args:
        request: the request.
        log: the file for the builder's log.
    """
    target = request.target
    check_target(target, request.options)
    seconds = request.options.build_timeout or BUILD_TIMEOUTS[target]
    cache = journal.cache_folder() / "timing"
    try:
        child = subprocess.run(
            children.main_of("tcja_runtime.tensorrt.builder_process", str(os.getpid()), str(log), str(cache)),
            input=request.to_json(),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,  # the process is then killed
        )
    except subprocess.TimeoutExpired as late:
        if reply := _reply(late.stdout or b""):
            return reply
        raise BuildTimeout(f"the {target} builder did not end within {counted(seconds, 'second')}") from None
    reply = _reply(child.stdout)
    if reply and "stage" not in reply:
        return reply
    kept = f" (log: {log})" if log.is_file() and log.stat().st_size else ""
    if child.returncode < 0:
        raise Unavailable(
            f"the {target} builder was killed by signal {-child.returncode}; if memory ran out, close other programs "
            f"or add swap, then build again{kept}"
        )
    if not reply:
        last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Unavailable(f"the {target} builder failed: {last}{kept}")
    raise _failure(target, reply, kept)


def _reply(text: str | bytes) -> dict[str, Any]:
    """Return the reply from what the child process printed; empty if there is none."""
    try:
        reply: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return reply


def _log_file(target: str) -> Path:
    """Returns the file for the builder's log during a build and after a failure; the null device if none is writable.

    Each process has its own, as several may build at the same time. After a successful build, the log is moved into the
    folder of the engine. The logs of processes that have ended are removed by the next build.
    """
    file = journal.cache_folder() / f"{target}-build-{os.getpid()}.log"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for old in file.parent.glob(f"{target}-build-*.log"):
            if old == file or not _is_running(old.stem.rpartition("-")[2]):
                old.unlink(missing_ok=True)  # writing to a pipe of this name would never end
        file.write_bytes(b"")
    except OSError:
        return Path(os.devnull)
    return file


def _is_running(process: str) -> bool:
    """Whether a process with this id runs, or the text is no id."""
    if not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to another user, or there cannot be such an id
        return True
    return True


_FAILURES: dict[str, tuple[type[TcjaError], str]] = {
    "start": (
        Unavailable,
        "{target} cannot start a builder on this machine, it needs a GPU and its driver (`target` onnx builds no "
        "engine): {log}",
    ),
    "plugin": (Unavailable, "`plugin`: {log}"),
    "old": (Unavailable, "{log}: install a newer one; on a Jetson, JetPack 6.1 or later has it"),
    "option": (BadInput, "{log}"),
    "memory": (
        Unavailable,
        "the memory of this machine is not enough for the {target} builder: {log}; close other programs, add swap, or "
        "give it less with `workspace`",
    ),
    "write": (Unavailable, "the engine could not be written: {log}"),
    "types": (BadInput, "{target} would not compute in the model's precision: {log}"),
    "build": (BadInput, "{target} cannot build the model: {log}"),
    "parse": (BadInput, "{target} cannot parse the model: {log}"),
}
"""For each stage at which a build can fail, the class and the text of the error."""


def _failure(target: str, reply: dict[str, Any], kept: str) -> TcjaError:
    errors = "; ".join(
        f"node {e['node'] or '?'} (operator {e['operator'] or '?'}, PyTorch module {_module(e['node'])}): "
        f"{e['code']}, {e['text']}"
        for e in reply.get("errors", ())
    )
    error, text = _FAILURES[reply["stage"]]
    log = errors or " / ".join(reply["log"]) or "its log is empty"
    return error(text.format(target=target, log=log + kept))


def _module(node: str) -> str:
    """Returns the name of the PyTorch module of an exported node, from the node's name."""
    return node.rpartition("/")[0] or "of the whole network"
