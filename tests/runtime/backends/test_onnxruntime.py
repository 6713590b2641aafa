import os
import sys

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tcja_runtime.backends import onnxruntime as sessions
from tcja_runtime.errors import BadInput, Unavailable


def distribution(folder, name: str, version: str = "9.9") -> None:
    """Make a distribution look installed, the way an installer does."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_both_runtimes_at_once_are_refused(tmp_path, monkeypatch):
    distribution(tmp_path, "onnxruntime")
    distribution(tmp_path, "onnxruntime-gpu")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert set(sessions.installed()) == {"onnxruntime", "onnxruntime-gpu"}
    with pytest.raises(Unavailable, match="pip uninstall onnxruntime onnxruntime-gpu"):
        sessions.require()


def test_an_old_runtime_is_refused(tmp_path, monkeypatch):
    distribution(tmp_path, "onnxruntime", "1.20.1")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(Unavailable, match=r"onnxruntime 1.20.1 is too old, 1.21 is needed: run 'pip install -U onnxr"):
        sessions.require()


def test_a_missing_runtime_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Unavailable, match="pip install onnxruntime"):
        sessions.require()


def test_a_run_that_fails_names_the_runtime_and_the_model(tmp_path):
    value = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", value, ["n"])],
        [helper.make_tensor_value_info("y", value, ["a", "b"])],
        [numpy_helper.from_array(np.array([-1, 3]), "shape")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "a.onnx")
    session = sessions.OnnxRuntimeSession.open(tmp_path / "a.onnx")
    assert session.run({"x": np.zeros(6, np.float32)})["y"].shape == (2, 3)
    with pytest.raises(BadInput, match=r"onnxruntime\S* \d\S* cannot run .*a.onnx: "):
        session.run({"x": np.zeros(7, np.float32)})


def test_a_run_that_memory_does_not_suffice_for_blames_the_machine(tmp_path):
    size = numpy_helper.from_array(np.array([2**60]), "size")
    graph = helper.make_graph(
        [helper.make_node("Expand", ["x", "size"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n"])],
        [size],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "a.onnx")
    with pytest.raises(Unavailable, match="cannot run .*a.onnx: "):
        sessions.OnnxRuntimeSession.open(tmp_path / "a.onnx").run({"x": np.zeros(1, np.float32)})


@pytest.fixture
def with_cuda(monkeypatch, tmp_path):
    """An ONNX Runtime that says it has CUDA, and a file for its model; sets what it makes of the model."""
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: sys.stdout.write("Failed to load libcublas.so.13\n"))
    (tmp_path / "model.onnx").write_bytes(b"")

    def opened(made):
        monkeypatch.setattr(onnxruntime, "InferenceSession", made)
        return sessions.OnnxRuntimeSession.open(tmp_path / "model.onnx", backend="onnxruntime-cuda")

    return opened


def test_what_cuda_refuses_is_told_and_nothing_else_is_printed(with_cuda, capfd):
    """The words are those of ONNX Runtime 1.31 beside a driver that is too old, and of its search for CUDA."""

    def made(*_, providers, enable_fallback):
        assert not enable_fallback  # or a run that fails would be done by the processor
        # Products of float32, and sums of them: no TF32, no Fourier transform.
        exact = {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}
        assert providers == [("CUDAExecutionProvider", exact)]
        raise RuntimeError(
            "/src/cuda_call.cc:154 CudaCall CUDA failure 35: CUDA driver version is insufficient for CUDA runtime "
            "version ; GPU=-1 ; hostname=vm ; expr=cudaSetDevice(info_.device_id);"
        )

    with pytest.raises(
        Unavailable, match=r"\(CUDA failure 35: CUDA driver version .* runtime version\); choose `backend`"
    ):
        with_cuda(made)
    assert capfd.readouterr() == ("", "")


def test_a_model_that_is_wrong_is_not_blamed_on_cuda(with_cuda):
    def made(*_, **__):
        raise RuntimeError("INVALID_PROTOBUF")

    with pytest.raises(BadInput, match=r"cannot load .*model.onnx: INVALID_PROTOBUF"):
        with_cuda(made)


@pytest.mark.parametrize("outputs", [(), ("y",)])
@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_what_is_no_model_is_refused(tmp_path, content, outputs):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(BadInput, match=r"(cannot load .*|)model.onnx(| cannot be read): "):
        sessions.OnnxRuntimeSession.open(tmp_path / "model.onnx", outputs)


def test_nothing_is_told_to_anybody(monkeypatch):
    """ONNX Runtime reports the models it loads over the network, unless it is told before that it must not.

    A variable tells it before it is imported. Its function does where it was imported before `tcja_runtime`.
    """
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    module, calls = sessions.require(), []
    off = module.disable_telemetry_events
    monkeypatch.setattr(module, "disable_telemetry_events", lambda: calls.append(off()))
    sessions.require()
    assert calls == [None]
