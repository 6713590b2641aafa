"""`build --plugin` from end to end, on a GPU and a TensorRT that are simulated (tests/simulated/README.md)."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from tcja_runtime.bundle.bundle import Bundle, sha256

from ..runtime.tensorrt.plugin import toolkits

pytestmark = pytest.mark.releases


@pytest.fixture(params=["fashion_mnist", "dvs128"])
def name(request) -> str:
    return request.param


@pytest.fixture
def board(simulated):
    """A board with CUDA's compiler, which is the real one."""
    cuda = Path(toolkits.nvrtc("12.6")).parents[3]
    simulated.setattr(sys, "path", [*sys.path, str(cuda)])
    return simulated


def test_an_engine_is_built_and_proven(run, board, bundle, name):
    code, out, err = run("build", bundle, "--target", "tensorrt", "--plugin", "--json")
    assert code == 0, err
    said = json.loads(out)
    nodes, pools = {"fashion_mnist": (4, 1), "dvs128": (7, 3)}[name]
    assert said["plugin"] == {"form": "at run time", "nodes": nodes, "halves": 0, "pools": pools}
    assert said["engine"] == "nvidia-simulated-sm87-trt10.3.0-fp32-plugin"
    assert said["model_sha256"] == sha256(bundle / "model.onnx")

    code, out, _ = run("verify", bundle, "--json")
    assert code == 0
    (engine,) = json.loads(out)["engines"]
    assert engine["engine"] == said["engine"]
    assert engine["bounded"]
    assert engine["decided_beyond"] == 0
    registry = importlib.import_module("tensorrt").get_plugin_registry()
    assert registry.get_creator("TcjaLif", "1", "tcja") is not None  # before the engine was loaded

    code, out, err = run("build", bundle, "--target", "tensorrt")
    assert code == 0, err
    assert "plugin" not in " ".join(out.split())
    assert len(Bundle.open(bundle).manifest.engines) == 2


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_people_are_told_what_was_never_run(run, board, bundle):
    code, out, err = run("build", bundle, "--target", "tensorrt", "--plugin")
    assert code == 0, err
    said = "The plugin computes 4 spiking layers, 1 of them with the pooling that follows "
    assert said + "(it was never run in a real TensorRT: verify before you rely on it)" in " ".join(out.split())


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_an_engine_without_the_plugin_is_refused(run, board, bundle):
    board.setenv("SIMULATED_FAULT", "plugin")
    code, _, err = run("build", bundle, "--target", "tensorrt", "--plugin")
    assert code == 3
    line = err.splitlines()[-1]
    assert line.startswith("error: --plugin: TensorRT uses the plugin for 0 of 4 spiking layers")


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_a_gpu_that_the_compiler_does_not_know_is_refused(run, board, bundle):
    board.setenv("SIMULATED_GPU", "NVIDIA Thor, 11.0")
    code, _, err = run("build", bundle, "--target", "tensorrt", "--plugin")
    assert code == 3
    assert "error: --plugin: the neuron's kernel does not compile for sm_110: " in err.splitlines()[-1]
