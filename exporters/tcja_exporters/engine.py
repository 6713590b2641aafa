"""TensorRT engines: built from model.plain.onnx in a child process, with whichever TensorRT is installed.

A native builder can abort its process and keeps the GPU's memory until it ends, hence the child
(`tcja_exporters.engine_builder`). Neither needs torch or onnx, so the same code builds on a board.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tcja_runtime.errors import BadInput, TcjaError, Unavailable

FLAVOURS = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""Module by target name; the first that is installed is the default."""


LARGEST_BATCH = 1024
"""More windows than this at once exceed any board's memory, and soon TensorRT's limits on a tensor."""


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
            raise BadInput(f"--batch {text} is not MIN:OPT:MAX, for example 1:1:8") from None
        if not 1 <= least <= tuned <= most <= LARGEST_BATCH:
            raise BadInput(f"--batch {text}: 1 <= MIN <= OPT <= MAX <= {LARGEST_BATCH} must hold")
        return cls(least, tuned, most)


@dataclasses.dataclass(frozen=True)
class Engine:
    """A built engine: its folder's name, and what engine.json says."""

    name: str
    sidecar: dict[str, Any]


def installed() -> list[str]:
    """The targets that this Python can build for, the default first."""
    return [target for target, module in FLAVOURS.items() if importlib.util.find_spec(module)]


def require(target: str) -> None:
    """Check that a target's builder is installed.

    Raises:
        Unavailable: it is not.
    """
    if target not in installed():
        raise Unavailable(f"--target {target} needs the package {target}: run 'pip install {target}'")


def build(model: Path, engines: Path, target: str, batch: Batch) -> Engine:
    """Build an engine for this machine (tensorrt) or for desktop RTX GPUs (tensorrt-rtx).

    Args:
        model: a model in standard operators.
        engines: folder to put the engine's own folder in.
        target: one of `FLAVOURS`.
        batch: sizes of the optimisation profile.

    Raises:
        Unavailable: TensorRT, or a GPU that it needs, is missing, or the builder was killed.
        BadInput: TensorRT cannot parse or build the model; the text names the ONNX node and the PyTorch module.
    """
    require(target)
    request = {
        "module": FLAVOURS[target],
        "model": str(model),
        "engines": str(engines),
        "batch": dataclasses.astuple(batch),
    }
    child = subprocess.run(
        [sys.executable, "-m", "tcja_exporters.engine_builder"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONSAFEPATH": "1"},  # no module is taken from the folder the user happens to be in
    )
    if child.returncode < 0:
        raise Unavailable(
            f"the {target} builder was killed by signal {-child.returncode}; if memory ran out, close other programs "
            "or add swap, then build again"
        )
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Unavailable(f"the {target} builder failed: {last}") from None
    if "engine" in answer:
        return Engine(answer["engine"], answer["sidecar"])
    raise _failure(target, answer)


def _failure(target: str, answer: dict[str, Any]) -> TcjaError:
    log = " / ".join(answer["log"]) or "its log is empty"
    if answer["stage"] == "start":
        return Unavailable(
            f"{target} cannot start a builder on this machine, it needs a GPU and its driver (--target onnx builds no "
            f"engine): {log}"
        )
    if answer["stage"] == "write":
        return Unavailable(f"the engine could not be written: {log}")
    if answer["stage"] == "build":
        return BadInput(f"{target} cannot build the model: {log}")
    errors = "; ".join(
        f"node {e['node'] or '?'} (operator {e['operator'] or '?'}, PyTorch module {_module(e['node'])}): "
        f"{e['code']}, {e['text']}"
        for e in answer["errors"]
    )
    return BadInput(f"{target} cannot parse the model: {errors or log}")


def _module(node: str) -> str:
    """The PyTorch module that an exported node is named after."""
    return node.rpartition("/")[0] or "of the whole network"
