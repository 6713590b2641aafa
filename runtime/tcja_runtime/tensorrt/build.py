"""TensorRT engines: built from model.plain.onnx in a child process, with whichever TensorRT is installed.

A native builder can abort its process and keeps the GPU's memory until it ends, hence the child
(`tcja_runtime.tensorrt.builder_process`). Neither needs torch or onnx, so the same code builds on a board.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tcja_runtime.choices import ENGINE_TARGETS, HARDWARE, Hardware
from tcja_runtime.errors import BadInput, TcjaError, Unavailable
from tcja_runtime.files import journal

LARGEST_BATCH = 1024
"""More windows than this at once exceed any board's memory, and soon TensorRT's limits on a tensor."""

LEVELS = range(6)
"""TensorRT's optimisation levels, from the fastest build to the fastest engine."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Batch sizes an engine takes: the least, the one it is tuned for, the most."""

    least: int
    tuned: int
    most: int

    @classmethod
    def parse(cls, text: str) -> Batch:
        """From MIN:OPT:MAX, or one number for all three.

        Raises:
            BadInput: it is anything else.
        """
        try:
            numbers = [int(part) for part in text.split(":")]
            least, tuned, most = numbers * 3 if len(numbers) == 1 else numbers
        except ValueError:
            raise BadInput(f"`batch` {text} is not MIN:OPT:MAX, for example 1:1:8") from None
        if not 1 <= least <= tuned <= most <= LARGEST_BATCH:
            raise BadInput(f"`batch` {text}: 1 <= MIN <= OPT <= MAX <= {LARGEST_BATCH} must hold")
        return cls(least, tuned, most)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to build an engine.

    Attributes:
        batch: sizes of the optimisation profile.
        tf32: whether float32 products may round their operands to TF32, which flips spikes near a threshold.
        level: one of `LEVELS`; None takes TensorRT's own default.
        workspace: bytes of the GPU's memory a layer may use; None takes part of what is free.
        version_compatible: whether later TensorRT versions of the same major one may load the engine.
        hardware: one of `tcja_runtime.choices.HARDWARE`; None for this GPU alone.
        plugin: whether spiking layers are the plugin's CUDA kernel (`tcja_runtime.tensorrt.plugin`), not standard
            operators.
    """

    batch: Batch = Batch(1, 1, 8)
    tf32: bool = False
    level: int | None = None
    workspace: int | None = None
    version_compatible: bool = False
    hardware: str | None = None
    plugin: bool = False

    def __post_init__(self) -> None:
        if self.level is not None and self.level not in LEVELS:
            raise BadInput(f"`level` {self.level} must be {LEVELS[0]} to {LEVELS[-1]}")
        if self.workspace is not None and not 2**20 <= self.workspace <= 2**40:
            raise BadInput(f"`workspace` {self.workspace / 2**20:g} must be 1 to {2**20} MiB")
        if self.hardware is not None and self.hardware not in HARDWARE:
            raise BadInput(f"`hardware` {self.hardware} must be {' or '.join(HARDWARE)}")


@dataclasses.dataclass(frozen=True)
class Engine:
    """A built engine: its folder's name, and what engine.json says."""

    name: str
    sidecar: dict[str, Any]


def installed() -> list[str]:
    """The targets that this Python can build for, the default first."""
    return [target for target, module in ENGINE_TARGETS.items() if importlib.util.find_spec(module)]


def require(target: str) -> None:
    """Check that a target's builder is installed.

    Raises:
        Unavailable: it is not.
    """
    if target not in installed():
        raise Unavailable(
            f"`target` {target} needs the package {target}: run 'pip install {target}'; on a Jetson JetPack has it"
        )


def refuse_plugin(target: str, options: BuildOptions) -> None:
    """Refuse a plugin where there can be none.

    Raises:
        BadInput: the plugin is asked for, and the target is TensorRT-RTX.
    """
    if options.plugin and target == "tensorrt-rtx":
        raise BadInput("`plugin`: TensorRT-RTX has no plugins; leave it out, or build with `target` tensorrt")


def build(
    model: Path,
    engines: Path,
    target: str,
    options: BuildOptions,
    precision: str,
    products: Mapping[str, int],
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Engine:
    """Build an engine for this machine (tensorrt) or for desktop RTX GPUs (tensorrt-rtx).

    Args:
        model: a model in standard operators, or, for the plugin, with TcjaLif; its types are what the engine computes
            in.
        engines: folder to put the engine's own folder in: model.engine, engine.json and build.log.
        target: one of `tcja_runtime.choices.ENGINE_TARGETS`.
        options: of the build.
        precision: of the model, for the folder's name.
        products: how many convolutions and matrix products it has in each type at least, "FLOAT", "HALF" or "INT8".
        shapes: of inputs that take one shape alone, by name; of the others the first axis is the batch.

    Raises:
        Unavailable: TensorRT, a GPU or memory that it needs is missing, or the builder was killed.
        BadInput: TensorRT cannot parse or build the model, the text names the ONNX node and the PyTorch module; or it
            would compute in other types than the model's.
    """
    refuse_plugin(target, options)
    require(target)
    if options.version_compatible and target == "tensorrt-rtx":
        raise BadInput("`version_compatible` is for full TensorRT; TensorRT-RTX cannot; leave it out")
    log = _log_file(target)
    request = {
        "parent": os.getpid(),
        "module": ENGINE_TARGETS[target],
        "model": str(model),
        "engines": str(engines),
        "precision": precision,
        "products": dict(products),
        "shapes": {name: list(shape) for name, shape in (shapes or {}).items()},
        "log": str(log),
        "cache": str(journal.folder() / "timing"),
        **dataclasses.asdict(options),
        "hardware": options.hardware and Hardware(options.hardware).name,
        "batch": dataclasses.astuple(options.batch),
    }
    child = subprocess.run(
        [sys.executable, "-m", "tcja_runtime.tensorrt.builder_process"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONSAFEPATH": "1"},  # no module is taken from the folder the user happens to be in
    )
    kept = f" (log: {log})" if log.exists() and log.stat().st_size else ""
    if child.returncode < 0:
        raise Unavailable(
            f"the {target} builder was killed by signal {-child.returncode}; if memory ran out, close other programs "
            f"or add swap, then build again{kept}"
        )
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Unavailable(f"the {target} builder failed: {last}{kept}") from None
    if "engine" in answer:
        return Engine(answer["engine"], answer["sidecar"])
    raise _failure(target, answer, kept)


def _log_file(target: str) -> Path:
    """Where the builder's log is kept while it works, and after it fails; nowhere if that cannot be written."""
    file = journal.folder() / f"{target}-build.log"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # a pipe in its place would never end
        file.write_bytes(b"")
    except OSError:
        return Path(os.devnull)
    return file


def _failure(target: str, answer: dict[str, Any], kept: str) -> TcjaError:
    log = (" / ".join(answer["log"]) or "its log is empty") + kept
    if answer["stage"] == "start":
        return Unavailable(
            f"{target} cannot start a builder on this machine, it needs a GPU and its driver (`target` onnx builds no "
            f"engine): {log}"
        )
    if answer["stage"] == "plugin":
        return Unavailable(f"`plugin`: {log}")
    if answer["stage"] == "old":
        return Unavailable(log)
    if answer["stage"] == "option":
        return BadInput(log)
    if answer["stage"] == "memory":
        return Unavailable(
            f"the memory of this machine is not enough for the {target} builder: {log}; close other programs, add "
            "swap, or give it less with `workspace`"
        )
    if answer["stage"] == "write":
        return Unavailable(f"the engine could not be written: {log}")
    if answer["stage"] == "types":
        return BadInput(f"{target} would not compute in the model's precision: {log}")
    if answer["stage"] == "build":
        return BadInput(f"{target} cannot build the model: {log}")
    errors = "; ".join(
        f"node {e['node'] or '?'} (operator {e['operator'] or '?'}, PyTorch module {_module(e['node'])}): "
        f"{e['code']}, {e['text']}"
        for e in answer["errors"]
    )
    return BadInput(f"{target} cannot parse the model: {errors + kept if errors else log}")


def _module(node: str) -> str:
    """The PyTorch module that an exported node is named after."""
    return node.rpartition("/")[0] or "of the whole network"
