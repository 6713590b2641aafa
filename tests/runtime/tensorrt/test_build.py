import dataclasses
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tcja_exporters.graph.export import with_spike_counts, with_time_forms
from tcja_exporters.graph.exported import save
from tcja_exporters.reference import recorder
from tcja_runtime.bundle.bundle import PLAIN_MODEL, sha256
from tcja_runtime.bundle.engines import Engine
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.errors import BadInput, BuildTimeout, Unavailable
from tcja_runtime.machine import children
from tcja_runtime.tensorrt import build as engine
from tcja_runtime.tensorrt import build_job, builder_process
from tcja_runtime.tensorrt.build import Batch, BuildOptions, BuildRequest

from ... import networks

pytestmark = pytest.mark.tensorrt

RTX = pytest.mark.rtx


@RTX
def test_an_engine_is_built_with_a_dynamic_batch(tmp_path, name, exports):
    model = exports[name][1] / PLAIN_MODEL
    built = build(model, tmp_path, batch=Batch(1, 2, 8), products={"FLOAT": len(exports[name][0].weights)})
    folder = tmp_path / built.name
    assert sorted(path.name for path in folder.iterdir()) == ["build.log", "engine.json", "model.engine"]
    sidecar = json.loads((folder / "engine.json").read_text())
    assert EngineInfo.from_dict(sidecar) == built.info
    assert sidecar == json.loads(json.dumps(dataclasses.asdict(built.info)))
    assert sidecar["batch"] == [1, 2, 8]
    assert [t["shape"][0] for t in sidecar["tensors"]] == [-1, -1]
    assert sidecar["sha256"] == sha256(folder / "model.engine")
    assert sidecar["bytes"] == (folder / "model.engine").stat().st_size > 100_000
    assert sidecar["model_sha256"] == sha256(model)
    assert built.name == f"sm80-sm86-sm89-sm120-rtx{sidecar['version']}-fp32-b1-2-8"


@RTX
def test_a_model_is_parsed_without_a_build(tmp_path, exports):
    plain = exports["fashion_mnist"][1] / PLAIN_MODEL
    request = BuildRequest(model=plain, engines=tmp_path, target="tensorrt-rtx", precision="fp32")
    layers = engine.parse(request)
    assert list(tmp_path.iterdir()) == []
    assert layers == build(plain, tmp_path).info.layers
    unknown = helper.make_node("Mystery", ["x"], ["y"], name="conv.3.0/Mystery", domain="other")
    with pytest.raises(BadInput, match=r"tensorrt-rtx cannot parse the model: node conv\.3\.0/Mystery"):
        engine.parse(dataclasses.replace(request, model=model(tmp_path / "a.onnx", unknown)))


def build(model: Path, engines: Path, target: str = "tensorrt-rtx", products=None, **options: object) -> Engine:
    how = BuildOptions(**{"batch": Batch(1, 1, 1), **options})
    return engine.build(
        BuildRequest(
            model=model, engines=engines, target=target, precision="fp32", products=products or {}, options=how
        )
    )


def model(path: Path, *nodes: onnx.NodeProto, kind: int = TensorProto.FLOAT) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", kind, ["batch", 4])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("other", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


@RTX
def test_an_unknown_operator_is_named_with_its_module(tmp_path):
    path = model(
        tmp_path / "a.onnx", helper.make_node("Mystery", ["x"], ["y"], name="conv.3.0/Mystery", domain="other")
    )
    with pytest.raises(BadInput) as caught:
        build(path, tmp_path / "engines")
    said = str(caught.value)
    assert "tensorrt-rtx cannot parse the model: " in said
    assert "node conv.3.0/Mystery (operator Mystery, PyTorch module conv.3.0): INVALID_NODE" in said
    assert "\n" not in said
    assert not (tmp_path / "engines").exists()


@RTX
def test_mixed_types_are_named_with_their_module(tmp_path):
    nodes = (
        helper.make_node("Cast", ["x"], ["half"], name="fc.1/Cast", to=TensorProto.FLOAT16),
        helper.make_node("Add", ["half", "x"], ["y"], name="fc.1/Add"),
    )
    with pytest.raises(BadInput, match=r"node fc.1/Add \(operator Add, PyTorch module fc.1\)"):
        build(model(tmp_path / "a.onnx", *nodes), tmp_path / "engines")


@RTX
def test_a_damaged_model_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"not a model")
    with pytest.raises(BadInput, match="tensorrt-rtx cannot parse the model"):
        build(tmp_path / "a.onnx", tmp_path / "engines")


def test_a_builder_that_is_not_installed_is_named():
    missing = next((target for target in engine.ENGINE_TARGETS if target not in engine.installed()), None)
    if missing is None:
        pytest.skip("every TensorRT is installed")
    says = f"needs the package {missing}, which this Python does not have: run 'pip install {missing}'"
    with pytest.raises(Unavailable, match=f"`target` {missing} {says}"):
        engine.check_target(missing, BuildOptions())


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "builder was killed by signal 9; if memory ran out",
        ),
        ("import os; os.abort()", "builder was killed by signal 6"),
        ("raise SystemExit('no such library')", "builder failed: no such library"),
        ("", "builder failed: it said nothing"),
    ],
)
def test_a_builder_that_dies_is_reported(tmp_path, monkeypatch, code, message):
    """The child is a real process that dies for real; only what it would have done is replaced."""
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(engine, "installed", lambda: ["tensorrt-rtx"])
    with pytest.raises(Unavailable, match=message):
        build(tmp_path / "a.onnx", tmp_path)


def test_a_builder_that_does_not_end_is_ended(tmp_path, monkeypatch):
    """The child is a real process that writes its id and sleeps; only what it would have done is replaced."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/id\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(engine, "installed", lambda: ["tensorrt-rtx"])
    with pytest.raises(BuildTimeout, match="^the tensorrt-rtx builder did not end within 1 second$"):
        build(tmp_path / "a.onnx", tmp_path, build_timeout=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "id").read_text()), 0)


@RTX
def test_the_log_is_kept(tmp_path, monkeypatch, exports):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    built = build(exports["fashion_mnist"][1] / PLAIN_MODEL, tmp_path / "engines")
    assert "INFO: " in (tmp_path / "engines" / built.name / "build.log").read_text()
    cache = tmp_path / "cache" / "tcja-deploy"
    log = cache / f"tensorrt-rtx-build-{os.getpid()}.log"
    assert not log.exists()
    for left in (f"tensorrt-rtx-build-{os.getppid()}.log", "tensorrt-rtx-build-999999999.log"):
        (cache / left).write_text("left")
    node = helper.make_node("Mystery", ["x"], ["y"], name="conv.3.0/Mystery", domain="other")
    with pytest.raises(BadInput, match=f"(log: {log})".replace("(", r"\(").replace(")", r"\)")):
        build(model(tmp_path / "a.onnx", node), tmp_path / "none")
    assert "ERROR: " in log.read_text()
    # The log of a process that still runs is its own; that of one that has ended is of no use.
    assert sorted(cache.glob("*.log")) == sorted([log, cache / f"tensorrt-rtx-build-{os.getppid()}.log"])


def test_an_engine_is_written_without_its_log(simulated, tmp_path, monkeypatch):
    """In this process, in which a file cannot be moved."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(builder_process.shutil, "move", full)
    path = model(tmp_path / "a.onnx", helper.make_node("Relu", ["x"], ["y"], name="a/Relu"))
    how = BuildOptions(batch=Batch(1, 1, 1))
    request = BuildRequest(model=path, engines=tmp_path / "engines", target="tensorrt", precision="fp32", options=how)
    answers = []
    builder_process.work(request, tmp_path / "build.log", tmp_path, answers.append)
    (folder,) = (tmp_path / "engines").iterdir()
    assert answers == [{"engine": folder.name}]
    assert sorted(file.name for file in folder.iterdir()) == ["engine.json", "model.engine"]
    assert json.loads((folder / "engine.json").read_text())["plan"]["kernels"] == 1


@RTX
def test_options_reach_the_builder(tmp_path, exports):
    plain = exports["fashion_mnist"][1] / PLAIN_MODEL
    built = build(plain, tmp_path, tf32=True, level=0, workspace=2**27)
    assert built.name.endswith("-tf32-b1")
    assert (built.info.tf32, built.info.level, built.info.workspace) == (True, 0, 2**27)
    default = build(plain, tmp_path)
    assert default.name.endswith("-fp32-b1")
    assert default.info.tf32 is False


@pytest.mark.parametrize(("free", "enough"), [(None, True), (2**31, True), (2**28, False)])
def test_a_build_that_memory_does_not_suffice_for_is_not_begun(tmp_path, free, enough):
    (tmp_path / "a.onnx").write_bytes(bytes(10 * 2**20))
    if enough:
        build_job.check_memory(free, tmp_path / "a.onnx")
        return
    with pytest.raises(build_job.Refused) as caught:
        build_job.check_memory(free, tmp_path / "a.onnx")
    assert caught.value.reply == {"stage": "memory", "log": ["256 MiB are free, about 286 MiB are needed"]}


@RTX
def test_another_precision_than_the_models_is_refused(tmp_path, exports):
    plain = exports["fashion_mnist"][1] / PLAIN_MODEL
    with pytest.raises(
        BadInput, match=r"would not compute in the model's precision: 2 products must be HALF, the network has"
    ):
        build(plain, tmp_path, products={"HALF": 2})


@RTX
def test_the_convolutions_of_spike_counts_are_no_products(tmp_path, exports):
    """They are there in the form unrolled, which has no words."""
    exported, layers = exports["fashion_mnist"][0], ("conv.0", "conv.2", "fc.2", "fc.5")
    network = networks.SMALL["fashion_mnist"].module()
    contract = networks.SMALL["fashion_mnist"].network.contract(networks.SMALL["fashion_mnist"].sizes)
    plain = with_time_forms(exported, dict.fromkeys(layers, "unrolled"))
    save(with_spike_counts(plain, recorder.layers(network, contract), 4, fuses=True), tmp_path)
    request = BuildRequest(
        model=tmp_path / PLAIN_MODEL, engines=tmp_path / "engines", target="tensorrt-rtx", precision="fp32"
    )
    weights = len(exported.weights)
    assert engine.parse(dataclasses.replace(request, products={"FLOAT": weights})) > 0
    found = rf"{weights + 1} products must be FLOAT, the network has {{'FLOAT': {weights}}}"
    with pytest.raises(BadInput, match=found):
        engine.parse(dataclasses.replace(request, products={"FLOAT": weights + 1}))


@RTX
def test_rtx_engines_are_for_their_own_version(tmp_path, exports):
    with pytest.raises(BadInput, match="`version_compatible` is for full TensorRT; TensorRT-RTX cannot; leave it out"):
        build(exports["fashion_mnist"][1] / PLAIN_MODEL, tmp_path, version_compatible=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 6}, "`level` 6 must be 0 to 5"),
        ({"workspace": 1000}, "`workspace` 1000 is a number of bytes, and must be 1,048,576 to 1,099,511,627,776"),
        ({"build_timeout": 0}, "`build_timeout` 0 must be 1 to 1,000,000"),
        ({"hardware": "turing"}, "`hardware` turing must be ampere-plus or same-compute-capability"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(BadInput, match=message):
        BuildOptions(**options)


@RTX
def test_the_child_answers_in_json(tmp_path):
    request = BuildRequest(
        model=tmp_path / "none.onnx", engines=tmp_path / "engines", target="tensorrt-rtx", precision="fp32"
    )
    arguments = str(os.getpid()), str(tmp_path / "log"), str(tmp_path / "timing")
    child = subprocess.run(
        children.main_of("tcja_runtime.tensorrt.builder_process", *arguments),
        input=request.to_json(),
        capture_output=True,
        text=True,
    )
    assert json.loads(child.stdout)["stage"] == "parse"


@pytest.mark.parametrize(
    ("text", "batch"), [("1:4:16", Batch(1, 4, 16)), ("3", Batch(3, 3, 3)), ("2:2:2", Batch(2, 2, 2))]
)
def test_batch(text, batch):
    assert Batch.parse(text) == batch


@pytest.mark.parametrize("text", ["", "a", "1:2", "1:2:3:4", "2:1:3", "0:1:1", "1:3:2", "-1"])
def test_impossible_batches_are_refused(text):
    with pytest.raises(BadInput, match=f"`batch` {text}"):
        Batch.parse(text)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_the_builder_dies_with_its_parent(tmp_path):
    child = (
        "import os, pathlib, sys, time\n"
        "from tcja_runtime.tensorrt.builder_process import _die_with_parent\n"
        "_die_with_parent()\n"
        "pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}, sys.argv[1]])"
    with subprocess.Popen([sys.executable, "-c", parent, str(tmp_path / "pid")]) as process:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        process.kill()
    builder = Path("/proc") / (tmp_path / "pid").read_text()
    deadline = time.monotonic() + 10
    while builder.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not builder.exists()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "orin-sm87-trt10.3.0-fp16"),
        ({"batch": Batch(1, 1, 1)}, "orin-sm87-trt10.3.0-fp16-b1"),
        ({"batch": Batch(1, 4, 16)}, "orin-sm87-trt10.3.0-fp16-b1-4-16"),
        ({"batch": Batch(4, 4, 4), "plugin": True}, "orin-sm87-trt10.3.0-fp16-b4-plugin"),
        ({"hardware": "ampere-plus"}, "orin-sm87-trt10.3.0-fp16-ampere-plus"),
        ({"version_compatible": True}, "orin-sm87-trt10.3.0-fp16-version-compatible"),
    ],
)
def test_an_engine_is_named_by_what_it_is(options, name):
    request = BuildRequest(
        model=Path("m"), engines=Path("e"), target="tensorrt", precision="fp16", options=BuildOptions(**options)
    )
    assert request.engine_name("orin-sm87", "10.3.0", "fp16") == name
