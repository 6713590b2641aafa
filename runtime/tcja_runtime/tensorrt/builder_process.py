"""The child process that builds an engine: it reads a request from stdin and writes a reply to stdout, both in JSON.

An engine is written before the reply, and the reply before the kernel plan is read. So the engine is not lost if the
process ends while it reads the plan, which may need a second build (`tcja_runtime.tensorrt.built_plan`).

It runs with the Python and the TensorRT of the board. Each name of TensorRT that it uses exists from 10.3 to 11.4 and
in TensorRT-RTX 1.7, or the code checks for it with `hasattr`. A test compares them with the bindings of each version.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import datetime
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO

from tcja_runtime.bundle.bundle import sha256
from tcja_runtime.bundle.origin.engine_list import ENGINE
from tcja_runtime.bundle.sidecar import SIDECAR, EngineInfo, PluginInfo, TensorInfo
from tcja_runtime.choices import ENGINE_TARGETS, Hardware
from tcja_runtime.errors import Unavailable
from tcja_runtime.machine.versions import too_old
from tcja_runtime.model_file.tensor_names import is_sum_of_places
from tcja_runtime.tensorrt import kernel_plan, plugin
from tcja_runtime.tensorrt.build import BuildRequest
from tcja_runtime.tensorrt.build_job import Job, Refused, device
from tcja_runtime.tensorrt.built_plan import built_plan
from tcja_runtime.tensorrt.plugin.model import with_plugin
from tcja_runtime.tensorrt.timing_cache import timings

_NO_MEMORY = ("out of memory", "outofmemory", "out_of_memory", "bad_alloc", "insufficient memory", "cannot allocate")


def main(parent: str, log: str, cache: str) -> None:
    """Read the request from stdin, build the engine, and write the reply to stdout.

    Args:
        parent: the id of the process that waits for the reply.
        log: the file for the builder's log.
        cache: the folder where the timings of earlier builds are kept.
    """
    _die_with_parent()
    request = BuildRequest.from_json(sys.stdin.read())
    if os.getppid() != int(parent):  # the parent ended before `_die_with_parent` was called
        return
    # TensorRT and its modules also print to stdout. So the reply goes to a copy of stdout, and stdout to stderr.
    with os.fdopen(os.dup(1), "w") as stdout:
        os.dup2(2, 1)

        def write(reply: Mapping[str, Any]) -> None:
            json.dump(reply, stdout)
            stdout.flush()

        work(request, Path(log), Path(cache), write)


def work(request: BuildRequest, log: Path, cache: Path, answer: Callable[[Mapping[str, Any]], None]) -> None:
    """Do what is requested, and answer once: the name of the engine, the layers of a parsed model, or how it failed.

    Args:
        request: the requested engine.
        log: the file for the builder's log. It is moved into the folder of the engine.
        cache: the folder where the timings of earlier builds are kept.
        answer: takes the answer.
    """
    with log.open("w", encoding="utf-8", buffering=1) as kept:
        try:
            made = _made(request, kept, cache)
        except Refused as refused:
            answer(refused.reply)
            return
        except MemoryError:
            answer({"stage": "memory", "log": ["it ran out"]})
            return
        if isinstance(made, int):
            answer({"layers": made})
            return
        answer({"engine": made.folder.name})
        kernels, unread = built_plan(made.job, made.plan, made.info.build_seconds)
    with contextlib.suppress(OSError):  # the engine is there without them
        _write_sidecar(made.folder, dataclasses.replace(made.info, plan=kernels, plan_unread=unread))
    with contextlib.suppress(OSError):
        if str(log) != os.devnull:
            shutil.move(log, made.folder / "build.log")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Made:
    """An engine that is written, with a sidecar without its kernel plan.

    Attributes:
        job: the job that it was built by.
        plan: the serialised engine.
        info: the content of the sidecar.
        folder: the folder of the engine.
    """

    job: Job
    plan: Any
    info: EngineInfo
    folder: Path


def _made(request: BuildRequest, kept: TextIO, cache: Path) -> _Made | int:
    """Build an engine and write it, or parse a model.

    Args:
        request: the requested engine.
        kept: the file for the builder's log.
        cache: the folder where the timings of earlier builds are kept.

    Returns:
        The engine, or the number of layers of the network if only the parser is asked.

    Raises:
        Refused: the engine cannot be built.
    """
    trt = importlib.import_module(ENGINE_TARGETS[request.target])
    _check_version(trt, request)
    form = _registered_plugin(trt) if request.options.plugin else None
    errors: list[str] = []
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
        return int(network.num_layers)
    job = Job(trt=trt, request=request, logger=logger, builder=builder, parser=parser, network=network, plugin=used)
    config = job.config(request.options.batch)
    began = time.monotonic()
    with _timings(job, config, cache):
        plan = builder.build_serialized_network(network, config)
    seconds = time.monotonic() - began
    if plan is None:
        lacks_memory = any(sign in message.lower() for message in errors for sign in _NO_MEMORY)
        raise Refused("memory" if lacks_memory else "build", *errors)
    info = _info(job, config, plan, round(seconds, 3))
    return _Made(job=job, plan=plan, info=info, folder=_write(job, plan, info))


def _timings(job: Job, config: Any, folder: Path) -> AbstractContextManager[None]:
    """A context for a build that uses the timings of earlier builds. TensorRT-RTX has none: it does nothing there."""
    if job.request.target == "tensorrt-rtx":
        return contextlib.nullcontext()
    return timings(config, folder / f"{device(config)}-{job.request.target}{job.trt.__version__}.cache")


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
        try:
            changed, fused = with_plugin(model.read_bytes(), form == plugin.AHEAD_OF_TIME)
        except Unavailable as error:
            raise Refused("plugin", str(error)) from error
        used, parsed = PluginInfo(form=form, **dataclasses.asdict(fused)), parser.parse(changed, str(model))
    if not parsed:
        raise Refused("parse", *errors, errors=_parse_errors(parser))
    if used is not None:
        layers = (network.get_layer(i) for i in range(network.num_layers))
        taken = sum(layer.type == trt.LayerType.PLUGIN_V3 for layer in layers)
        if taken != used.nodes:
            raise Refused("plugin", f"TensorRT uses the plugin for {taken} of {used.nodes} spiking layers")
    return used


def _write(job: Job, plan: Any, info: EngineInfo) -> Path:
    """Write a built engine and its sidecar into a folder. Returns the folder, which has the engine's name."""
    name = job.request.engine_name(info.device, info.version, info.precision)
    folder = job.request.engines / name
    try:
        folder.mkdir(parents=True)
        (folder / ENGINE).write_bytes(memoryview(plan))
        _write_sidecar(folder, info)
    except OSError as error:
        raise Refused("write", str(error)) from error
    return folder


def _write_sidecar(folder: Path, info: EngineInfo) -> None:
    """Write the sidecar of an engine. One that is there is replaced as a whole, or stays.

    Raises:
        OSError: it could not be written.
    """
    partial = folder / f".{SIDECAR}"
    try:
        partial.write_text(json.dumps(dataclasses.asdict(info), indent=1) + "\n")
        partial.replace(folder / SIDECAR)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _info(job: Job, config: Any, plan: Any, seconds: float) -> EngineInfo:
    trt, network, options, precision = job.trt, job.network, job.request.options, job.request.precision
    inputs = [(network.get_input(i), True) for i in range(network.num_inputs)]
    outputs = [(network.get_output(i), False) for i in range(network.num_outputs)]
    return EngineInfo(
        module=ENGINE_TARGETS[job.request.target],
        version=str(trt.__version__),
        device=device(config),
        precision="tf32" if options.tf32 and precision == "fp32" else precision,
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
        build_seconds=seconds,
        bytes=plan.nbytes,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        sha256=hashlib.sha256(memoryview(plan)).hexdigest(),
        plan_unread="the builder ended before its kernels were read",
    )


def _last(value: Any) -> str:
    """Returns the name of a member of an enum. `ErrorCode.name` is a method in some versions, a property in others."""
    return str(value).rpartition(".")[2]


def _logger(trt: Any, errors: list[str], kept: Any) -> Any:
    """Returns a logger that writes to the file `kept`, and collects errors and what is said of the engine's layers."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.VERBOSE:
                if kernel_plan.is_layer_information(message):
                    self.layers.append(message)
                return
            kept.write(f"{_last(severity)}: {message.strip()}\n")
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                errors.append(" ".join(message.split()))

        def note(self, message: str) -> None:
            kept.write(f"INFO: {message}\n")

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
    """Returns the number of convolutions and matrix products by type: INT8 if both operands are dequantised.

    A convolution that adds up spikes for the spike counts is none of them.
    """
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
        if layer.type in kinds and not is_sum_of_places(layer.name):
            operands = [layer.get_input(i) for i in range(min(2, layer.num_inputs))]
            quantized = len(operands) == 2 and all(tensor.name in dequantized for tensor in operands)
            found["INT8" if quantized else _last(layer.get_output(0).dtype)] += 1
    return dict(found)


def _check_products(trt: Any, network: Any, wanted: Mapping[str, int]) -> None:
    found = _products(trt, network)
    for kind, n in wanted.items():
        if found.get(kind, 0) < n:
            raise Refused("types", f"{n} products must be {kind}, the network has {found or 'none'}")


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends for any reason. The parent waits for the reply."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # <linux/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
