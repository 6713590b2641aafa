"""The kernel plan of an engine that was just built, from the log of its builder (`tcja_runtime.tensorrt.kernel_plan`).

The log leaves an axis open that depends on the batch size. If the engine takes several batch sizes, its sizes come from
another source: with full TensorRT from the engine inspector, which knows them from the shapes of an execution context
(https://docs.nvidia.com/deeplearning/tensorrt/10.16.1/inference-library/engine-tools.html, "Engine Inspector"); with
TensorRT-RTX, which needs no GPU to build and runs nothing without one, from a second build for one batch size, whose
kernels must be the same. This batch size is a multiple of the tuned one, of two windows at least: with one window, the
builder leaves out transposes. The second engine is thrown away.
"""

from __future__ import annotations

from typing import Any

from tcja_runtime.bundle.sidecar import KernelPlan
from tcja_runtime.tensorrt import kernel_plan
from tcja_runtime.tensorrt.build import BUILD_TIMEOUTS, Batch
from tcja_runtime.tensorrt.build_job import Job
from tcja_runtime.tensorrt.kernel_plan import EngineLayer, PlanUnread

_SHARE = 1 / 3
"""The second build needs a third of the limit: it is begun if the first one took no more."""


def built_plan(job: Job, plan: Any, seconds: float) -> tuple[KernelPlan | None, str]:
    """Return the kernels of an engine and what they move, or None and the reason why they cannot be read.

    Args:
        job: the job that the engine was built by.
        plan: the serialised engine.
        seconds: the time that its build took.
    """
    try:
        layers = kernel_plan.from_log(job.logger.layers)
        if kernel_plan.is_open(layers) and job.request.target == "tensorrt-rtx":
            tuned = job.request.options.batch.tuned
            times = 1 if tuned > 1 else 2
            layers = kernel_plan.filled(layers, _of_one_batch(job, times * tuned, seconds), times)
        elif kernel_plan.is_open(layers):
            layers = _inspected(job, plan)
        inputs = [job.network.get_input(i).name for i in range(job.network.num_inputs)]
        return kernel_plan.kernel_plan(layers, inputs, job.request.time_steps), ""
    except PlanUnread as unread:
        return None, str(unread)
    except MemoryError:
        return None, "memory ran out while its kernels were read"


def _of_one_batch(job: Job, size: int, seconds: float) -> list[EngineLayer]:
    """Return the layers of an engine of the same model that takes one batch size only.

    Args:
        job: the job that the first engine was built by.
        size: the batch size.
        seconds: the time that the build of the first engine took.
    """
    builder, options = job.builder, job.request.options
    limit = options.build_timeout or BUILD_TIMEOUTS[job.request.target]
    if seconds > _SHARE * limit:  # the second build would probably be ended, and its time would be lost
        raise PlanUnread(f"it takes several batch sizes, and its build took {seconds:.0f} s, too long for a second one")
    job.logger.layers.clear()
    job.logger.note(f"a second engine, of batch size {size} alone, is built for the sizes of its tensors")
    if builder.build_serialized_network(job.network, job.config(Batch(size, size, size))) is None:
        raise PlanUnread(f"it takes several batch sizes, and an engine of batch size {size} alone cannot be built")
    return kernel_plan.from_log(job.logger.layers)


def _inspected(job: Job, plan: Any) -> list[EngineLayer]:
    trt, network, tuned = job.trt, job.network, job.request.options.batch.tuned
    runtime = trt.Runtime(job.logger)
    if job.request.options.version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(memoryview(plan))
    # The inspector reads shapes. Without memory for activations, it needs little more than the engine's weights.
    context = engine and engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    if not context:
        raise PlanUnread("it takes several batch sizes, and could not be loaded to read the sizes of its tensors")
    for source in (network.get_input(i) for i in range(network.num_inputs)):
        whole = job.request.shapes.get(source.name)
        context.set_input_shape(source.name, tuple(whole) if whole else (tuned, *tuple(source.shape)[1:]))
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return kernel_plan.from_json(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
