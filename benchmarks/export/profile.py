"""Where an export's time and memory go, step by step: `tcja-deploy export --target onnx` in this process.

    python -m benchmarks.export.profile CHECKPOINT OUT.bundle

A line a call, printed when it ends: seconds since the start, its own wall and processor seconds (all threads), by how
much it raised the process's peak memory, and that peak. Calls inside another are indented before it.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

START = time.monotonic()
OPEN: list[str] = []
"""The calls that have not ended."""


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        wall, processor, before = time.monotonic(), time.process_time(), peak()
        OPEN.append(name)
        try:
            return call(*args, **kwargs)
        finally:
            OPEN.pop()
            seconds, used = time.monotonic() - wall, time.process_time() - processor
            shown = f"{'  ' * len(OPEN)}{name}"
            print(
                f"{time.monotonic() - START:7.1f} s  {shown:34}{seconds:7.2f} s{used:7.2f} s cpu"
                f"{peak() - before:+8.0f} MiB{peak():7.0f} MiB"
            )

    return wrapped


def modules() -> dict[str, Any]:
    import onnx

    from tcja_deploy.export import certify, pipeline
    from tcja_exporters import passes, time_forms
    from tcja_exporters.graph import export
    from tcja_exporters.reference import recorder
    from tcja_runtime.backends.probe import Probe
    from tcja_runtime.evidence import golden

    return {
        "pipeline": pipeline,
        "certify": certify,
        "export": export,
        "passes": passes,
        "checker": onnx.checker,
        "time_forms": time_forms,
        "reference": recorder,
        "golden": golden,
        "probe": Probe,
    }


STEPS = (
    ("pipeline", "_trained"),
    ("export", "_torch_export"),
    ("passes", "run"),
    ("checker", "check_model"),
    ("time_forms", "lower"),
    ("pipeline", "export_onnx"),
    ("pipeline", "save"),
    ("reference", "layers"),
    ("reference", "record"),
    ("certify", "advise"),
    ("probe", "output"),
    ("probe", "stimulated"),
    ("probe", "forced"),
    ("probe", "free"),
    ("probe", "gated"),
    ("certify", "compare"),
    ("pipeline", "certify"),
    ("golden", "save"),
)


def main() -> None:
    found = timed("import", modules)()
    for owner, name in STEPS:
        setattr(found[owner], name, timed(f"{owner}.{name}", getattr(found[owner], name)))
    from tcja_deploy.export.request import ExportRequest

    request = ExportRequest(checkpoint=Path(sys.argv[1]), out=Path(sys.argv[2]), target="onnx")
    timed("pipeline.export", found["pipeline"].export)(request)


if __name__ == "__main__":
    main()
