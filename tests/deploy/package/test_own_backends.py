"""Whole windows for Triton's own backends: ONNX Runtime, run as this backend runs it, and TensorRT with an engine.

Neither backend is here, nor is TensorRT (tests/simulated/README.md): configurations are parsed, and held against the
model or the engine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tcja_deploy.package import own_backends
from tcja_deploy.package.agreement import Tensors, disagreements
from tcja_deploy.package.options import TritonOptions
from tcja_deploy.package.own_backends import write_onnx_windows, write_plan_windows
from tcja_deploy.package.served import Request, Served
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.network.network import load

from ... import networks
from ...runtime.bundle.sealing import reseal

pytestmark = pytest.mark.releases

SMALL = networks.SMALL["fashion_mnist"]


def config_of(folder: Path) -> Any:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_windows_in_onnx_runtime(counted, tmp_path):
    bundle = Bundle.open(counted)
    write_onnx_windows(tmp_path, "clothes", bundle, TritonOptions(max_batch=8, delay=500))
    config = config_of(tmp_path)
    assert (config.backend, config.max_batch_size, config.dynamic_batching.max_queue_delay_microseconds) == (
        "onnxruntime",
        8,
        500,
    )
    assert disagreements(config, Tensors.of_onnx(onnx.load(tmp_path / "1" / "model.onnx"))) == []
    windows = SMALL.inputs(5, seed=9).numpy()
    served = Served.open(tmp_path)
    found = served.run([Request({"images": windows[:2]}), Request({"images": windows[2:]})])
    with load(counted, backend="onnxruntime") as net:
        expected = net.outputs(windows)
    np.testing.assert_array_equal(np.concatenate([each["rates"] for each in found]), expected)
    assert [each["spike_counts"].shape for each in found] == [(2, 4, 4), (3, 4, 4)]
    assert (tmp_path / "labels.txt").read_text().splitlines() == bundle.manifest.classes
    assert (tmp_path / "warmup" / "window").stat().st_size == 4 * windows[0].size
    assert (tmp_path / "1" / "manifest.json").read_bytes() == (counted / "manifest.json").read_bytes()


def test_a_gpu_would_compute_exactly(counted, tmp_path):
    """The options of CUDA that the bundle is proven with, where the backend reads them: twice, as it has two names."""
    write_onnx_windows(tmp_path, "clothes", Bundle.open(counted), TritonOptions())
    config = config_of(tmp_path)
    (cuda,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (cuda.name, dict(cuda.parameters)) == ("cuda", {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"})
    assert config.parameters["cudnn_conv_algo_search"].string_value == "2"
    assert [each.kind for each in config.instance_group] == [config.instance_group[0].KIND_CPU]


def test_quantised_products_stay_in_float32(counted, tmp_path):
    """ONNX Runtime's basic optimisations leave them as they are; the others make products of int8 of them (QGemm)."""
    bundle = Bundle.open(counted)
    quantised = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, precision="int8"))
    write_onnx_windows(tmp_path, "clothes", quantised, TritonOptions())
    assert config_of(tmp_path).optimization.graph.level == -1


def test_other_answers_are_not_packaged(counted, tmp_path, monkeypatch):
    opened = own_backends.OnnxRuntimeSession.open

    class Other:
        def __init__(self, model):
            self.session = opened(model)

        def run(self, feeds):
            return {name: np.nextafter(value, 9) for name, value in self.session.run(feeds).items()}

    monkeypatch.setattr(own_backends.OnnxRuntimeSession, "open", Other)
    with pytest.raises(ParityNotMet, match="the model clothes does not give the answers of .* so it is not written"):
        write_onnx_windows(tmp_path, "clothes", Bundle.open(counted), TritonOptions())


def test_a_manifest_that_contradicts_its_model(counted, tmp_path):
    bundle = Bundle.open(counted)
    manifest = dataclasses.replace(bundle.manifest, output_shape=(9,), classes=bundle.manifest.classes[:9])
    with pytest.raises(BadInput, match=r"not what its manifest says: output 'rates' is \[9\], in the model \[10\]"):
        write_onnx_windows(tmp_path, "clothes", dataclasses.replace(bundle, manifest=manifest), TritonOptions())


def test_an_engine_for_tensorrt(built, tmp_path):
    bundle, folder = Bundle.open(built), tmp_path / "model"
    folder.mkdir()
    write_plan_windows(folder, "clothes", bundle, TritonOptions())
    (info,) = bundle.manifest.engines.values()
    config = config_of(folder)
    assert (config.backend, config.default_model_filename, config.max_batch_size) == ("tensorrt", "model.plan", 4)
    assert hashlib.sha256((folder / "1" / "model.plan").read_bytes()).hexdigest() == info.sha256
    assert list(config.dynamic_batching.preferred_batch_size) == [2]
    assert [each.kind for each in config.instance_group] == [config.instance_group[0].KIND_GPU]
    assert {each.name: list(each.dims) for each in config.output} == {"rates": [10], "spike_counts": [4, 4]}
    assert disagreements(config, Tensors.of_engine(info)) == []
    assert disagreements(config, Tensors.of_engine(dataclasses.replace(info, batch=(1, 1, 2)))) == [
        "max_batch_size is 4, and the model takes 2 at most"
    ]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        (
            {"batch": [2, 2, 4]},
            {},
            "takes 2 windows or more, and a server also runs single ones; build one that takes 1",
        ),
        ({}, {"max_batch": 5}, "max_batch. 5 is more than engine .* takes, which is 4"),
        ({}, {"engine": "other"}, "has no engine 'other' of TensorRT .its engines: nvidia-simulated"),
        ({"tensors": 9}, {}, r"not what its manifest says: output 'rates' is \[10\], in the model \[9\]"),
    ],
    ids=["batch", "max batch", "name", "shape"],
)
def test_an_engine_that_does_not_fit(built, tmp_path, changes, options, message):
    ((name, info),) = Bundle.open(built).manifest.engines.items()
    if "tensors" in changes:
        changes = {"tensors": [dataclasses.replace(e, shape=(-1, 9)) if e.name == "rates" else e for e in info.tensors]}
    reseal(built, engines={name: dataclasses.asdict(dataclasses.replace(info, **changes))})
    (tmp_path / "model").mkdir()
    with pytest.raises(BadInput, match=message):
        write_plan_windows(
            tmp_path / "model", "clothes", Bundle.open(built), TritonOptions(backend="tensorrt", **options)
        )


def test_the_command(run, built, tmp_path):
    code, out, err = run("package", "triton", built, tmp_path / "models", "--name", "clothes", "--backend", "tensorrt")
    assert code == 0, err
    assert "needs the engine's TensorRT and GPU, and checks neither its hash nor its signature" in " ".join(out.split())
    assert (tmp_path / "models" / "clothes" / "1" / "model.plan").exists()
    code, _, err = run("package", "triton", built, tmp_path / "models", "--name", "other", "--engine", "a")
    assert (code, err.splitlines()[-1]) == (
        2,
        "error: --engine a is for the --backend tensorrt, and the model is for python; leave --engine out, or choose "
        "that backend for a new model",
    )
    assert not (tmp_path / "models" / "other").exists()
    again = ("package", "triton", built, tmp_path / "models", "--name", "clothes", "--new-version")
    (engine,) = Bundle.open(built).manifest.engines
    code, out, err = run(*again, "--engine", engine, "--json")
    assert code == 0, err
    assert json.loads(out)["version"] == 2
    assert json.loads(out)["backend"] == "tensorrt"
    code, _, err = run(*again, "--engine", "other")
    assert (code, "has no engine 'other' of TensorRT (its engines: nvidia-simulated" in err) == (2, True)
    plans = [tmp_path / "models" / "clothes" / version / "model.plan" for version in "12"]
    assert plans[0].read_bytes() == plans[1].read_bytes()
    config = tmp_path / "models" / "clothes" / "config.pbtxt"
    config.write_text(config.read_text().replace('"tensorrt"', '"pytorch"'))
    code, _, err = run(*again)
    assert (code, "is a model of Triton's backend 'pytorch', for which no bundle is packaged" in err) == (2, True)
