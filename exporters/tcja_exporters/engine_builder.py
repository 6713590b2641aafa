"""The child process that builds an engine: a request in JSON on stdin, the answer in JSON on stdout.

Every name of TensorRT's Python module used here exists from 10.3 to 11.4 and in TensorRT-RTX 1.7, but those that the
code guards.
"""

from __future__ import annotations

import ctypes
import datetime
import importlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tcja_runtime.bundle import sha256
from tcja_runtime.machine import gpu

RTX_TARGETS = ("SM80", "SM86", "SM89", "SM120")
"""What TensorRT-RTX builds for by default: Ampere, Ada and Blackwell."""


def main() -> None:
    """Read the request, build, answer."""
    _die_with_parent()
    request = json.load(sys.stdin)
    json.dump(_build(request), sys.stdout)


def _build(request: dict[str, Any]) -> dict[str, Any]:
    trt = importlib.import_module(request["module"])
    log: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                log.append(message.strip())

    logger = Logger()
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # what pybind11 makes of a builder that is null
        return {"stage": "start", "log": log or [str(error)]}
    # Precision is what the graph says, on every version.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(request["model"]):
        return {"stage": "parse", "log": log, "errors": _parse_errors(parser)}

    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # it would move values near a threshold
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    (source,) = (network.get_input(i) for i in range(network.num_inputs))
    profile = builder.create_optimization_profile()
    profile.set_shape(source.name, *((n, *tuple(source.shape)[1:]) for n in request["batch"]))
    config.add_optimization_profile(profile)
    device = _device(trt, config)
    if device is None:
        return {"stage": "start", "log": ["no GPU was found"]}

    began = time.monotonic()
    plan = builder.build_serialized_network(network, config)
    seconds = time.monotonic() - began
    if plan is None:
        return {"stage": "build", "log": log}

    version = trt.__version__
    flavour = "rtx" if request["module"] == "tensorrt_rtx" else "trt"
    name = f"{device}-{flavour}{version}-fp32"
    tensors = [network.get_input(0), *(network.get_output(i) for i in range(network.num_outputs))]
    sidecar = {
        "module": request["module"],
        "version": version,
        "device": device,
        "precision": "fp32",
        "tf32": False,
        "batch": request["batch"],
        "model_sha256": sha256(Path(request["model"])),
        "tensors": [
            {"name": t.name, "type": str(t.dtype).rpartition(".")[2], "shape": list(t.shape), "input": t is tensors[0]}
            for t in tensors
        ],
        "layers": network.num_layers,
        "build_seconds": round(seconds, 3),
        "bytes": plan.nbytes,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    try:
        folder = Path(request["engines"]) / name
        folder.mkdir(parents=True)
        (folder / "model.engine").write_bytes(memoryview(plan))
        sidecar["sha256"] = sha256(folder / "model.engine")
        (folder / "engine.json").write_text(json.dumps(sidecar, indent=1) + "\n")
    except OSError as error:
        return {"stage": "write", "log": [str(error)]}
    return {"engine": name, "sidecar": sidecar}


def _parse_errors(parser: Any) -> list[dict[str, str]]:
    errors = (parser.get_error(i) for i in range(parser.num_errors))
    return [
        {
            # ErrorCode.name is a method on some versions and a property on others.
            "code": str(error.code()).rpartition(".")[2],
            "node": error.node_name(),
            "operator": error.node_operator(),
            "text": " ".join(error.desc().split()),
        }
        for error in errors
    ]


def _device(trt: Any, config: Any) -> str | None:
    """What the engine is for: this machine's GPU, or the generations that TensorRT-RTX compiles for."""
    if not hasattr(config, "num_compute_capabilities"):
        found = gpu()
        return found.slug if found else None
    config.num_compute_capabilities = len(RTX_TARGETS)
    for i, target in enumerate(RTX_TARGETS):
        config.set_compute_capability(getattr(trt.ComputeCapability, target), i)
    return "-".join(RTX_TARGETS).lower()


def _die_with_parent() -> None:
    """Ask Linux to end this process when the one that waits for it ends, however that ends."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # <linux/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    main()
