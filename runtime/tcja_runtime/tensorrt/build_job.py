"""A parsed model with all that TensorRT's builder needs to build an engine of it, and the builder's configuration."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tcja_runtime.bundle.sidecar import PluginInfo
from tcja_runtime.choices import Hardware
from tcja_runtime.machine.gpu import free_memory, gpu
from tcja_runtime.model_file.model import WEIGHTS
from tcja_runtime.tensorrt.build import Batch, BuildRequest

RTX_TARGETS = ("SM80", "SM86", "SM89", "SM120")
"""The GPU generations that TensorRT-RTX builds for by default: Ampere, Ada and Blackwell."""

WORKSPACE = 1 / 2
"""The share of the free memory that a layer may use. The rest is for weights, activations and other programs."""


class Refused(Exception):
    """The error that ends a build.

    Attributes:
        reply: the stage at which the build failed ("stage"), and the reason ("log").
    """

    def __init__(self, stage: str, *log: str, **more: Any) -> None:
        super().__init__(stage)
        self.reply: dict[str, Any] = {"stage": stage, "log": list(log), **more}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A parsed model, with all that TensorRT's builder needs to build an engine of it.

    Attributes:
        trt: TensorRT's Python module.
        request: the requested engine.
        logger: the logger of the builder.
        builder: the builder.
        parser: the parser of the model. It owns the network's weights, so it must exist until the engine is built.
        network: the parsed network.
        plugin: the use of the plugin; None without it.
    """

    trt: Any
    request: BuildRequest
    logger: Any
    builder: Any
    parser: Any
    network: Any
    plugin: PluginInfo | None

    def config(self, batch: Batch) -> Any:
        """Return the configuration of the builder for an engine that takes the given batch sizes.

        Raises:
            Refused: this machine has no GPU to build for or too little memory, or TensorRT does not have an option.
        """
        config = self.builder.create_builder_config()
        _configure(self, config)
        config.add_optimization_profile(self._profile(batch))
        return config

    def _profile(self, batch: Batch) -> Any:
        """Return the smallest, the usual and the largest shape of each input."""
        profile = self.builder.create_optimization_profile()
        for source in (self.network.get_input(i) for i in range(self.network.num_inputs)):
            whole = self.request.shapes.get(source.name)
            sizes = (batch.least, batch.tuned, batch.most)
            shapes = [tuple(whole)] * 3 if whole else [(n, *tuple(source.shape)[1:]) for n in sizes]
            profile.set_shape(source.name, *shapes)
        return profile


def device(config: Any) -> str:
    """Return the device of an engine: this machine's GPU, or the GPU generations that TensorRT-RTX compiles for.

    Raises:
        Refused: the engine is for the GPU of this machine, which has none.
    """
    if hasattr(config, "num_compute_capabilities"):
        return "-".join(RTX_TARGETS).lower()
    found = gpu()
    if found is None:
        raise Refused("start", "no GPU was found")
    return found.slug


def _configure(job: Job, config: Any) -> None:
    trt, options = job.trt, job.request.options
    if hasattr(config, "num_compute_capabilities"):
        config.num_compute_capabilities = len(RTX_TARGETS)
        for i, target in enumerate(RTX_TARGETS):
            config.set_compute_capability(getattr(trt.ComputeCapability, target), i)
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
