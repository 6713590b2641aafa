"""The plans of engines that NVIDIA's builder made, and of the simulated one."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.tensorrt import build as engine
from tcja_runtime.tensorrt.build import Batch, BuildOptions, BuildRequest
from tcja_runtime.tensorrt.build_job import Job
from tcja_runtime.tensorrt.built_plan import built_plan

pytestmark = pytest.mark.tensorrt

RTX = pytest.mark.rtx
STEPS, FEATURES = 6, 1024


def built(model, folder, target="tensorrt-rtx", batch=Batch(1, 1, 1), time_steps=1):  # noqa: B008
    request = BuildRequest(
        model=model,
        engines=folder,
        target=target,
        precision="fp32",
        time_steps=time_steps,
        options=BuildOptions(batch=batch),
    )
    return engine.build(request).info


@pytest.fixture
def stepped(tmp_path):
    """A product, a sum over the steps of which each is computed from the one before, and another product."""
    weight = np.random.default_rng(0).normal(size=(FEATURES, FEATURES)).astype(np.float32)
    stored = [
        numpy_helper.from_array(weight, "w"),
        numpy_helper.from_array(np.float32(0.5), "half"),
        numpy_helper.from_array(np.array([-1, STEPS, FEATURES]), "steps"),
        numpy_helper.from_array(np.array([-1, FEATURES]), "flat"),
    ]
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"], name="fc/Reshape"),
        helper.make_node("MatMul", ["f", "w"], ["p"], name="fc/MatMul"),
        helper.make_node("Reshape", ["p", "steps"], ["c"], name="sn/Reshape"),
        helper.make_node("Split", ["c"], [f"c{t}" for t in range(STEPS)], name="sn/Split", axis=1, num_outputs=STEPS),
    ]
    last = "c0"
    for t in range(1, STEPS):
        nodes.append(helper.make_node("Mul", [last, "half"], [f"m{t}"], name=f"sn/Mul{t}"))
        nodes.append(helper.make_node("Add", [f"m{t}", f"c{t}"], [f"h{t}"], name=f"sn/Add{t}"))
        last = f"h{t}"
    nodes.append(helper.make_node("MatMul", [last, "w"], ["y"], name="out/MatMul"))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", STEPS, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1, FEATURES])],
        stored,
    )
    path = tmp_path / "a.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@RTX
@pytest.mark.parametrize("batch", [Batch(1, 1, 1), Batch(1, 3, 8), Batch(1, 1, 8)], ids=str)
def test_the_bytes_of_an_engine_are_those_of_its_tensors(stepped, tmp_path, batch):
    """The product reads x and writes its result, the steps read this once and write one step, which is read again."""
    info = built(stepped, tmp_path / "engines", batch=batch, time_steps=STEPS)
    step = 4 * FEATURES * batch.tuned
    assert info.plan_unread == ""
    assert (info.plan.kernels, info.plan.bytes) == (3, (STEPS + STEPS + STEPS + 1 + 1 + 1) * step)
    assert 2 * 4 * FEATURES**2 <= info.plan.weight_bytes < 2 * 4 * FEATURES**2 + 100
    assert sorted(module for kernel in info.plan.largest for module in kernel.modules) == ["fc", "out", "sn"]
    assert sum(kernel.bytes for kernel in info.plan.largest) == info.plan.bytes


@pytest.mark.slow
@RTX
def test_several_batch_sizes_move_what_the_tuned_one_moves(tmp_path, exports, name):
    """An engine for several batch sizes also computes sizes, of a few bytes each."""
    batches = Batch(1, 1, 1), Batch(1, 4, 4), BuildOptions().batch
    one, four, usual = (
        built(exports[name][1] / PLAIN_MODEL, tmp_path / str(batch.most), batch=batch).plan for batch in batches
    )
    assert usual.kernels >= one.kernels
    assert one.bytes <= usual.bytes < 1.2 * one.bytes
    assert four.kernels >= one.kernels > 3
    assert four.bytes == pytest.approx(4 * one.bytes, rel=1e-2)


@RTX
def test_a_loop_is_said(tmp_path):
    state, steps = helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 8]), 20
    body = helper.make_graph(
        [helper.make_node("Add", ["v", "x"], ["w"]), helper.make_node("Identity", ["w"], ["s"])],
        "body",
        [state, helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in ("w", "s")],
    )
    graph = helper.make_graph(
        [helper.make_node("Scan", ["first", "x"], ["last", "y"], num_scan_inputs=1, body=body)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps, 1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [steps, 1, 8])],
        [numpy_helper.from_array(np.zeros((1, 8), np.float32), "first")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "a.onnx")
    info = built(tmp_path / "a.onnx", tmp_path / "engines", batch=Batch(steps, steps, steps))
    assert info.plan is None
    assert info.plan_unread.startswith("it has a loop, and TensorRT does not say how often its kernels run (")


@pytest.mark.parametrize("batch", [Batch(2, 2, 2), Batch(1, 2, 4)], ids=["one batch size", "several batch sizes"])
def test_full_tensorrt_is_asked_for_the_sizes(simulated, stepped, tmp_path, batch):
    """The simulated engine has a kernel for each node, and its log is in the format of TensorRT 10."""
    info = built(stepped, tmp_path / "engines", "tensorrt", batch, STEPS)
    assert info.plan_unread == ""
    assert info.plan.kernels == len(onnx.load(stepped).graph.node)
    whole, step = 4 * FEATURES * STEPS * 2, 4 * FEATURES * 2
    products = {
        kernel.modules[0]: kernel for kernel in info.plan.largest if kernel.name.partition("/")[2][:6] == "MatMul"
    }
    assert products["fc"].bytes == 2 * whole
    assert products["out"].bytes == 2 * step
    assert products["fc"].weight_bytes == products["out"].weight_bytes == 4 * FEATURES**2


SEVERAL = Batch(1, 2, 4)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("memory", "memory ran out while its kernels were read"),
        ("kill", "the builder ended before its kernels were read"),
    ],
)
def test_an_engine_outlives_the_reading_of_its_plan(simulated, stepped, tmp_path, fault, why):
    simulated.setenv("SIMULATED_FAULT", f"inspect:{fault}")
    info = built(stepped, tmp_path / "engines", "tensorrt", SEVERAL)
    assert (info.plan, info.plan_unread) == (None, why)
    (folder,) = (tmp_path / "engines").iterdir()
    assert (folder / "model.engine").stat().st_size == info.bytes
    assert EngineInfo.from_dict(json.loads((folder / "engine.json").read_text())) == info
    files = {"engine.json", "model.engine", *(["build.log"] if fault == "memory" else [])}
    assert {file.name for file in folder.iterdir()} == files


@pytest.mark.slow
def test_an_engine_outlives_a_reading_that_does_not_end(simulated, stepped, tmp_path):
    simulated.setenv("SIMULATED_FAULT", "inspect:sleep")
    limited = BuildOptions(batch=SEVERAL, build_timeout=8)
    request = BuildRequest(
        model=stepped, engines=tmp_path / "engines", target="tensorrt", precision="fp32", options=limited
    )
    made = engine.build(request)
    assert made.info.plan_unread == "the builder ended before its kernels were read"
    assert len(made.plan()) == made.info.bytes


def test_a_log_without_layers_is_said(simulated, stepped, tmp_path):
    simulated.setenv("SIMULATED_FAULT", "silent")
    info = built(stepped, tmp_path / "engines", "tensorrt")
    assert info.plan is None
    assert info.plan_unread == "the builder's log does not have the layers of the engine"


@pytest.mark.parametrize(("limit", "taken"), [(600, 201), (60, 21)])
def test_no_second_build_is_begun_that_may_not_end_in_time(tmp_path, limit, taken):
    """Nothing of TensorRT is asked for before that is known."""
    tensor = "{ Name: x, Dimensions: [-1,8], Strides: [8,1], StrideOrder: [1,0], Datatype: Float, Format: Linear }"
    layer = f"Name: a, LayerType: kgen, Inputs: [ {tensor}], Constants: [], Outputs: [ {tensor}], Metadata: "
    request = BuildRequest(
        model=tmp_path / "a.onnx",
        engines=tmp_path,
        target="tensorrt-rtx",
        precision="fp32",
        options=BuildOptions(build_timeout=limit),
    )
    logger = SimpleNamespace(layers=[f"Layers:\n{layer}"])
    job = Job(trt=None, request=request, logger=logger, builder=None, parser=None, network=None, plugin=None)
    said = f"it takes several batch sizes, and its build took {taken} s, too long for a second one"
    assert built_plan(job, b"", taken) == (None, said)
