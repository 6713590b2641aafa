"""The plugin in the real registries of TensorRT, and what it tells TensorRT there."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tcja_runtime.neuron import fire
from tcja_runtime.tensorrt.build import BuildOptions, BuildRequest
from tcja_runtime.tensorrt.plugin.node import described, kernel_of

from . import host, kernels, registry
from .kernels import SPECS

pytestmark = pytest.mark.releases

SHAPES = {1: (10, 3, 128, 16, 16), 2: (10, 3, 128, 33, 16)}
NUMBERS = """
class Number(trt.IDimensionExpr):
    def is_constant(self): return False
    def get_constant_value(self): raise AssertionError("it varies")

def number(value):
    made = Number.__new__(Number)  # it has no constructor that Python may call
    made.value = value
    return made

class Numbers:
    '''What TensorRT makes expressions of shapes with, here of numbers alone.'''
    def constant(self, value): return number(value)
    def operation(self, kind, a, b):
        return number({
            trt.DimensionOperation.SUM: lambda: a.value + b.value,
            trt.DimensionOperation.PROD: lambda: a.value * b.value,
            trt.DimensionOperation.FLOOR_DIV: lambda: a.value // b.value,
            trt.DimensionOperation.CEIL_DIV: lambda: -(-a.value // b.value),
        }[kind]())

from tcja_runtime.machine.gpu import Gpu
"""


@pytest.fixture(scope="session")
def tensorrt(tmp_path_factory):
    """What a program says, in JSON, of a version of TensorRT."""
    folders = {}

    def said(version, code, numpy_1=None):
        if version not in folders:
            folders[version] = tmp_path_factory.mktemp("tensorrt")
            registry.libraries(version, folders[version])
        numpy_1 = version in registry.NUMPY_1 if numpy_1 is None else numpy_1
        out = registry.run(version, folders[version], f"{code}\nimport json; print(json.dumps(said))", numpy_1)
        return json.loads(out.splitlines()[-1])

    return said


@pytest.mark.parametrize("version", registry.LEAN)
def test_it_is_registered_by_the_name_of_the_operator(tensorrt, version):
    code = """
from tcja_runtime.tensorrt.plugin import register
before = trt.get_plugin_registry().get_creator("TcjaLif", "1", "tcja")
form = [register(trt), register(trt)]
creator = trt.get_plugin_registry().get_creator("TcjaLif", "1", "tcja")
others = [c for c in trt.get_plugin_registry().all_creators if c.name == "TcjaLif"]
said = [trt.__version__, before is None, form, creator.name, creator.plugin_namespace, creator.plugin_version,
        [field.name for field in creator.field_names], len(others)]
"""
    said = tensorrt(version, code)
    assert said[0].startswith(f"{version}.")
    form = "ahead of time" if version in registry.AHEAD_OF_TIME else "at run time"
    assert said[1:] == [True, [form] * 2, "TcjaLif", "tcja", "1", ["kernel"], 1]


@pytest.mark.parametrize("version", registry.NUMPY_1)
def test_bindings_that_this_numpy_breaks_are_refused(tensorrt, version):
    code = """
from tcja_runtime.errors import Unavailable
from tcja_runtime.tensorrt.plugin import register
try: said = register(trt)
except Unavailable as error: said = str(error)
"""
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("NumPy 1 breaks none")
    said = tensorrt(version, code, numpy_1=False)
    assert said.startswith(f"plugins of TensorRT {version}.")
    assert said.endswith("which its bindings were not built for: run \"pip install 'numpy<2'\"")


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("pool", SHAPES)
@pytest.mark.parametrize("version", registry.AHEAD_OF_TIME)
def test_ahead_of_time_it_describes_and_compiles_a_node(tensorrt, version, pool, half):
    """The functions that TensorRT calls, called by NVIDIA's own plugin class, with its own symbols of shapes."""
    text, shape = described(SPECS["lif"], pool), SHAPES[pool]
    said = tensorrt(
        version,
        f"""
{NUMBERS}
from tcja_runtime.tensorrt.plugin import ahead_of_time, register
ahead_of_time.gpu = lambda: Gpu("Orin", "87")
register(trt)
text = {text!r}.encode()
fields = trt.PluginFieldCollection([trt.PluginField("kernel", text, trt.PluginFieldType.CHAR)])
creator = trt.get_plugin_registry().get_creator("TcjaLif", "1", "tcja")
request = trt.QuickPluginCreationRequest.STRICT_AOT
plugin = creator.create_plugin("TcjaLif", "tcja", fields, trt.TensorRTPhase.BUILD, request)
kind = trt.float16 if {half} else trt.float32
types = plugin.get_output_data_types([kind], [5])

import tensorrt.plugin as trtp
from tensorrt_bindings.plugin._tensor import Shape, ShapeExpr, ShapeExprs, SymIntExpr
SymIntExpr._exprBuilder = Numbers()
current = trtp.TensorDesc()
current.dtype = kind
current.shape_expr = ShapeExprs.from_tuple(tuple(ShapeExpr(number(size)) for size in {shape}))
varying = trt.DynamicPluginTensorDesc()
varying.desc.dims, varying.desc.type = trt.Dims([-1 if i == 1 else size for i, size in enumerate({shape})]), kind
output = plugin.register_function(current, **plugin.attrs)
current.shape = Shape(varying)
name, ptx, launch, integers = plugin.aot_impl_function(current, *plugin.attrs.values(), (output,), 0)
out = trt.DynamicPluginTensorDesc()
(combination,) = plugin.autotune_function(current, (output,))
said = dict(
    types=[str(t) for t in types], shape=[s._expr.value for s in output.shape_expr], name=name, ptx=ptx,
    grid=[launch.grid_x._expr.value, launch.grid_y._expr.value], block=launch.block_x._expr.value,
    integers=[integer._expr.value for integer in integers],
    combinations=[[str(t) for t in c.types] for c in combination._get_combinations()],
)
""",
    )
    kernel = kernel_of(text, half, shape[2:])
    kind = "DataType.HALF" if half else "DataType.FLOAT"
    assert said["types"] == [kind]
    assert said["shape"] == (list(shape) if pool == 1 else [30, 128, 16, 8])
    assert said["name"] == kernel.name
    assert f".entry {kernel.name}(" in said["ptx"]
    assert ".target sm_87" in said["ptx"]
    assert said["grid"] == [kernel.blocks(shape), 1]
    assert said["block"] == 256
    assert said["integers"] == list(kernel.sizes(shape))
    assert [kind, kind] in said["combinations"]
    assert all(first == second for first, second in said["combinations"])


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("pool", SHAPES)
@pytest.mark.parametrize("version", ["10.3", "11.4"])
def test_at_run_time_it_is_built_serialised_and_launched(tensorrt, tmp_path, monkeypatch, version, pool, half):
    """As TensorRT would call it, with its classes and NVIDIA's binding of a driver whose GPU is this processor."""
    pytest.importorskip("cuda.bindings")
    text, shape = described(SPECS["lif"], pool), (5, 3, 4, *kernels.POOLS[pool])
    kernel = kernel_of(text, half, shape[2:])
    host.compiled([kernel], tmp_path)
    monkeypatch.setenv("KERNELS", str(tmp_path / "kernels.so"))
    current = np.random.default_rng(0).integers(-6, 9, shape).astype(np.float16 if half else np.float32) / 4
    np.save(tmp_path / "current.npy", current)
    said = tensorrt(
        version,
        f"""
{NUMBERS}
import numpy as np
from tcja_runtime.tensorrt.plugin import at_run_time
at_run_time.gpu = lambda: Gpu("Orin", "87")
at_run_time.register(trt)
creator = trt.get_plugin_registry().get_creator("TcjaLif", "1", "tcja")
text = {text!r}.encode() + b"\\0"  # TensorRT may count the end of a text
fields = trt.PluginFieldCollection([trt.PluginField("kernel", text, trt.PluginFieldType.CHAR)])
plugin = creator.create_plugin("TcjaLif", fields, trt.TensorRTPhase.BUILD)
kind = trt.float16 if {half} else trt.float32

def described(desc, dims, kind, format=trt.TensorFormat.LINEAR):
    desc.dims, desc.type, desc.format = trt.Dims(list(dims)), kind, format

here, other, chw = (trt.DynamicPluginTensorDesc() for _ in range(3))
described(here.desc, [-1 if i == 1 else size for i, size in enumerate({shape})], kind)
described(other.desc, [1], trt.float32 if {half} else trt.float16)
described(chw.desc, [1], kind, trt.TensorFormat.CHW32)
supported = [plugin.supports_format_combination(1, pair, 1) for pair in ([here, here], [here, other], [here, chw])]
plugin.configure_plugin([here], [here])
running = creator.create_plugin("TcjaLif", plugin.get_fields_to_serialize(), trt.TensorRTPhase.RUNTIME)
running = running.attach_to_context(None)  # and the first is freed

class ListsOfNumbers:  # for what holds expressions, which only TensorRT makes
    DimsExprs = staticmethod(lambda given: [None] * given if isinstance(given, int) else list(given))
    def __getattr__(self, name): return getattr(trt, name)

one = at_run_time.creator(ListsOfNumbers()).create_plugin("TcjaLif", fields, trt.TensorRTPhase.BUILD)
(inferred,) = one.get_output_shapes([[number(size) for size in {shape}]], [], Numbers())

current = np.load({str(tmp_path / "current.npy")!r})
spikes = np.full({(*shape[:-2], *(n // pool for n in shape[-2:]))}, np.nan, current.dtype)
actual = trt.PluginTensorDesc()
described(actual, {shape}, kind)
running.on_shape_change([actual], [actual])
running.enqueue([actual], [actual], [current.ctypes.data], [spikes.ctypes.data], 0, 7)
np.save({str(tmp_path / "spikes.npy")!r}, spikes)
said = dict(
    types=[str(t) for t in plugin.get_output_data_types([kind])], supported=supported, wide=".v4." in running.ptx,
    inferred=[size.value for size in inferred],
    interfaces=[running.get_capability_interface(t) is running for t in (trt.PluginCapabilityType.RUNTIME,)],
)
""",
    )
    assert said["types"] == ["DataType.HALF" if half else "DataType.FLOAT"]
    assert said["supported"] == [True, False, False]
    assert said["interfaces"] == [True]
    assert said["inferred"] == (list(shape) if pool == 1 else [15, 4, *(size // 2 for size in shape[-2:])])
    assert said["wide"] == (pool == 1)
    expected = kernels.pooled(fire(SPECS["lif"], current.astype(np.float32)), pool)
    assert 0.02 < expected.mean() < 0.98
    np.testing.assert_array_equal(np.load(tmp_path / "spikes.npy"), expected.astype(current.dtype))


@pytest.mark.parametrize("gpu", [None, "Orin, 8.7"])
def test_the_builder_comes_as_far_as_it_can_without_a_gpu(tensorrt, tmp_path, monkeypatch, gpu):
    """It registers the plugin and compiles its kernel, for a GPU that the driver's tool only tells of."""
    if gpu:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho {gpu}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    request = BuildRequest(
        model=tmp_path / "model.onnx",
        engines=tmp_path / "engines",
        target="tensorrt",
        precision="fp32",
        options=BuildOptions(plugin=True),
    )
    said = tensorrt(
        "11.4",
        f"""
from pathlib import Path
from tcja_runtime.tensorrt.build import BuildRequest
from tcja_runtime.tensorrt.builder_process import work
request, log = BuildRequest.from_json({request.to_json()!r}), Path({str(tmp_path / "log")!r})
answers = []
work(request, log, Path({str(tmp_path)!r}), answers.append)
(said,) = answers
""",
    )
    if gpu:
        assert said["stage"] == "start"
    else:
        assert said["stage"] == "plugin"
        assert said["log"] == ["the neuron's kernel is compiled for this machine's GPU, and none was found"]
