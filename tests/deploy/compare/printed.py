"""What the commands print with `--json` on a board, shortened; `test_comparison` holds it against the commands."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ...sidecars import engine_info

Json = dict[str, Any]

MODEL, OTHER_MODEL = "NVIDIA Jetson Orin Nano", "NVIDIA Jetson AGX Orin"
JETPACK, OLDER_JETPACK = "JetPack 6.2 (Jetson Linux 36.4.3)", "JetPack 6.1 (Jetson Linux 36.4.0)"


def about(number: int, /, **changes: Any) -> Json:
    """What each result says of a board, which has a number."""
    machine = {"id": f"{number:016x}", "board": MODEL, "gpu": MODEL, "jetpack": JETPACK, "power_mode": "25W"}
    found = {
        "bundle": "a.bundle",
        "bundle_sha256": "1f" * 32,
        "machine": {**machine, **{name: value for name, value in changes.items() if name in machine}},
        "versions": {"python": "3.10.12", "numpy": "1.26.4", "tensorrt": "10.3.0"},
    }
    return {**found, **{name: value for name, value in changes.items() if name in found}}


def engine(number: int) -> str:
    """The hash of the engine that a board built."""
    return f"{number:02x}" * 32


def build(number: int, /, **changes: Any) -> Json:
    info = dataclasses.asdict(engine_info(sha256=engine(number)))
    return {**about(number, **changes), "engine": "orin-sm87-trt10.3.0-fp16", **info}


def verify(number: int, /, *, classes: str = "5a", failure: str = "", unlike: str = "", **changes: Any) -> Json:
    title = "TensorRT 10.3.0, Orin"
    answers = {"backend": title, "engine_sha256": engine(number), "data": "golden windows", "windows": 16}
    backend = {"backend": title, "failures": [{"kind": "spikes", "text": failure}] if failure else []}
    found = {"met": not failure, "backends": [backend], "engines": [{"backend": title, "engine": "orin"}]}
    return {
        **about(number, **changes),
        "network": "fashion_mnist",
        **found,
        "answers": [{**answers, "sha256": classes * 32}],
        "unlike": unlike,
    }


def bench(number: int, /, *, p50: float = 0.002, joules: float | None = 0.01, **changes: Any) -> Json:
    case = {"backend": "tensorrt", "title": "TensorRT 10.3.0, fp16 engine, Orin", "engine": "orin", "batch": 1}
    latency = {"runs": 1000, "p50": p50, "p90": p50, "p99": 1.2 * p50}
    measured = {"engine_sha256": engine(number), "latency": latency, "joules": joules}
    return {**about(number, **changes), "network": "fashion_mnist", **case, **measured}


def classified(number: int, /, *, drifted: int | None = 0, unlike: str = "", **changes: Any) -> Json:
    windows = [{"file": "a.npz", "window": i} for i in range(20)]
    said = {"network": "fashion_mnist", "windows": windows, "drifted": drifted, "unlike": unlike}
    return {**about(number, **changes), **said}


def all_of(number: int, /, **changes: Any) -> list[Json]:
    """All results of a board, with the same changes."""
    return [made(number, **changes) for made in (build, verify, bench, classified)]


def file(path: Path, *results: Json) -> Path:
    """Write results into a file, as commands print them one after another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(each, indent=1) for each in results))
    return path
