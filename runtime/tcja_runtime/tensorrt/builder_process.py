"""The child process that builds an engine: it reads a request from stdin and writes a reply to stdout, both in JSON.

It runs with the Python and the TensorRT of the board. Each name of TensorRT that it uses exists from 10.3 to 11.4 and
in TensorRT-RTX 1.7, or the code checks for it with `hasattr`. A test compares them with the bindings of each version.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import datetime
import fcntl
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tcja_runtime.bundle.bundle import WEIGHTS, sha256
from tcja_runtime.bundle.engines import ENGINE
from tcja_runtime.bundle.sidecar import SIDECAR, EngineInfo, PluginInfo, TensorInfo
from tcja_runtime.choices import ENGINE_TARGETS, Hardware
from tcja_runtime.errors import Unavailable
from tcja_runtime.machine.gpu import free_memory, gpu
from tcja_runtime.machine.versions import too_old
from tcja_runtime.tensorrt import plugin
from tcja_runtime.tensorrt.build import BuildRequest
from tcja_runtime.tensorrt.plugin.model import with_plugin

RTX_TARGETS = ("SM80", "SM86", "SM89", "SM120")
"""The GPU generations that TensorRT-RTX builds for by default: Ampere, Ada and Blackwell."""

WORKSPACE = 1 / 2
"""The share of the free memory that a layer may use. The rest is for weights, activations and other programs."""

_NO_MEMORY = ("out of memory", "outofmemory", "out_of_memory", "bad_alloc", "insufficient memory", "cannot allocate")


class Refused(Exception):
    """The error that ends a build.

    Attributes:
        reply: the stage at which the build failed ("stage"), and the reason ("log").
    """

    def __init__(self, stage: str, *log: str, **more: Any) -> None:
        super().__init__(stage)
        self.reply: dict[str, Any] = {"stage": stage, "log": list(log), **more}


@dataclasses.dataclass(frozen=True)
class _Job:
    """A parsed model, with all that TensorRT's builder needs to build an engine of it.

    Attributes:
        trt: TensorRT's Python module.
        request: the requested engine.
        parser: the parser of the model. It owns the network's weights, so it must exist until the engine is built.
        network: the parsed network.
        config: the builder's configuration.
        device: the device that the engine is for (`EngineInfo.device`).
        plugin: the use of the plugin; None without it.
    """

    trt: Any
    request: BuildRequest
    parser: Any
    network: Any
    config: Any
    device: str
    plugin: PluginInfo | None


def main(parent: str, log: str, timings: str) -> None:
    """Read the request from stdin, build the engine, and write the reply to stdout.

    Args:
        parent: the id of the process that waits for the reply.
        log: the file for the builder's log.
        timings: the folder where the timings of earlier builds are kept.
    """
    _die_with_parent()
    request = BuildRequest.from_json(sys.stdin.read())
    if os.getppid() != int(parent):  # the parent ended before `_die_with_parent` was called
        return
    # TensorRT and its modules also print to stdout. So the reply goes to a copy of stdout, and stdout to stderr.
    with os.fdopen(os.dup(1), "w") as stdout:
        os.dup2(2, 1)
        json.dump(reply(request, Path(log), Path(timings)), stdout)


def reply(request: BuildRequest, log: Path, timings: Path) -> dict[str, Any]:
    """Return the name and sidecar of a built engine, the layers of a parsed model, or the stage of a failure."""
    try:
        return _build(request, log, timings)
    except Refused as refused:
        return refused.reply
    except MemoryError:
        return {"stage": "memory", "log": ["it ran out"]}


def _build(request: BuildRequest, log: Path, timings: Path) -> dict[str, Any]:
    trt = importlib.import_module(ENGINE_TARGETS[request.target])
    _check_version(trt, request)
    form = _registered_plugin(trt) if request.options.plugin else None
    errors: list[str] = []
    with log.open("w", encoding="utf-8", buffering=1) as kept:
        logger = _logger(trt, errors, kept)
        try:
            builder = trt.Builder(logger)
        except TypeError as error:  # pybind11 raises it where TensorRT returns no builder
            raise Refused("start", *(errors or [str(error)])) from error
        # The types of the graph are the types of the engine, on every version.
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        used = _parse(trt, parser, network, request.model, form, errors)
        _check_products(trt, network, request.products)
        if request.only_parse:
            return {"layers": network.num_layers}
        config = builder.create_builder_config()
        job = _Job(trt, request, parser, network, config, _device(trt, config), used)
        _configure(job)
        _add_profile(builder, job)
        began = time.monotonic()
        with _timings(job, timings):
            plan = builder.build_serialized_network(network, config)
        seconds = time.monotonic() - began
        if plan is None:
            lacks_memory = any(sign in message.lower() for message in errors for sign in _NO_MEMORY)
            raise Refused("memory" if lacks_memory else "build", *errors)
    name, info = _write(job, plan, seconds, log)
    return {"engine": name, "sidecar": dataclasses.asdict(info)}


def _check_version(trt: Any, request: BuildRequest) -> None:
    if old := too_old(request.target, str(trt.__version__)):
        raise Refused("old", old)


def _registered_plugin(trt: Any) -> str:
    """Register the plugin in TensorRT, check that an engine with it can be built, and return the form of the plugin."""
    try:
        form = plugin.register(trt)
        plugin.check(form)
    except Unavailable as error:
        raise Refused("plugin", str(error)) from error
    return form


def _parse(trt: Any, parser: Any, network: Any, model: Path, form: str | None, errors: list[str]) -> PluginInfo | None:
    """Parse a model into a network, and return the use of the plugin; None without it.

    Args:
        trt: TensorRT's Python module.
        parser: the parser of the network.
        network: the network, still empty.
        model: the ONNX file.
        form: the form of the plugin; None for a model of standard operators.
        errors: the errors that TensorRT has logged so far.
    """
    if form is None:
        used, parsed = None, parser.parse_from_file(os.fsencode(model))
    else:
        changed, fused = with_plugin(model.read_bytes(), form == plugin.AHEAD_OF_TIME)
        used, parsed = PluginInfo(form=form, **dataclasses.asdict(fused)), parser.parse(changed, str(model))
    if not parsed:
        raise Refused("parse", *errors, errors=_parse_errors(parser))
    if used is not None:
        layers = (network.get_layer(i) for i in range(network.num_layers))
        taken = sum(layer.type == trt.LayerType.PLUGIN_V3 for layer in layers)
        if taken != used.nodes:
            raise Refused("plugin", f"TensorRT uses the plugin for {taken} of {used.nodes} spiking layers")
    return used


def _add_profile(builder: Any, job: _Job) -> None:
    """Set the smallest, the usual and the largest shape of each input in the builder's configuration."""
    network, config, batch = job.network, job.config, job.request.options.batch
    profile = builder.create_optimization_profile()
    for source in (network.get_input(i) for i in range(network.num_inputs)):
        whole = job.request.shapes.get(source.name)
        sizes = (batch.least, batch.tuned, batch.most)
        shapes = [tuple(whole)] * 3 if whole else [(n, *tuple(source.shape)[1:]) for n in sizes]
        profile.set_shape(source.name, *shapes)
    config.add_optimization_profile(profile)


def _write(job: _Job, plan: Any, seconds: float, log: Path) -> tuple[str, EngineInfo]:
    """Write a built engine, its sidecar and its log into a folder. Returns the engine's name and its sidecar."""
    options, precision = job.request.options, job.request.precision
    precision = "tf32" if options.tf32 and precision == "fp32" else precision
    name = job.request.engine_name(job.device, str(job.trt.__version__), precision)
    folder = job.request.engines / name
    try:
        folder.mkdir(parents=True)
        (folder / ENGINE).write_bytes(memoryview(plan))
        info = _info(job, precision, plan, seconds)
        (folder / SIDECAR).write_text(json.dumps(dataclasses.asdict(info), indent=1) + "\n")
        if str(log) != os.devnull:
            shutil.move(log, folder / "build.log")
    except OSError as error:
        raise Refused("write", str(error)) from error
    return name, info


def _info(job: _Job, precision: str, plan: Any, seconds: float) -> EngineInfo:
    trt, network, config, options = job.trt, job.network, job.config, job.request.options
    inputs = [(network.get_input(i), True) for i in range(network.num_inputs)]
    outputs = [(network.get_output(i), False) for i in range(network.num_outputs)]
    return EngineInfo(
        module=ENGINE_TARGETS[job.request.target],
        version=str(trt.__version__),
        device=job.device,
        precision=precision,
        products=_products(trt, network),
        tf32=options.tf32,
        version_compatible=options.version_compatible,
        hardware=options.hardware and Hardware(options.hardware).name,
        level=config.builder_optimization_level,
        workspace=config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE),
        batch=dataclasses.astuple(options.batch),
        model_sha256=sha256(job.request.model),
        plugin=job.plugin,
        tensors=[
            TensorInfo(name=t.name, type=_last(t.dtype), shape=tuple(t.shape), input=is_input)
            for t, is_input in (*inputs, *outputs)
        ],
        layers=network.num_layers,
        build_seconds=round(seconds, 3),
        bytes=plan.nbytes,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        sha256=hashlib.sha256(memoryview(plan)).hexdigest(),
    )


def _last(value: Any) -> str:
    """Returns the name of a member of an enum. `ErrorCode.name` is a method in some versions, a property in others."""
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


def _products(trt: Any, network: Any) -> dict[str, int]:
    """Returns the number of convolutions and matrix products by type: INT8 if both operands are dequantised."""
    kinds = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    shapers = [trt.LayerType.SHUFFLE]  # the parser may put such a layer between a DequantizeLinear and a product
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


def _check_products(trt: Any, network: Any, wanted: Mapping[str, int]) -> None:
    found = _products(trt, network)
    for kind, n in wanted.items():
        if found.get(kind, 0) < n:
            raise Refused("types", f"{n} products must be {kind}, the network has {found or 'none'}")


def _configure(job: _Job) -> None:
    trt, config, options = job.trt, job.config, job.request.options
    if options.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default; its rounding changes values near a threshold
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware is not None:
        level = Hardware(options.hardware).name
        if not hasattr(trt.HardwareCompatibilityLevel, level):
            raise Refused(
                "option",
                f"{job.request.target} {trt.__version__} has no hardware compatibility level {level}; leave `hardware` "
                "out",
            )
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    workspace = options.workspace
    if job.request.target == "tensorrt":  # TensorRT-RTX builds for GPUs that this machine may not have
        free = free_memory()
        check_memory(free, job.request.model)
        if workspace is None and free is not None:
            workspace = int(WORKSPACE * free)
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)


def check_memory(free: int | None, model: Path) -> None:
    """Check that the free memory, in bytes, is enough for a build: about three times the weights, and the libraries.

    Raises:
        Refused: the memory is not enough.
    """
    weights = model.parent / WEIGHTS
    least = 2**28 + 3 * (weights if weights.exists() else model).stat().st_size
    if free is not None and free < least:
        raise Refused("memory", f"{free / 2**20:,.0f} MiB are free, about {least / 2**20:,.0f} MiB are needed")


@contextlib.contextmanager
def _timings(job: _Job, folder: Path) -> Iterator[None]:
    """A context for a build. The builder gets the timings of earlier builds, and its new timings are stored at the end.

    The timings are in a file for one device and one version of TensorRT. Other processes may write to it during the
    build, so their timings are merged with the new ones. TensorRT-RTX has no timings, so nothing is done for it.
    """
    if job.request.target == "tensorrt-rtx":
        yield
        return
    config, file = job.config, folder / f"{job.device}-{job.request.target}{job.trt.__version__}.cache"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_suffix(".lock").open("w")
    except OSError:  # a build without earlier timings is slower, but works
        yield
        return
    with lock:
        config.set_timing_cache(_timing_cache(config, file), False)
        yield
        fcntl.flock(lock, fcntl.LOCK_EX)
        merged = config.get_timing_cache()
        merged.combine(_timing_cache(config, file), False)
        partial = file.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):  # without the file, later builds are slower
            partial.write_bytes(memoryview(merged.serialize()))
            partial.replace(file)


def _timing_cache(config: Any, file: Path) -> Any:
    """Returns the timings from a file. They are empty if there is none, or if TensorRT does not accept it."""
    content = file.read_bytes() if file.is_file() else b""
    return config.create_timing_cache(content) or config.create_timing_cache(b"")


def _device(trt: Any, config: Any) -> str:
    """Returns the device of the engine: this machine's GPU, or the GPU generations that TensorRT-RTX compiles for."""
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
    """Ask Linux to kill this process when its parent ends for any reason. The parent waits for the reply."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # <linux/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
