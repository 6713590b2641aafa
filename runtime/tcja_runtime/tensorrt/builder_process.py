"""The child process that builds an engine: a request in JSON on stdin, the answer in JSON on stdout.

Every name of TensorRT's Python module used here exists from 10.3 to 11.4 and in TensorRT-RTX 1.7, but those that the
code guards with `hasattr`; a test compares them with what the bindings of each version hold.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import datetime
import fcntl
import importlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tcja_runtime.bundle.bundle import WEIGHTS, sha256
from tcja_runtime.errors import Unavailable
from tcja_runtime.machine.gpu import free_memory, gpu
from tcja_runtime.machine.jetpack import OLDEST_TENSORRT
from tcja_runtime.tensorrt import plugin
from tcja_runtime.tensorrt.plugin.model import with_plugin

RTX_TARGETS = ("SM80", "SM86", "SM89", "SM120")
"""What TensorRT-RTX builds for by default: Ampere, Ada and Blackwell."""

WORKSPACE = 1 / 2
"""Share of the free memory that a layer may use; the rest is for weights, activations and the other programs."""

_NO_MEMORY = ("out of memory", "outofmemory", "out_of_memory", "bad_alloc", "insufficient memory", "cannot allocate")

Answer = dict[str, Any]


class Refused(Exception):
    """The build cannot go on: the stage it came to, and why."""

    def __init__(self, stage: str, *log: str, **more: Any) -> None:
        super().__init__(stage)
        self.answer: Answer = {"stage": stage, "log": list(log), **more}


def main() -> None:
    """Read the request, build, answer."""
    _die_with_parent()
    request = json.load(sys.stdin)
    if os.getppid() != request["parent"]:  # which ended before it could be asked for
        return
    # TensorRT and its modules print to stdout, too, and the answer must stand there alone.
    with os.fdopen(os.dup(1), "w") as stdout:
        os.dup2(2, 1)
        json.dump(_answer(request), stdout)


def _answer(request: dict[str, Any]) -> Answer:
    try:
        return _build(request)
    except Refused as refused:
        return refused.answer
    except MemoryError:
        return {"stage": "memory", "log": ["it ran out"]}


def _build(request: dict[str, Any]) -> Answer:
    trt = importlib.import_module(request["module"])
    version = str(trt.__version__)
    if not _is_rtx(request) and tuple(map(int, version.split(".")[:2])) < OLDEST_TENSORRT:
        oldest = ".".join(map(str, OLDEST_TENSORRT))
        raise Refused("old", f"TensorRT {version} is too old, {oldest} is needed: JetPack 6.1 or later has it")
    form = _plugin(trt) if request["plugin"] else None
    errors: list[str] = []
    with Path(request["log"]).open("w", encoding="utf-8", buffering=1) as kept:
        logger = _logger(trt, errors, kept)
        try:
            builder = trt.Builder(logger)
        except TypeError as error:  # what pybind11 makes of a builder that is null
            raise Refused("start", *(errors or [str(error)])) from error
        # Precision is what the graph says, on every version.
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        fused = None
        if form is None:
            parsed = parser.parse_from_file(request["model"])
        else:
            model, fused = with_plugin(Path(request["model"]).read_bytes(), form == plugin.AHEAD_OF_TIME)
            parsed = parser.parse(model, request["model"])
        if not parsed:
            raise Refused("parse", *errors, errors=_parse_errors(parser))
        if fused is not None:
            _check_plugin(trt, network, fused.nodes)
        products = _products(trt, network)
        _check_products(products, request["products"])

        config = builder.create_builder_config()
        device = _device(trt, config)
        _configure(trt, config, request)
        profile = builder.create_optimization_profile()
        sources = [network.get_input(i) for i in range(network.num_inputs)]
        for source in sources:
            whole = request["shapes"].get(source.name)
            shapes = [whole] * 3 if whole else [(n, *tuple(source.shape)[1:]) for n in request["batch"]]
            profile.set_shape(source.name, *shapes)
        config.add_optimization_profile(profile)
        began = time.monotonic()
        timings = Path(request["cache"]) / f"{device}-{request['module']}{trt.__version__}.cache"
        # TensorRT-RTX has no timings, and warns if it is given a cache.
        with contextlib.nullcontext() if _is_rtx(request) else _timings(config, timings):
            plan = builder.build_serialized_network(network, config)
        seconds = time.monotonic() - began
        if plan is None:
            lacks_memory = any(sign in message.lower() for message in errors for sign in _NO_MEMORY)
            raise Refused("memory" if lacks_memory else "build", *errors)

    precision = "tf32" if request["tf32"] and request["precision"] == "fp32" else request["precision"]
    library = "rtx" if _is_rtx(request) else "trt"
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    sidecar = {
        "module": request["module"],
        "version": trt.__version__,
        "device": device,
        "precision": precision,
        "products": products,
        "tf32": request["tf32"],
        "version_compatible": request["version_compatible"],
        "hardware": request["hardware"],
        "level": config.builder_optimization_level,
        "workspace": config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE),
        "batch": request["batch"],
        "model_sha256": sha256(Path(request["model"])),
        "plugin": {"form": form, **dataclasses.asdict(fused)} if fused is not None else None,
        "tensors": [
            {"name": t.name, "type": _last(t.dtype), "shape": list(t.shape), "input": is_input}
            for is_input, tensors in ((True, sources), (False, outputs))
            for t in tensors
        ],
        "layers": network.num_layers,
        "build_seconds": round(seconds, 3),
        "bytes": plan.nbytes,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    name = f"{device}-{library}{trt.__version__}-{precision}{'-plugin' if request['plugin'] else ''}"
    try:
        folder = Path(request["engines"]) / name
        folder.mkdir(parents=True)
        (folder / "model.engine").write_bytes(memoryview(plan))
        sidecar["sha256"] = sha256(folder / "model.engine")
        (folder / "engine.json").write_text(json.dumps(sidecar, indent=1) + "\n")
        if request["log"] != os.devnull:
            shutil.move(request["log"], folder / "build.log")
    except OSError as error:
        raise Refused("write", str(error)) from error
    return {"engine": name, "sidecar": sidecar}


def _is_rtx(request: dict[str, Any]) -> bool:
    return bool(request["module"] == "tensorrt_rtx")


def _last(value: Any) -> str:
    """The name of an enum's member: `ErrorCode.name` is a method on some versions and a property on others."""
    return str(value).rpartition(".")[2]


def _logger(trt: Any, errors: list[str], kept: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.VERBOSE:
                return
            kept.write(f"{_last(severity)}: {message.strip()}\n")
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                errors.append(" ".join(message.split()))

    return Logger()


def _parse_errors(parser: Any) -> list[dict[str, str]]:
    errors = (parser.get_error(i) for i in range(parser.num_errors))
    return [
        {
            "code": _last(error.code()),
            "node": error.node_name(),
            "operator": error.node_operator(),
            "text": " ".join(error.desc().split()),
        }
        for error in errors
    ]


def _plugin(trt: Any) -> str:
    """Make the plugin known to TensorRT, with all that it needs to build an engine; which form of it."""
    try:
        form = plugin.register(trt)
        plugin.check(form)
    except Unavailable as error:
        raise Refused("plugin", str(error)) from error
    return form


def _check_plugin(trt: Any, network: Any, nodes: int) -> None:
    """Refuse to build if TensorRT took something else for the plugin's nodes."""
    layers = (network.get_layer(i) for i in range(network.num_layers))
    taken = sum(layer.type == trt.LayerType.PLUGIN_V3 for layer in layers)
    if taken != nodes:
        raise Refused("plugin", f"TensorRT took {taken} of {nodes} spiking layers for the plugin's")


def _products(trt: Any, network: Any) -> dict[str, int]:
    """How many convolutions and matrix products compute in each type; INT8 where both operands are dequantised."""
    kinds = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    shapers = [trt.LayerType.SHUFFLE]  # which the parser may put before a product
    if hasattr(trt.LayerType, "UNSQUEEZE"):
        shapers.append(trt.LayerType.UNSQUEEZE)
    dequantized = set[str]()
    for layer in layers:
        if layer.type == trt.LayerType.DEQUANTIZE or (layer.type in shapers and layer.get_input(0).name in dequantized):
            dequantized.add(layer.get_output(0).name)
    found = collections.Counter[str]()
    for layer in layers:
        if layer.type in kinds:
            operands = [layer.get_input(i) for i in range(min(2, layer.num_inputs))]
            quantized = len(operands) == 2 and all(tensor.name in dequantized for tensor in operands)
            found["INT8" if quantized else _last(layer.get_output(0).dtype)] += 1
    return dict(found)


def _check_products(found: dict[str, int], wanted: dict[str, int]) -> None:
    for kind, n in wanted.items():
        if found.get(kind, 0) < n:
            raise Refused("types", f"{n} products are to be {kind}, it has {found or 'none'}")


def _configure(trt: Any, config: Any, request: dict[str, Any]) -> None:
    if request["tf32"]:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default; it moves values near a threshold
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if request["level"] is not None:
        config.builder_optimization_level = request["level"]
    if request["version_compatible"]:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if request["hardware"] is not None:
        if not hasattr(trt.HardwareCompatibilityLevel, request["hardware"]):
            raise Refused(
                "option",
                f"{request['module']} {trt.__version__} has no hardware compatibility level "
                f"{request['hardware']}; leave `hardware` out",
            )
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, request["hardware"])
    workspace = request["workspace"]
    if not _is_rtx(request):  # which builds without the GPU that the memory is of
        free = free_memory()
        check_memory(free, Path(request["model"]))
        if workspace is None and free is not None:
            workspace = int(WORKSPACE * free)
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)


def check_memory(free: int | None, model: Path) -> None:
    """Refuse to begin what cannot end: the builder holds the weights some three times, and its libraries."""
    weights = model.parent / WEIGHTS
    least = 2**28 + 3 * (weights if weights.exists() else model).stat().st_size
    if free is not None and free < least:
        raise Refused("memory", f"{free / 2**20:,.0f} MiB are free, about {least / 2**20:,.0f} MiB are needed")


@contextlib.contextmanager
def _timings(config: Any, file: Path) -> Iterator[None]:
    """Within, the builder knows the timings of earlier builds; afterwards later ones know its.

    A cache is of one device and version. Other processes may have added to it meanwhile, so what is there is merged.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_suffix(".lock").open("w")
    except OSError:  # a build without earlier timings is only slower
        yield
        return
    with lock:
        config.set_timing_cache(_timing_cache(config, file), False)
        yield
        fcntl.flock(lock, fcntl.LOCK_EX)
        merged = config.get_timing_cache()
        merged.combine(_timing_cache(config, file), False)
        partial = file.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):  # later builds are slower then
            partial.write_bytes(memoryview(merged.serialize()))
            partial.replace(file)


def _timing_cache(config: Any, file: Path) -> Any:
    """The timings in a file; none where there are none, or where they are of another build of TensorRT."""
    content = file.read_bytes() if file.is_file() else b""
    return config.create_timing_cache(content) or config.create_timing_cache(b"")


def _device(trt: Any, config: Any) -> str:
    """What the engine is for: this machine's GPU, or the generations that TensorRT-RTX compiles for."""
    if not hasattr(config, "num_compute_capabilities"):
        found = gpu()
        if found is None:
            raise Refused("start", "no GPU was found")
        return found.slug
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
