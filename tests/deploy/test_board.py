"""The commands of the board, on a GPU and a TensorRT that are simulated (tests/simulated/README.md)."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tcja_deploy import console
from tcja_deploy.export import pipeline, request
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.machine import jetpack

from .. import networks
from ..runtime.bundle.sealing import reseal


@pytest.fixture
def name() -> str:
    return "fashion_mnist"


@pytest.fixture(scope="session")
def _built() -> dict[str, Path]:
    """Bundles with an engine for this board, by network, as they are needed."""
    return {}


@pytest.fixture
def built(run, simulated, bundle, name, _built, tmp_path_factory):
    """A bundle with an engine for this board, to do with as one likes."""
    if name not in _built:
        code, _, err = run("build", bundle, "--target", "tensorrt", "--batch", "1:2:4")
        assert code == 0, err
        _built[name] = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("built") / "bundle"))
        return bundle
    shutil.rmtree(bundle)
    return Path(shutil.copytree(_built[name], bundle))


def change_engine(manifest, **changes):
    """Let a manifest say something else of its one engine."""
    ((name, info),) = manifest.engines.items()
    manifest.engines[name] = dataclasses.replace(info, **changes)


def engine_file(bundle):
    return next((bundle / "engines").glob("*/model.engine"))


@pytest.mark.parametrize("name", ["fashion_mnist", pytest.param("dvs128", marks=pytest.mark.slow)])
def test_three_commands_prove_a_board(run, built, name, _bundles):  # noqa: PT019  # its value is used
    code, out, _ = run("verify", built, "--json")
    said = json.loads(out)
    assert code == 0
    assert [found["backend"].partition(" ")[0] for found in said["backends"]] == ["ONNX", "TensorRT"]
    (engine,) = said["engines"]
    assert engine["bounded"]
    assert engine["windows"] == said["windows"] == 12
    assert engine["decided_beyond"] == 0
    assert engine["decided"] > 0
    tensorrt = said["backends"][1]
    assert tensorrt["backend"] == "TensorRT 10.3.0, NVIDIA Simulated"
    assert tensorrt["agreement"] == 1.0
    assert {signal["scene"] for signal in tensorrt["signals"]} == {"windows", "drawn", "dyadic", "range"}
    assert engine["largest_batch"] == 4
    assert sum(map(sum, (layer["unexplained"] for layer in tensorrt["layers"]))) == 0
    opened, (on_cpu, on_gpu) = Bundle.open(built), said["answers"]
    assert (on_cpu["engine_sha256"], on_gpu["backend"]) == (None, tensorrt["backend"])
    assert on_gpu["engine_sha256"] == opened.manifest.engines[engine["engine"]].sha256
    assert on_cpu["sha256"] == on_gpu["sha256"]
    assert said["bundle_sha256"] == opened.sha256 == Bundle.open(_bundles[name]).sha256  # a build does not change it


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "products"), [("fp16", "HALF"), ("int8", "INT8")])
def test_lower_precisions_are_proven_too(run, simulated, data, name, tmp_path, precision, products):
    checkpoint = networks.SMALL[name].checkpoint(tmp_path / "model.pth")
    out = tmp_path / "a.bundle"
    pipeline.export(
        request.ExportRequest(
            checkpoint=checkpoint, out=out, data=data[name], target="onnx", precision=precision, keep=("nothing",)
        )
    )
    assert run("build", out, "--target", "tensorrt")[0] == 0
    (info,) = Bundle.open(out).manifest.engines.values()
    assert info.precision == precision
    assert info.products[products] >= 1
    code, said, err = run("verify", out, "--backend", "tensorrt", "--json")
    assert code == 0, err
    assert json.loads(said)["engines"][0]["decided_beyond"] == 0


@pytest.mark.slow
def test_it_is_said_for_people(run, built):
    code, out, _ = run("verify", built, "--verbose")
    assert code == 0
    said = " ".join(out.split())
    engine = r"The output of engine nvidia-simulated-sm87-trt10.3.0-fp32-b1-2-4 is within the rounding bound in "
    windows = r"(\d+) of (\d+) windows? without an undecided neuron; "
    others = r"it is beyond the bound in \d+ of (\d+) windows? with an undecided neuron\. "
    found = re.search(engine + windows + others, said)
    assert found
    assert found[1] == found[2]
    assert int(found[2]) + int(found[3]) == 12
    assert "Parity met" in said


@pytest.mark.slow
def test_without_onnxruntime_the_engine_is_proven_alone(run, built, monkeypatch):
    from tcja_runtime.backends import onnxruntime
    from tcja_runtime.errors import Unavailable

    def missing():
        raise Unavailable("onnxruntime cannot be imported: run 'pip install onnxruntime'")

    monkeypatch.setattr(onnxruntime, "require", missing)
    code, out, _ = run("verify", built, "--json")
    assert code == 0
    assert [found["backend"] for found in json.loads(out)["backends"]] == ["TensorRT 10.3.0, NVIDIA Simulated"]


@pytest.mark.slow
def test_a_tensorrt_with_a_mistake_fails(run, simulated, bundle):
    """It is found in the parts that it builds, and named; what it builds as the engine is wrong, too."""
    simulated.setenv("SIMULATED_FAULT", "strict")
    assert run("build", bundle, "--target", "tensorrt")[0] == 0
    code, out, err = run("verify", bundle, "--backend", "tensorrt", "--bisect", "--json")
    assert code == 1
    said = json.loads(out)
    assert said["culprit"]["module"] == Bundle.open(bundle).manifest.layers[0].name
    assert said["culprit"]["fits"] == ["threshold comparison"]
    assert "TensorRT 10.3.0, NVIDIA Simulated: conv.0 in model.plain.onnx does not fire as its neurons do" in err


@pytest.mark.slow
def test_a_wrong_engine_fails_by_its_answers(run, simulated, bundle):
    """Although every part of the network is right."""
    simulated.setenv("SIMULATED_FAULT", "swap")
    assert run("build", bundle, "--target", "tensorrt")[0] == 0
    simulated.delenv("SIMULATED_FAULT")
    code, out, err = run("verify", bundle, "--backend", "tensorrt", "--json")
    said = json.loads(out)
    assert code == 1
    assert said["backends"][0]["failures"] == []
    (engine,) = said["engines"]
    assert engine["decided_beyond"] > 0
    assert "windows without an undecided neuron" in err


@pytest.mark.slow
def test_an_engine_testifies_by_its_spike_counts(run, simulated, counted, tmp_path):
    """`tests/deploy/parity/test_engine.py` has engines with mistakes."""
    bundle = Path(shutil.copytree(counted, tmp_path / "a.bundle"))
    assert run("build", bundle, "--target", "tensorrt")[0] == 0
    (info,) = Bundle.open(bundle).manifest.engines.values()
    assert [(tensor.name, tensor.type) for tensor in info.tensors if not tensor.input][1] == ("spike_counts", "INT32")
    code, out, err = run("verify", bundle, "--backend", "tensorrt", "--json")
    (engine,) = json.loads(out)["engines"]
    assert code == 0, err
    assert engine["counts"]["settled"] > 100
    assert engine["counts"]["beyond"] == 0


def faulty(tmp_path, old: str, new: str) -> str:
    """A copy of what is simulated, with a fault of its own, for the path of modules."""
    folder = shutil.copytree(Path(__file__).parents[1] / "simulated", tmp_path / "faulty")
    source = (folder / "tensorrt" / "__init__.py").read_text()
    assert old in source
    (folder / "tensorrt" / "__init__.py").write_text(source.replace(old, new))
    return str(folder)


BUILT = '        if fault == "strict":'
SCALED = """        for t in model.graph.initializer:
            if len(t.dims) > 1:
                t.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(t) * np.float32(1.01), t.name))
"""


@pytest.mark.slow
def test_an_engine_whose_weights_are_one_percent_off_fails(run, simulated, bundle, tmp_path):
    """Most of its answers are the trained network's all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(faulty(tmp_path, BUILT, SCALED + BUILT))
        code, _, err = run("build", bundle, "--target", "tensorrt")
        assert code == 0, err
    code, _, err = run("verify", bundle, "--backend", "tensorrt")
    assert code == 1
    assert "windows without an undecided neuron" in err


LOST = """        shape = onnx.helper.make_node("Shape", ["rates before"], ["batch"], start=0, end=1)
        large = onnx.helper.make_node("Greater", ["batch", "limit"], ["large"])
        nothing = onnx.helper.make_node("Sub", ["rates before", "rates before"], ["nothing"])
        chosen = onnx.helper.make_node("Where", ["large", "nothing", "rates before"], ["rates"])
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([LIMIT]), "limit"))
        for node in model.graph.node:
            node.output[:] = ["rates before" if name == "rates" else name for name in node.output]
        model.graph.node.extend([shape, large, nothing, chosen])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "how"), [("12", "in a batch of 30 windows"), ("99", None)], ids=["above 12", "never"]
)
def test_an_engine_that_fails_in_its_largest_batch_is_found(run, simulated, bundle, tmp_path, limit, how):
    """The golden vectors have 12 windows, the engine takes 30."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(faulty(tmp_path, BUILT, LOST.replace("LIMIT", limit) + BUILT))
        assert run("build", bundle, "--target", "tensorrt", "--batch", "1:2:30")[0] == 0
    code, out, err = run("verify", bundle, "--backend", "tensorrt", "--json")
    assert json.loads(out)["engines"][0]["largest_batch"] == 30
    assert code == (1 if how else 0)
    assert how is None or how in err


ZEROS = """        nothing = onnx.helper.make_node("Sub", ["rates before", "rates before"], ["rates"])
        for node in model.graph.node:
            node.output[:] = ["rates before" if name == "rates" else name for name in node.output]
        model.graph.node.append(nothing)
"""


@pytest.fixture
def unsettled(data, name, tmp_path) -> Path:
    """A bundle in fp16, in which rounding decides in most windows."""
    checkpoint, out = networks.SMALL[name].checkpoint(tmp_path / "model.pth"), tmp_path / "unsettled.bundle"
    pipeline.export(
        request.ExportRequest(
            checkpoint=checkpoint, out=out, data=data[name], target="onnx", precision="fp16", keep=("nothing",)
        )
    )
    return out


@pytest.mark.slow
def test_an_engine_that_answers_nothing_fails(run, simulated, unsettled, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(faulty(tmp_path, BUILT, ZEROS + BUILT))
        assert run("build", unsettled, "--target", "tensorrt")[0] == 0
    code, _, err = run("verify", unsettled, "--backend", "tensorrt")
    assert code == 1
    assert "returns the same output for all 12 windows, which the trained network does not" in err


@pytest.mark.slow
def test_a_wrong_engine_fails_by_its_accuracy_beside_another_backend(run, simulated, bundle, tmp_path, data, name):
    """Where it is not known how the trained network classifies these data."""
    with np.load(data[name]) as archive:
        arrays = {key: np.tile(archive[key], (8, *(1,) * (archive[key].ndim - 1))) for key in archive.files}
    np.savez(tmp_path / "more.npz", **arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(faulty(tmp_path, BUILT, ZEROS + BUILT))
        code, _, err = run("build", bundle, "--target", "tensorrt")
        assert code == 0, err
    code, out, _ = run("verify", bundle, "--data", tmp_path / "more.npz", "--json")
    failures = [failure["text"] for found in json.loads(out)["backends"] for failure in found["failures"]]
    assert code == 1

    assert "are right only in ONNX Runtime" in failures[0]


@pytest.mark.slow
def test_engines_that_are_left_out_are_named(run, simulated, bundle):
    assert run("build", bundle, "--target", "tensorrt", "--hardware-compatible", "ampere-plus", "--tf32")[0] == 0
    assert run("build", bundle, "--target", "tensorrt")[0] == 0
    simulated.setenv("SIMULATED_GPU", "NVIDIA Other, 8.9")
    code, out, _ = run("verify", bundle, "--backend", "tensorrt", "--json")
    said = json.loads(out)
    assert code == 0
    assert [found["engine"] for found in said["engines"]] == ["nvidia-simulated-sm87-trt10.3.0-tf32-ampere-plus"]
    assert ["fp32 skipped: it was built for nvidia-simulated" in line for line in said["not_run"]] == [True]


@pytest.mark.slow
def test_every_engine_is_judged(run, simulated, bundle):
    """Not the last built alone."""
    simulated.setenv("SIMULATED_FAULT", "swap")
    assert run("build", bundle, "--target", "tensorrt")[0] == 0
    simulated.delenv("SIMULATED_FAULT")
    assert run("build", bundle, "--target", "tensorrt", "--tf32")[0] == 0
    code, out, _ = run("verify", bundle, "--backend", "tensorrt", "--json")
    assert code == 1
    assert [(found["engine"].split("-")[4], len(found["failures"])) for found in json.loads(out)["engines"]] == [
        ("tf32", 0),
        ("fp32", 1),
    ]


@pytest.mark.slow
def test_data_are_classified_by_the_engine(run, built, data, name):
    code, out, _ = run("verify", built, "--backend", "tensorrt", "--data", data[name], "--json")
    (found,) = json.loads(out)["backends"]
    assert code == 0
    assert found["accuracy"] == pytest.approx(10 / 12)
    assert found["statistics"]["windows"] == 12


REFUSALS = {
    "another version": ({"SIMULATED_TENSORRT": "10.4.0"}, "was built with tensorrt 10.3.0, this machine has 10.4.0"),
    "another GPU": (
        {"SIMULATED_GPU": "NVIDIA Other, 8.7"},
        "was built for nvidia-simulated-sm87, this is nvidia-other-sm87",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_an_engine_for_something_else_is_refused(run, built, simulated, case):
    settings, why = REFUSALS[case]
    for variable, value in settings.items():
        simulated.setenv(variable, value)
    import sys

    sys.modules.pop("tensorrt", None)  # another process would import it anew
    code, _, err = run("verify", built, "--backend", "tensorrt")
    assert code == 3
    assert err.splitlines()[-1] == (
        f"error: engine nvidia-simulated-sm87-trt10.3.0-fp32-b1-2-4 {why}; "
        f"run 'tcja-deploy build {built} --target tensorrt' here"
    )
    code, out, _ = run("verify", built, "--json")  # what can be proven is
    assert code == 0
    assert [why in line for line in json.loads(out)["not_run"]] == [True]


def test_no_gpu_is_said(run, built, simulated):
    simulated.setenv("SIMULATED_GPU", "")
    code, _, err = run("verify", built, "--backend", "tensorrt")
    assert code == 3
    assert (
        "was built for nvidia-simulated-sm87, and no GPU was found on this machine: run it, or 'tcja-deploy build"
        in err
    )


@pytest.fixture
def jetson(tmp_path, monkeypatch) -> None:
    """The files of a Jetson, with the simulated GPU as the GPU of the board."""
    release = tmp_path / "nv_tegra_release"
    release.write_text("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64\n")
    monkeypatch.setattr(jetpack, "RELEASE", release)


DESKTOP = "sm80-sm86-sm89-sm120-rtx1.7.1-fp32-b1"
"""The name of an engine for desktop GPUs."""


@pytest.fixture
def desktop(built) -> Path:
    """A bundle that comes from a desktop: with an engine of TensorRT-RTX alone."""
    manifest = Bundle.open(built).manifest
    ((name, info),) = manifest.engines.items()
    (built / "engines" / name).rename(built / "engines" / DESKTOP)
    moved = dataclasses.replace(info, module="tensorrt_rtx", device="sm80-sm86-sm89-sm120", version="1.7.1")
    write_manifest(built, dataclasses.replace(manifest, engines={DESKTOP: moved}))
    return built


@pytest.mark.parametrize(("batch", "known"), [(2, True), (1, False)])
def test_what_an_engine_moves_is_set_against_its_time(run, built, batch, known):
    """The engine is tuned for two windows at a time."""
    code, out, err = run("bench", built, "--batch", batch, "--seconds", 0.2, "--warm-up", 0, "--json")
    assert code == 0, err
    said = json.loads(out)
    ((_, info),) = Bundle.open(built).manifest.engines.items()
    assert info.plan_unread == ""
    moved = info.plan.bytes + info.plan.weight_bytes
    if known:
        assert said["traffic"] == {"moved": moved, "unknown": ""}
        assert said["bandwidth"] == pytest.approx(moved / said["latency"]["p50"])
    else:
        assert said["traffic"] == {"moved": None, "unknown": "the kernel plan is of 2 windows at a time"}
        assert said["bandwidth"] is None
    out = run("bench", built, "--batch", batch, "--seconds", 0.2, "--warm-up", 0)[1]
    assert ("B a run, from the kernel plan, " in out) == known
    assert ("unknown: the kernel plan is of 2 windows at a time" in out) != known


@pytest.mark.slow
def test_what_engines_move_is_compared(run, built, monkeypatch):
    """Only for the batch size that the engine is tuned for, which is two."""
    monkeypatch.setattr(console.out, "_width", 120)
    given = "--backend", "onnxruntime", "--backend", "tensorrt", "--batch", 1, "--batch", 2, "--verbose"
    code, out, err = run("bench", built, *given, "--seconds", 0.2, "--warm-up", 0)
    assert code == 0, err
    heads, _, *rows = out.partition("run by")[2].splitlines()[:6]
    assert heads.split()[-2:] == ["memory", "bandwidth"]
    assert [row.split()[-1].endswith("B/s") for row in rows] == [False, False, False, True]
    assert "Bandwidth: the bytes of the engine's kernel plan over the median time." in " ".join(out.split())


@pytest.mark.parametrize("command", ["verify", "run", "bench", "inspect"])
def test_a_desktop_s_engine_on_a_board_is_a_quiet_line(run, simulated, jetson, desktop, command):
    """Nothing is to be installed for it."""
    more = {"verify": ["--json"], "run": [desktop / "golden.npz"], "bench": ["--seconds", 0.1, "--warm-up", 0]}
    code, out, err = run(command, desktop, *more.get(command, []))
    assert code == 0, err
    said = " ".join((out + err).split())
    if command == "inspect":
        code, out, _ = run("inspect", desktop, "--json")
        (engine,) = json.loads(out)["engines"]
        said = f"engine {DESKTOP} skipped: {engine['runs_here']}"
    line = f"engine {DESKTOP} skipped: for desktop RTX GPUs; 'tcja-deploy build {desktop}' makes one for this board"
    assert line in said
    assert "pip install" not in said
    assert "error" not in said


def test_asking_for_a_desktop_s_engine_on_a_board_is_an_error(run, simulated, jetson, desktop):
    code, _, err = run("run", desktop, desktop / "golden.npz", "--backend", "tensorrt-rtx")
    why = f"is for desktop RTX GPUs; 'tcja-deploy build {desktop}' makes one for this board"
    assert (code, err.splitlines()[-1]) == (3, f"error: engine {DESKTOP} {why}")


def test_an_engine_without_a_gpu_is_a_quiet_line(run, simulated, built):
    simulated.setenv("SIMULATED_GPU", "")
    (name,) = Bundle.open(built).manifest.engines
    code, _, err = run("run", built, built / "golden.npz")
    assert code == 0
    assert f"engine {name} skipped: for a machine with a GPU" in err.splitlines()
    assert json.loads(run("verify", built, "--json")[1])["not_run"] == [
        f"engine {name} skipped: for a machine with a GPU"
    ]


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_how_to_get_tensorrt_is_true_of_this_machine(monkeypatch, tmp_path, target):
    monkeypatch.setattr(jetpack, "RELEASE", tmp_path / "none")
    assert jetpack.how_to_get(target) == f"run 'pip install {target}'"
    monkeypatch.setattr(jetpack, "RELEASE", tmp_path)
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.3")
    monkeypatch.setattr(jetpack, "RELEASE", tmp_path / "release")
    assert "pip install" not in jetpack.how_to_get(target)


def damage(bundle, how: str) -> None:
    file = engine_file(bundle)
    content = file.read_bytes()
    if how == "changed":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "missing":
        file.unlink()
    else:
        shutil.copytree(file.parent, file.parent.with_name("another"))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("changed", "was changed: its sha256 is not the manifest's"),
        ("truncated", "bytes, the manifest says"),
        ("missing", "is missing"),
        ("added", "is not in the manifest: it was added later"),
    ],
)
def test_an_engine_that_is_not_as_it_was_built_is_refused_and_can_be_built_again(run, built, how, why):
    damage(built, how)
    code, _, err = run("verify", built)
    assert code == 2
    assert why in err.splitlines()[-1]
    assert f"run 'tcja-deploy build {built}'" in err.splitlines()[-1]
    code, _, err = run("build", built, "--target", "tensorrt", "--batch", "1:2:4")
    assert code == 0
    assert "does not match the manifest, so it is removed from the bundle" in err
    assert len(Bundle.open(built).manifest.engines) == 1


def test_an_engine_of_another_model_is_refused(run, built):
    manifest = Bundle.open(built).manifest
    change_engine(manifest, model_sha256="0" * 64)
    write_manifest(built, manifest)
    code, _, err = run("verify", built, "--backend", "tensorrt")
    assert code == 3
    assert "was built from another model than this bundle's" in err


@pytest.mark.slow
def test_an_engine_that_is_not_known_is_loaded_if_it_is_trusted(run, built):
    manifest = Bundle.open(built).manifest
    engine = engine_file(built)
    moved = engine.parent.rename(built.parent / "elsewhere")
    manifest.engines.clear()
    write_manifest(built, manifest)
    (built / "engines").mkdir(exist_ok=True)
    moved.rename(engine.parent)
    assert run("verify", built)[0] == 2
    code, out, _ = run("verify", built, "--trust-engine", "--json")
    assert code == 0
    assert len(json.loads(out)["engines"]) == 1
    damage(built, "truncated")
    code, _, err = run("verify", built, "--trust-engine")
    assert code == 2
    assert "when it was built" in err


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (
            {"SIMULATED_FREE_MIB": "100"},
            3,
            "the memory of this machine is not enough for the tensorrt builder: 100 MiB are",
        ),
        (
            {"SIMULATED_FAULT": "log:Out of memory in tactic"},
            3,
            "is not enough for the tensorrt builder: Out of memory",
        ),
        ({"SIMULATED_FAULT": "log:no tactic for conv.3"}, 2, "tensorrt cannot build the model: no tactic for conv.3"),
        ({"SIMULATED_FAULT": "kill"}, 3, "the tensorrt builder was killed by signal 9; if memory ran out, close other"),
        ({"SIMULATED_GPU": ""}, 3, "tensorrt cannot start a builder on this machine, it needs a GPU"),
    ],
)
def test_a_build_that_fails_leaves_the_bundle(run, simulated, bundle, settings, code, message):
    for variable, value in settings.items():
        simulated.setenv(variable, value)
    before = {file: file.stat().st_mtime_ns for file in bundle.rglob("*")}
    found, _, err = run("build", bundle, "--target", "tensorrt")
    assert found == code
    assert message in err.splitlines()[-1]
    assert {file: file.stat().st_mtime_ns for file in bundle.rglob("*")} == before


def test_timings_are_kept_by_device_and_version_and_merged(run, simulated, bundle, tmp_path):
    """The simulated builder's timings are the numbers of the processes that took them."""
    simulated.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for _ in range(2):
        code, _, err = run("build", bundle, "--target", "tensorrt")
        assert code == 0, err
    folder = tmp_path / "cache" / "tcja-deploy" / "timing"
    kept = folder / "nvidia-simulated-sm87-tensorrt10.3.0.cache"
    assert len(kept.read_bytes().split()) == 2
    kept.write_bytes(kept.read_bytes() + b" another")  # another process, meanwhile
    simulated.setenv("SIMULATED_TENSORRT", "10.4.0")
    assert run("build", bundle, "--target", "tensorrt")[0] == 0
    assert len(kept.read_bytes().split()) == 3
    assert len((folder / "nvidia-simulated-sm87-tensorrt10.4.0.cache").read_bytes().split()) == 1
    assert [file.suffix for file in sorted(folder.iterdir())] == [".cache", ".lock"] * 2


def test_a_gpu_without_memory_is_said(run, built, simulated):
    simulated.setenv("SIMULATED_FAULT", "memory")
    code, _, err = run("verify", built, "--backend", "tensorrt")
    assert code == 3
    assert "CUDA cannot do cudaMalloc: cudaErrorMemoryAllocation (error 2)" in err


def test_a_backend_that_is_not_there_is_refused(run, simulated, bundle):
    code, _, err = run("verify", bundle, "--backend", "tensorrt")
    assert code == 2
    assert f"has no tensorrt engine: run 'tcja-deploy build {bundle} --target tensorrt' here" in err


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_a_provider_that_is_not_there_is_not_replaced_by_the_cpu(run, bundle, backend):
    code, _, err = run("verify", bundle, "--backend", backend)
    assert code == 3
    assert "ExecutionProvider" in err
    assert len(err.splitlines()[-1:]) == 1


@pytest.mark.slow
def test_tf32_is_not_judged_by_the_bounds_of_float32(run, simulated, bundle):
    assert run("build", bundle, "--target", "tensorrt", "--tf32")[0] == 0
    code, out, _ = run("verify", bundle, "--verbose")
    assert code == 0
    said = " ".join(out.split())
    assert "need not be within the rounding bound, as it rounds to TF32" in said
    assert "are proven. The comparison of the output proves little" in said


@pytest.mark.parametrize("hardware", ["ampere-plus", "same-compute-capability"])
def test_engines_for_other_gpus(run, simulated, bundle, hardware):
    code, _, err = run("build", bundle, "--target", "tensorrt", "--hardware-compatible", hardware)
    if hardware == "same-compute-capability":  # which 10.3 has not
        assert code == 2
        assert "has no hardware compatibility level SAME_COMPUTE_CAPABILITY; leave --hardware-compatible out" in err
        return
    assert code == 0, err
    simulated.setenv("SIMULATED_GPU", "NVIDIA Other, 8.9")
    (info,) = Bundle.open(bundle).manifest.engines.values()
    assert info.hardware == "AMPERE_PLUS"
    assert run("run", bundle, bundle / "golden.npz", "--backend", "tensorrt")[0] in (0, 2)
    simulated.setenv("SIMULATED_GPU", "NVIDIA Other, 7.2")
    assert run("verify", bundle, "--backend", "tensorrt")[0] == 3


def test_an_old_tensorrt_is_refused(run, simulated, bundle):
    simulated.setenv("SIMULATED_TENSORRT", "8.6.2")
    code, _, err = run("build", bundle, "--target", "tensorrt")
    assert code == 3
    assert err.splitlines()[-1].startswith(
        "error: tensorrt 8.6.2 is too old, 10.3 is needed: install a newer one; on a Jetson, "
    )


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("module", "os"),
        ("version", ""),
        ("version", 10),
        ("bytes", -1),
        ("bytes", 1.5),
        ("batch", [2, 1, 1]),
        ("batch", "1:1:8"),
        ("sha256", None),
        ("plugin", "yes"),
        ("version_compatible", "no"),
    ],
)
def test_what_an_engine_says_of_itself_is_checked(run, built, entry, value):
    manifest = Bundle.open(built).manifest
    ((name, info),) = manifest.engines.items()
    reseal(built, engines={name: {**dataclasses.asdict(info), entry: value}})
    code, _, err = run("verify", built)
    assert code == 2
    assert f"/manifest.json: engines.{name}.{entry} is " in err
    beside = next((built / "engines").glob("*/engine.json"))
    beside.write_text(json.dumps({**json.loads(beside.read_text()), entry: value}))
    manifest.engines.clear()
    write_manifest(built, manifest)
    code, _, err = run("verify", built, "--trust-engine")
    assert code == 2
    assert f"{beside} is damaged: {entry} is " in err
    assert err.endswith(f"; remove {beside.parent}\n")


@pytest.mark.parametrize("said", ["NVIDIA Simulated, [N/A]", "NVIDIA Simulated"])
def test_a_driver_that_does_not_tell_is_no_gpu(run, simulated, bundle, said):
    simulated.setenv("SIMULATED_GPU", said)
    code, _, err = run("build", bundle, "--target", "tensorrt")
    assert code == 3
    assert "it needs a GPU" in err


def test_odd_things_where_timings_and_logs_are_kept_do_not_stop_a_build(run, simulated, bundle, tmp_path):
    simulated.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "tcja-deploy"
    (folder / "timing" / "nvidia-simulated-sm87-tensorrt10.3.0.cache").mkdir(parents=True)
    os.mkfifo(folder / f"tensorrt-build-{os.getpid()}.log")
    code, _, err = run("build", bundle, "--target", "tensorrt")
    assert code == 0, err
