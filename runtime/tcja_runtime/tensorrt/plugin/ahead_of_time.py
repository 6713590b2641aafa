"""The plugin for TensorRT 10.9 and later: a quick-deploy plugin whose kernel is compiled when the engine is built.

While TensorRT builds an engine, it calls the functions that are registered here. It stores two things in the engine:
the PTX of the kernel, and the parameters of the launch. These are the grid, the block and the integer arguments,
written as expressions of the input's shape.

TensorRT checks the signatures of the functions: the annotations of their parameters must be TensorRT's own classes. The
source cannot name these classes, because TensorRT is imported only when it is used. So the signatures are set when the
functions are registered.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import operator
from collections.abc import Callable
from types import GenericAlias
from typing import Any

from tcja_runtime.errors import Unavailable
from tcja_runtime.machine.gpu import gpu
from tcja_runtime.tensorrt.plugin.kernel import THREADS
from tcja_runtime.tensorrt.plugin.node import FIELD, NAME, NAMESPACE, kernel_of, pool_of


def register(trt: Any) -> None:
    """Register the plugin in the module `tensorrt`. No plugin of this name may be registered already."""
    trtp = importlib.import_module(f"{trt.__name__}.plugin")

    def describe(current: Any, kernel: str) -> Any:
        pool = pool_of(kernel)
        if pool == 1:
            return current.like()
        steps, batch, channels, *plane = current.shape_expr
        return trtp.from_shape_expr((steps * batch, channels, *(size // pool for size in plane)), current.dtype)

    def types(current: Any, outputs: Any) -> Any:  # noqa: ARG001  # TensorRT passes them
        return [trtp.AutoTuneCombination("FP32|FP16, FP32|FP16", "LINEAR")]

    def compiled(current: Any, kernel: str, outputs: Any, tactic: int) -> Any:  # noqa: ARG001  # TensorRT passes them
        found = gpu()
        if found is None:
            raise Unavailable("the neuron's kernel is compiled for this machine's GPU, and none was found")
        fused = kernel_of(kernel, current.dtype == trt.float16, tuple(current.shape)[2:])
        steps, *rest = current.shape_expr
        planes, plane = (rest, []) if fused.pool == 1 else (rest[:-2], rest[-2:])
        threads = functools.reduce(operator.mul, [*planes, *(size // fused.pool for size in plane)])
        launch = trtp.KernelLaunchParams()
        launch.grid_x = trtp.cdiv(threads, THREADS * (fused.width if fused.pool == 1 else 1))
        launch.block_x = THREADS
        arguments = [steps, functools.reduce(operator.mul, planes), *plane]
        integers = trtp.SymIntExprs(len(arguments))
        for i, argument in enumerate(arguments):
            integers[i] = trtp.SymInt32(argument)
        return fused.name, fused.ptx(found.sm), launch, integers

    name, described = f"{NAMESPACE}::{NAME}", {"current": trtp.TensorDesc, FIELD: str}
    outputs = {"outputs": GenericAlias(tuple, (trtp.TensorDesc,))}
    trtp.register(name)(_signed(describe, described, trtp.TensorDesc))
    combinations = GenericAlias(list, (trtp.AutoTuneCombination,))
    trtp.autotune(name)(_signed(types, {"current": trtp.TensorDesc, **outputs}, combinations))
    launched = GenericAlias(tuple, (str, str, trtp.KernelLaunchParams, trtp.SymIntExprs))
    trtp.aot_impl(name)(_signed(compiled, {**described, **outputs, "tactic": int}, launched))


def _signed(function: Callable[..., Any], parameters: dict[str, Any], returned: Any) -> Callable[..., Any]:
    """Set the signature of a function, and return the function.

    Args:
        function: the function.
        parameters: the class of each parameter, by the name of the parameter.
        returned: the class of the result.
    """
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    listed = [inspect.Parameter(name, kind, annotation=annotation) for name, annotation in parameters.items()]
    function.__signature__ = inspect.Signature(listed, return_annotation=returned)  # type: ignore[attr-defined]
    return function
