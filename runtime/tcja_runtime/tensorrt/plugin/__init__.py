"""A TensorRT plugin for the operator TcjaLif: one CUDA kernel that computes a spiking layer for all time steps.

The plugin is optional. Without it, engines are built from standard operators. The plugin has two forms, and the version
of TensorRT decides which one is used:

    ahead of time   TensorRT 10.9 and later. The kernel's PTX is a part of the engine, so the engine runs without this
                    package.
    at run time     TensorRT before 10.9. Python launches the kernel, so `register` must be called before the engine is
                    deserialised.

A node of the plugin is a TcjaLif node with three attributes: plugin_namespace, plugin_version and `kernel`, a JSON text
with the constants of the neuron and the pooling after it. All constants are in one text because the quick-deploy
plugins of TensorRT 10.9 to 10.16 read numbers in a way that NumPy 2.4 refuses (``float`` of an array,
`tensorrt.plugin._lib`).

    TcjaLif(current [T, N, ...]) -> spikes [T, N, ...]
    TcjaLif(current [T, N, C, H, W], pool k > 1) -> spikes [T * N, C, H // k, W // k]

Neither form was ever run in a real TensorRT on a GPU, because no machine with both was available.
docs/explanation/plugin.md lists the tests that were run.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tcja_runtime.errors import Unavailable
from tcja_runtime.machine.gpu import gpu
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.tensorrt.plugin.kernel import Kernel
from tcja_runtime.tensorrt.plugin.node import NAME, NAMESPACE, VERSION

AHEAD_OF_TIME, AT_RUN_TIME = "ahead of time", "at run time"
NEVER_RUN = "it was never run in a real TensorRT"
"""The warning in every text for users that mentions the plugin."""


def register(trt: Any) -> str:
    """Register the plugin in TensorRT. Later calls in the same process only return the form.

    Args:
        trt: the module `tensorrt`, 10.3 or later. It must not be TensorRT-RTX, which crashes if a plugin is used.

    Returns:
        The form of the plugin for this version of TensorRT, `AHEAD_OF_TIME` or `AT_RUN_TIME`.

    Raises:
        Unavailable: this NumPy is too new for TensorRT's bindings.
    """
    from tcja_runtime.tensorrt.plugin import ahead_of_time, at_run_time

    _check_fields(trt)
    form = AHEAD_OF_TIME if hasattr(trt, "QuickPluginCreationRequest") else AT_RUN_TIME
    if trt.get_plugin_registry().get_creator(NAME, VERSION, NAMESPACE) is None:
        (ahead_of_time if form == AHEAD_OF_TIME else at_run_time).register(trt)
    return form


def check(form: str) -> None:
    """Check that an engine with the plugin can be built on this machine.

    Args:
        form: `AHEAD_OF_TIME` or `AT_RUN_TIME`.

    Raises:
        Unavailable: a GPU, NVRTC, or for `AT_RUN_TIME` the CUDA binding, is missing.
    """
    found = gpu()
    if found is None:
        raise Unavailable("the neuron's kernel is compiled for this machine's GPU, and none was found")
    Kernel(NeuronSpec.linear(decay=0.5, strict=True)).ptx(found.sm)
    if form == AT_RUN_TIME:
        from tcja_runtime.tensorrt.plugin import launch

        launch.driver()


def _check_fields(trt: Any) -> None:
    """Check that TensorRT can read the values of a plugin's field. Its bindings up to 10.13 need NumPy 1 for that.

    Raises:
        Unavailable: it cannot read them with this NumPy.
    """
    content = np.frombuffer(b"ab", np.int8)
    if trt.PluginField("check", content, trt.PluginFieldType.CHAR).data.tobytes() != b"ab":
        raise Unavailable(
            f"plugins of TensorRT {trt.__version__} do not work with NumPy {np.__version__}, which its bindings were "
            "not built for: run \"pip install 'numpy<2'\""
        )
