"""Sessions of engines, on a GPU and a TensorRT that are simulated (tests/simulated/README.md)."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.tensorrt.session import TensorRtEngine


def plan(least: int = 1, most: int = 4, kind: int = TensorProto.FLOAT) -> bytes:
    """As the simulated builder makes it: y = -x, [N, 3], z = x x."""
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Mul", ["x", "x"], ["z"])],
        "graph",
        [helper.make_tensor_value_info("x", kind, ["batch", 3])],
        [helper.make_tensor_value_info(name, kind, ["batch", 3]) for name in "yz"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    profile = {"x": [[least, 3], [least, 3], [most, 3]]}
    return b"simulated plan\n" + json.dumps(profile).encode() + b"\n" + model.SerializeToString()


@pytest.fixture
def cuda(simulated):
    from cuda.bindings import runtime

    return runtime


def windows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


def check(session, x) -> None:
    found = session.run({"x": x})
    assert list(found) == ["y", "z"]
    np.testing.assert_array_equal(found["y"], -x)
    np.testing.assert_array_equal(found["z"], x * x)


@pytest.mark.parametrize("n", [1, 2, 4, 5, 11])
@pytest.mark.parametrize(("least", "most"), [(1, 4), (2, 4), (4, 4), (1, 1)])
def test_batches_of_any_size(cuda, n, least, most):
    session = TensorRtEngine.load(plan(least, most), "tensorrt", "an engine").session()
    assert session.inputs == ["x"]
    for seed in range(3):
        check(session, windows(n, seed))
    session.close()
    assert cuda.in_use() == 0


def test_results_are_the_callers(cuda):
    session = TensorRtEngine.load(plan(), "tensorrt", "an engine").session()
    first = session.run({"x": windows(2)})["y"]
    kept = first.copy()
    session.run({"x": windows(2, seed=1)})
    np.testing.assert_array_equal(first, kept)


def test_work_of_one_shape_becomes_a_graph(cuda):
    """From the second run on; the first lets TensorRT prepare what must not be captured."""
    session = TensorRtEngine.load(plan(), "tensorrt", "an engine").session()
    before, graphs = cuda.launches, []
    for seed in range(4):
        check(session, windows(2, seed))
        graphs.append(session.uses_graph)
    assert graphs == [False, True, True, True]
    assert cuda.launches - before == 3
    check(session, windows(3))
    assert not session.uses_graph
    check(session, windows(3))
    assert session.uses_graph
    session.close()
    assert cuda.in_use() == 0


def test_work_that_cannot_be_captured_is_done_all_the_same(cuda, simulated):
    simulated.setenv("SIMULATED_FAULT", "capture")
    session = TensorRtEngine.load(plan(), "tensorrt", "an engine").session()
    for seed in range(3):
        check(session, windows(2, seed))
        assert not session.uses_graph


def test_graphs_can_be_left_out(cuda):
    session = TensorRtEngine.load(plan(), "tensorrt", "an engine").session(graphs=False)
    for seed in range(3):
        check(session, windows(2, seed))
        assert not session.uses_graph


def test_sessions_of_one_engine_share_nothing(cuda):
    engine = TensorRtEngine.load(plan(), "tensorrt", "an engine")
    first, second = engine.session(), engine.session()
    for seed in range(3):
        check(first, windows(2, seed))
        check(second, windows(4, seed + 10))
    first.close()
    check(second, windows(1))
    second.close()
    assert cuda.in_use() == 0


def test_halves_are_taken_from_floats(cuda):
    session = TensorRtEngine.load(plan(kind=TensorProto.FLOAT16), "tensorrt", "an engine").session()
    x = windows(2)
    found = session.run({"x": x})["y"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, -x.astype(np.float16))


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 1)])
def test_other_shapes_are_refused(cuda, shape):
    session = TensorRtEngine.load(plan(), "tensorrt", "an engine").session()
    with pytest.raises(BadInput, match=r"the engine takes 'x' of \[1, 3\] to \[4, 3\], not \[2, "):
        session.run({"x": np.zeros(shape, np.float32)})
    check(session, windows(2))


def test_what_is_no_plan_is_refused(cuda):
    with pytest.raises(
        Unavailable, match=r"tensorrt 10.3.0 refuses an engine: the plan has no magic tag; build it again here"
    ):
        TensorRtEngine.load(b"something else", "tensorrt", "an engine")


def test_memory_is_given_back_when_there_is_too_little(cuda, simulated):
    engine = TensorRtEngine.load(plan(), "tensorrt", "an engine")
    simulated.setenv("SIMULATED_FAULT", "memory")
    with pytest.raises(Unavailable, match="CUDA cannot do cudaMalloc: cudaErrorMemoryAllocation"):
        engine.session()
    assert cuda.in_use() == 0


def test_without_a_gpu_the_real_binding_says_so():
    """No simulation: what a machine without a driver answers."""
    runtime = pytest.importorskip("cuda.bindings.runtime")
    if runtime.cudaGetDeviceCount()[0] == runtime.cudaError_t.cudaSuccess:
        pytest.skip("this machine has a GPU")
    from tcja_runtime.tensorrt.cuda import Cuda

    with pytest.raises(Unavailable, match=r"CUDA cannot do cudaGetDeviceCount: .*driver.* \(error \d+\)"):
        Cuda.open()


def test_the_simulated_model_is_one():
    onnx.checker.check_model(onnx.load_from_string(plan().split(b"\n", 2)[2]))
