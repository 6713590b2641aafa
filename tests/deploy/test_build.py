"""`build BUNDLE`: the command of the board, here with TensorRT-RTX, which builds without a GPU."""

from __future__ import annotations

import json
import re
import shutil
import sys

import pytest

from tcja_deploy.build import with_engine
from tcja_deploy.console import silent
from tcja_runtime.bundle.bundle import Bundle, sha256
from tcja_runtime.files.folder import Folder
from tcja_runtime.records import WrongField
from tcja_runtime.tensorrt import build
from tcja_runtime.tensorrt.build import BuildOptions

from ..runtime.bundle.sealing import reseal
from ..sidecars import engine_info

pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.rtx,
]


@pytest.fixture
def name() -> str:
    return "fashion_mnist"


def flat(text):
    return " ".join(text.split())


def contents(folder):
    return {file.relative_to(folder): sha256(file) for file in folder.rglob("*") if file.is_file()}


def test_an_engine_is_added_and_replaced(run, bundle):
    before = contents(bundle)
    code, out, err = run("build", bundle, "--batch", "1:4:16", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["batch"] == [1, 4, 16]
    assert "build the tensorrt-rtx engine" in err
    opened = Bundle.open(bundle)
    assert list(opened.manifest.engines) == [said["engine"]]
    assert opened.manifest.targets == ["onnx", "tensorrt-rtx"]
    after = contents(bundle)
    added = {bundle / "engines" / said["engine"] / file for file in ("model.engine", "engine.json", "build.log")}
    assert {bundle / file for file in after.keys() - before.keys()} == added
    changed = {file.as_posix() for file in before if before[file] != after[file]}
    assert changed == {"manifest.json", "README.md"}
    assert said["engine"] in (bundle / "README.md").read_text()

    code, out, err = run("build", bundle, "--batch", "2")
    assert (code, "replaces" in err) == (0, False)
    moved = r"\d+ kernels move [\d.]+ MB of data for 2 windows at a time, and [\d.]+ [kM]B of weights\."
    assert re.search(moved, flat(out))
    engines = Bundle.open(bundle).manifest.engines
    assert [info.batch for info in engines.values()] == [(1, 4, 16), (2, 2, 2)]
    four, two = (info.plan for info in engines.values())
    assert four.bytes == pytest.approx(2 * two.bytes, rel=1e-2)
    code, _, err = run("build", bundle, "--batch", "2", "--optimization-level", "0")
    assert code == 0
    assert f"it replaces the engine {list(engines)[-1]}, which was built on " in err
    assert run("build", bundle, "--tf32")[0] == 0
    assert len(Bundle.open(bundle).manifest.engines) == 3
    assert run("verify", bundle)[0] == 0


def broken(bundle):
    """A bundle, its hashes in order, whose plain model TensorRT cannot parse."""
    manifest = Bundle.open(bundle).manifest
    model = (bundle / "model.plain.onnx").read_bytes().replace(b"\x22\x04Gemm", b"\x22\x04Gemn")
    (bundle / "model.plain.onnx").write_bytes(model)
    from tcja_runtime.bundle.writing import write_manifest

    write_manifest(bundle, manifest)


def test_a_failure_leaves_the_bundle_as_it_was(run, bundle):
    broken(bundle)
    before = contents(bundle)
    code, _, err = run("build", bundle)
    assert code == 2
    assert "fc.1.0/Gemm (operator Gemn, PyTorch module fc.1.0)" in err.splitlines()[-1]
    assert contents(bundle) == before
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


def test_a_build_that_does_not_end_leaves_the_bundle_as_it_was(run, bundle, tmp_path, monkeypatch):
    sleeper = tmp_path / "python"
    sleeper.write_text(
        f'#!/bin/sh\ncase "$*" in *builder_process*) exec sleep 600 ;; *) exec {sys.executable} "$@" ;; esac\n'
    )
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    before = contents(bundle)
    code, _, err = run("build", bundle, "--build-timeout", "1")
    says = "error: the tensorrt-rtx builder did not end within 1 second; give it more time with --build-timeout"
    fused = ", or export the network again with --time-form unrolled"
    assert (code, err.splitlines()[-1]) == (3, says + fused * (form(bundle) == "fused"))
    assert contents(bundle) == before


def form(bundle):
    return Bundle.open(bundle).manifest.time_form.form


def test_a_damaged_bundle_is_not_built(run, bundle):
    (bundle / "model.plain.onnx").write_bytes(b"")
    code, _, err = run("build", bundle)
    assert (code, "has 0 bytes, the manifest says" in err) == (2, True)


def test_without_tensorrt_it_says_what_to_install(run, bundle, monkeypatch):
    monkeypatch.setattr(build, "ENGINE_TARGETS", {"tensorrt": "no_such_tensorrt"})
    code, _, err = run("build", bundle)
    assert code == 3
    assert "no TensorRT is installed for this Python: run 'pip install tensorrt'" in err


def test_a_folder_that_cannot_be_written_is_named(run, bundle, tmp_path, monkeypatch):
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "copytree", refuse)  # root, who runs the tests at times, may write anywhere
    code, _, err = run("build", bundle)
    assert code == 2
    assert err.splitlines()[-1] == f"error: {bundle} cannot be changed: Permission denied; copy it elsewhere"


def test_tensorrt_rtx_has_no_plugins_and_is_not_asked_for_them(run, bundle):
    (bundle / "manifest.json").write_text("not even read")
    code, _, err = run("build", bundle, "--plugin", "--target", "tensorrt-rtx")
    assert code == 2
    (line,) = err.splitlines()
    assert line == ("error: --plugin: TensorRT-RTX has no plugins; leave it out, or build with --target tensorrt")


def test_the_plugin_is_built_from_the_model_with_its_operator(bundle, monkeypatch, tmp_path):
    asked = {}

    def note(request):
        asked[request.options.plugin] = request.model.name
        (request.engines / "e").mkdir(parents=True)
        return build.Engine(request.engines / "e", engine_info())

    monkeypatch.setattr(build, "build", note)
    manifest = Bundle.open(bundle).manifest
    for plugin in (False, True):
        with_engine(manifest, Folder(bundle), bundle, "tensorrt", BuildOptions(plugin=plugin), silent())
    assert asked == {False: "model.plain.onnx", True: "model.onnx"}


def test_what_an_engine_moves_is_inspected_and_estimated(run, bundle):
    said = json.loads(run("build", bundle, "--batch", "2", "--json")[1])
    code, out, _ = run("inspect", bundle, "--device", "orin-nano", "--json")
    assert code == 0
    facts = json.loads(out)
    (engine,), (cost,) = facts["engines"], facts["costs"]["engines"]
    plan = engine["plan"]
    assert plan == said["plan"]
    assert engine["plan_unread"] == ""
    sizes = [kernel["bytes"] + kernel["weight_bytes"] for kernel in plan["largest"]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == min(10, plan["kernels"])
    assert (cost["engine"], cost["batch"], cost["kernels"]) == (said["engine"], 2, plan["kernels"])
    assert cost["bytes_moved"] == plan["bytes"] + plan["weight_bytes"]
    assert cost["memory_seconds"] == pytest.approx(cost["bytes_moved"] / facts["costs"]["board"]["bandwidth"])
    assert cost["seconds"] == max(cost["memory_seconds"], cost["compute_seconds"])
    assert cost["joules"] == pytest.approx(cost["seconds"] * facts["costs"]["mode"]["watts"])
    out = run("inspect", bundle, "--device", "orin-nano")[1]
    assert "Roofline of the engines, from the bytes that their kernels move" in out
    assert f"Engine {said['engine']}: {plan['kernels']} kernels move" in flat(out)
    table = out.partition("The kernels that move most")[2].partition("Spiking layers")[0]
    assert [module for module in ("conv.1.1", "fc.1.0") if module not in table] == []
    assert plan["largest"][0]["name"] not in table
    assert plan["largest"][0]["name"][:20] in run("inspect", bundle, "--verbose")[1]  # narrow tables fold the rest
    # An older version recorded no plan.
    engines = json.loads((bundle / "manifest.json").read_text())["engines"]
    old = {name: {key: info[key] for key in info.keys() - {"plan", "plan_unread"}} for name, info in engines.items()}
    reseal(bundle, engines=old)
    facts = json.loads(run("inspect", bundle, "--device", "thor", "--json")[1])
    assert facts["engines"][0]["plan"] is None
    assert facts["costs"]["engines"] == []
    out = run("inspect", bundle)[1]
    assert "What its kernels move is not known: it was built by a version that recorded no kernels." in flat(out)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"kernels": -1}, "plan.kernels is -1, and must be at least 0"),
        ({"bytes": 1.5}, "plan.bytes is 1.5, and must be a whole number"),
        ({"largest": [{"name": "k"}]}, "plan.largest[0].kind is missing"),
    ],
)
def test_a_wrong_plan_is_named(plan, message):
    with pytest.raises(WrongField) as caught:
        engine_info(plan={"kernels": 1, "bytes": 10, "weight_bytes": 4, "largest": [], **plan})
    assert str(caught.value) == message
