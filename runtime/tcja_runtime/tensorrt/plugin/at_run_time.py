"""The plugin for TensorRT 10.3 to 10.8, which JetPack 6 has: an IPluginV3 whose kernel Python launches.

The PTX is compiled when the engine is built, and the serialised plugin contains it. So a machine that runs the engine
needs no compiler. It needs Python, this package and cuda-bindings.

Source: NVIDIA, TensorRT Python API, "IPluginV3"; its sample ``python/python_plugin/circ_pad_plugin_multi_tactic.py``.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tcja_runtime.errors import Unavailable
from tcja_runtime.machine.gpu import gpu
from tcja_runtime.tensorrt.plugin import launch
from tcja_runtime.tensorrt.plugin.kernel import Kernel
from tcja_runtime.tensorrt.plugin.node import FIELD, NAME, NAMESPACE, VERSION, kernel_of, pool_of

_PTX, _WINDOW = "ptx", "window"
"""The fields of a serialised plugin besides `FIELD`: the PTX, and the shape (C, H, W) for which it was compiled."""

_creators: list[Any] = []
"""The registered creators. TensorRT's registry does not own them, so they are kept here until the process ends."""


def register(trt: Any) -> None:
    """Register the plugin in the module `tensorrt`. No plugin of this name may be registered already."""
    made = creator(trt)
    _creators.append(made)
    trt.get_plugin_registry().register_creator(made, NAMESPACE)


def creator(trt: Any) -> Any:
    """Returns the plugin's creator. Its class is a subclass of `Creator` and of TensorRT's interface.

    The class of the plugins that it creates is a subclass of `Plugin` and of TensorRT's interfaces.
    """
    interfaces = (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime)
    plugin = type("TcjaLifPlugin", (Plugin, *interfaces), {"trt": trt, "interfaces": interfaces})
    return type("TcjaLifCreator", (Creator, trt.IPluginCreatorV3One), {"trt": trt, "plugin": plugin})()


class Plugin:
    """One node of the plugin. TensorRT calls the methods of a subclass, which `creator` makes.

    Attributes:
        trt: the module `tensorrt`.
        interfaces: TensorRT's classes that are the other base classes of the subclass.
        text: the text of the node's attribute `kernel`.
        window: the shape (C, H, W) of the currents of one window and time step, with -1 for an axis of any size; empty
            until TensorRT configures the plugin.
        ptx: the code of the kernel; empty until TensorRT configures the plugin.
    """

    trt: Any
    interfaces: tuple[Any, ...]

    def __init__(self, text: str, window: tuple[int, ...] = (), ptx: str = "") -> None:
        for interface in self.interfaces:
            interface.__init__(self)
        self.plugin_name, self.plugin_version, self.plugin_namespace = NAME, VERSION, NAMESPACE
        self.num_outputs = 1
        self.timing_cache_id = ""
        self.text, self.window, self.ptx = text, window, ptx
        # The bindings of 10.3 crash when Python frees a plugin, so plugins are never freed.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    def get_capability_interface(self, type: Any) -> Any:  # noqa: A002, ARG002  # TensorRT's name
        return self

    def clone(self) -> Any:
        return self.__class__(self.text, self.window, self.ptx)

    def attach_to_context(self, resource_context: Any) -> Any:  # noqa: ARG002  # TensorRT passes it
        return self.clone()

    def get_output_data_types(self, input_types: Sequence[Any]) -> list[Any]:
        return [input_types[0]]

    def get_output_shapes(self, inputs: Sequence[Any], shape_inputs: Any, expr_builder: Any) -> list[Any]:  # noqa: ARG002
        (current,), pool = inputs, pool_of(self.text)
        if pool == 1:
            return [self.trt.DimsExprs(current)]
        shape = self.trt.DimsExprs(len(current) - 1)
        shape[0] = expr_builder.operation(self.trt.DimensionOperation.PROD, current[0], current[1])
        shape[1] = current[2]
        for i in (2, 3):
            side = expr_builder.constant(pool)
            shape[i] = expr_builder.operation(self.trt.DimensionOperation.FLOOR_DIV, current[i + 1], side)
        return [shape]

    def supports_format_combination(self, pos: int, in_out: Sequence[Any], num_inputs: int) -> bool:  # noqa: ARG002
        here, first = in_out[pos].desc, in_out[0].desc
        known = here.type in (self.trt.float32, self.trt.float16) and here.type == first.type
        return bool(known and here.format == self.trt.TensorFormat.LINEAR)

    def configure_plugin(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:  # noqa: ARG002
        found = gpu()
        if found is None:
            raise Unavailable("the neuron's kernel is compiled for this machine's GPU, and none was found")
        current = inputs[0].desc
        self.window = tuple(current.dims)[2:]
        self.ptx = _compiled(self._kernel(current), found.sm)

    def get_fields_to_serialize(self) -> Any:
        char, int32 = self.trt.PluginFieldType.CHAR, self.trt.PluginFieldType.INT32
        # A field has a pointer to its content, so the content must exist as long as the plugin.
        self.serialised = [
            (FIELD, np.frombuffer(self.text.encode(), np.int8), char),
            (_WINDOW, np.array(self.window, np.int32), int32),
            (_PTX, np.frombuffer(self.ptx.encode(), np.int8), char),
        ]
        return self.trt.PluginFieldCollection([self.trt.PluginField(*field) for field in self.serialised])

    def on_shape_change(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:  # noqa: ARG002
        launch.function(self.ptx, self._kernel(inputs[0]).name)  # loads the PTX, which is slow, before the first launch

    def set_tactic(self, tactic: int) -> None:
        pass  # there is only one tactic

    def enqueue(
        self,
        input_desc: Sequence[Any],
        output_desc: Sequence[Any],  # noqa: ARG002
        inputs: Sequence[int],
        outputs: Sequence[int],
        workspace: int,  # noqa: ARG002
        stream: int,
    ) -> None:
        launch.enqueue(self._kernel(input_desc[0]), self.ptx, tuple(input_desc[0].dims), inputs[0], outputs, stream)

    def _kernel(self, current: Any) -> Kernel:
        return kernel_of(self.text, current.type == self.trt.float16, self.window)


class Creator:
    """Creates plugins from nodes and from serialised plugins. TensorRT calls a subclass, which `creator` makes.

    Attributes:
        trt: the module `tensorrt`.
        plugin: the class of the plugins, a subclass of `Plugin`.
    """

    trt: Any
    plugin: Any

    def __init__(self) -> None:
        self.trt.IPluginCreatorV3One.__init__(self)
        self.name, self.plugin_version, self.plugin_namespace = NAME, VERSION, NAMESPACE
        field = self.trt.PluginField(FIELD, b"", self.trt.PluginFieldType.CHAR)
        self.field_names = self.trt.PluginFieldCollection([field])

    def create_plugin(self, name: str, field_collection: Any, phase: Any) -> Any:  # noqa: ARG002
        fields = {field.name: field.data for field in field_collection}
        window = tuple(int(size) for size in fields.get(_WINDOW, ()))
        return self.plugin(_text(fields[FIELD]), window, _text(fields.get(_PTX, b"")))


@functools.lru_cache(None)
def _compiled(kernel: Kernel, sm: str) -> str:
    return kernel.ptx(sm)


def _text(data: Any) -> str:
    """Returns the text in a field of characters, without a zero byte at its end."""
    content = data if isinstance(data, bytes) else np.asarray(data).tobytes()
    return content.decode().rstrip("\0")
