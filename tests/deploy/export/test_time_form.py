"""`export --time-form`: what is chosen, what is said of it, and that no form is another network."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tcja_deploy.console import silent
from tcja_deploy.export import pipeline, request, time_form, trials
from tcja_deploy.export.trials import Trials
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.precision import Lowered
from tcja_exporters.reference import recorder
from tcja_exporters.time_forms import fused
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import PLAIN_MODEL, Bundle
from tcja_runtime.bundle.engines import Engine
from tcja_runtime.bundle.manifest import Manifest, TimeForms
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.bundle.sidecar import KernelPlan
from tcja_runtime.choices import TIME_FORMS
from tcja_runtime.errors import BadInput
from tcja_runtime.machine import gpu
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor

from ... import networks
from ..parity import simulated_engines
from ..parity.mutations import change, form_of, of_another, of_neuron, reversed_time

Export = Callable[..., Path]

rtx = [
    pytest.mark.tensorrt,
    pytest.mark.rtx,
]


@pytest.fixture(scope="module")
def _made() -> dict[tuple[str, ...], Path]:
    return {}


@pytest.fixture
def export(run, data, _made, tmp_path_factory) -> Export:
    """Export a small network with some options, once; the bundle is only to be read."""

    def exported(name: str, *options: str) -> Path:
        key = name, *options
        if key not in _made:
            folder = tmp_path_factory.mktemp("exported")
            checkpoint = networks.SMALL[name].checkpoint(folder / "model.pth")
            code, _, err = run("export", checkpoint, "--data", data[name], "--out", folder / "a.bundle", *options)
            assert code == 0, err
            _made[key] = folder / "a.bundle"
        return _made[key]

    return exported


def manifest(bundle: Path) -> Manifest:
    return Bundle.open(bundle).manifest


def forms(bundle: Path) -> dict[str, str]:
    """By layer, the form of its nodes in the plain model."""
    nodes = onnx.load(bundle / PLAIN_MODEL, load_external_data=False).graph.node
    layers = manifest(bundle).layers
    return {layer.name: form_of([node for node in nodes if of_neuron(node, layer)], layer) for layer in layers}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_mnist"])
@pytest.mark.parametrize("form", TIME_FORMS)
def test_a_form_that_was_asked_for(run, export, name, form):
    bundle = export(name, "--target", "onnx", "--time-form", form)
    layers = [layer.name for layer in manifest(bundle).layers]
    assert manifest(bundle).time_form == TimeForms(
        form=form, why="as requested", layers={layer: {"form": form} for layer in layers}
    )
    assert forms(bundle) == dict.fromkeys(layers, form)
    code, out, err = run("verify", bundle)
    assert code == 0, err
    assert "Parity met" in out


@pytest.mark.slow
def test_forms_that_are_measured(run, export):
    bundle = export("dvs128", "--target", "onnx", "--time-form", "auto")
    said = manifest(bundle).time_form
    assert re.fullmatch(r"the fastest of each layer in ONNX Runtime [\d.]+ on this machine", said.why)
    assert list(said.layers) == [layer.name for layer in manifest(bundle).layers]
    for layer in said.layers.values():
        assert layer.keys() == {"form", "scan_ms", "unrolled_ms"}
        assert layer[f"{layer['form']}_ms"] == min(layer["scan_ms"], layer["unrolled_ms"]) > 0
    chosen = {layer: each["form"] for layer, each in said.layers.items()}
    assert said.form == (min(chosen.values()) if len(set(chosen.values())) == 1 else "mixed")
    assert forms(bundle) == chosen
    assert run("verify", bundle)[0] == 0


@pytest.mark.slow
def test_every_layer_takes_the_form_in_which_it_is_faster(run, export, monkeypatch):
    """By a clock that only sessions move: a loop takes 1 ms, unrolled steps 2, but in the last layer half of one."""
    now = 0.0

    class Timed(OnnxRuntimeSession):
        @classmethod
        def open(cls, model, outputs, given, **options):
            session = super().open(model, outputs, given, **options)
            session._took = 1.0 if model.parent.name == "scan" else 0.5 if outputs == [spikes_tensor("fc.5")] else 2.0
            session._runs = 0
            return session

        def run(self, feeds):
            nonlocal now
            (current,) = feeds.values()
            assert current.std() > 0.5
            warm = self._runs >= time_form.WARM_RUNS
            now += (self._took if warm else 1000 / self._took) / 1000  # the first runs tell the opposite
            self._runs += 1
            return super().run(feeds)

    monkeypatch.setattr(time_form, "OnnxRuntimeSession", Timed)
    monkeypatch.setattr(time_form, "time", types.SimpleNamespace(perf_counter=lambda: now))
    bundle = export("fashion_mnist", "--target", "onnx", "--time-form", "auto", "--samples", "4")
    expected = {"conv.0": "scan", "conv.2": "scan", "fc.2": "scan", "fc.5": "unrolled"}
    assert forms(bundle) == expected
    said = manifest(bundle).time_form
    assert said.form == "mixed"
    assert said.layers == {
        layer: {"form": form, "scan_ms": 1.0, "unrolled_ms": 2.0 if form == "scan" else 0.5}
        for layer, form in expected.items()
    }
    assert run("verify", bundle)[0] == 0


def test_without_a_wish_onnx_runtime_gets_loops(bundle):
    """The bundle that the other tests share was exported without an option."""
    said = manifest(bundle).time_form
    assert (said.form, said.why) == ("scan", "ONNX Runtime copies least memory in this form")
    assert set(forms(bundle).values()) == {"scan"}


@pytest.mark.parametrize("windows", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_all_forms_answer_to_the_bit(export, name, windows):
    """The answer, and every current and spike on the way."""
    given = networks.SMALL[name].inputs(windows, seed=3).numpy()
    found = []
    for form in TIME_FORMS:
        bundle = export(name, "--target", "onnx", "--time-form", form)
        said = manifest(bundle)
        inner = [tensor(layer.name) for layer in said.layers for tensor in (current_tensor, spikes_tensor)]
        session = OnnxRuntimeSession.open(bundle / PLAIN_MODEL, [said.output, *inner], {})
        found.append(session.run({said.input.name: given}))
    scan, *others = found
    for other in others:
        assert scan.keys() == other.keys()
        for tensor in scan:
            np.testing.assert_array_equal(scan[tensor], other[tensor], err_msg=tensor)
    assert all(scan[spikes_tensor(layer.name)].any() for layer in said.layers)


@pytest.mark.parametrize("form", ["unrolled", "fused"])
@pytest.mark.parametrize("mistake", ["comparison", "reset", "decay", "threshold", "time order"])
def test_a_mistake_in_the_steps_is_found(run, export, tmp_path, mistake, form):
    exported = export("fashion_mnist", "--target", "onnx", "--time-form", form)
    bundle = Path(shutil.copytree(exported, tmp_path / "changed.bundle"))
    layer = manifest(bundle).layers[2]
    wrong = {
        "comparison": {"strict": True},
        "reset": {"reset": "soft"},
        "decay": {"rate": 0.51, "tau": None},
        "threshold": {"threshold": 1.001},
    }
    if mistake == "time order":
        change(bundle, reversed_time(layer))
    else:
        change(bundle, of_another(layer, dataclasses.replace(layer.neuron, **wrong[mistake])))
    assert forms(bundle)[layer.name] == form
    code, out, err = run("verify", bundle, "--bisect", "--json")
    assert code == 1
    assert "error: " in err
    culprit = json.loads(out)["culprit"]
    assert culprit["module"] == layer.name
    assert culprit["node"].startswith(f"{layer.name}/")
    assert any(mistake in fit for fit in culprit["fits"])


def swapped_bits(layer: Layer) -> Callable[[onnx.ModelProto], None]:
    """Give the spikes of the first two steps each other's places in the words."""

    def apply(model: onnx.ModelProto) -> None:
        names = {f"{layer.name}/bit_0": f"{layer.name}/bit_1", f"{layer.name}/bit_1": f"{layer.name}/bit_0"}
        bits = [tensor for tensor in model.graph.initializer if tensor.name in names]
        assert len(bits) == 2
        for tensor in bits:
            tensor.name = names[tensor.name]

    return apply


@pytest.mark.parametrize(
    "mistake",
    ["time order", "reset", "bits"],
)
@pytest.mark.slow
def test_a_mistake_in_packed_steps_is_found(run, export, tmp_path, monkeypatch, mistake):
    """In half, and with spikes in words, as in layers that are larger than those of small networks."""
    monkeypatch.setattr(fused, "CONCAT_VALUES", 0)
    exported = export("fashion_mnist", "--target", "onnx", "--time-form", "fused", "--precision", "fp16")
    bundle = Path(shutil.copytree(exported, tmp_path / "changed.bundle"))
    layer = manifest(bundle).layers[2]
    assert forms(bundle)[layer.name] == "fused"
    changes = {
        "time order": reversed_time(layer),
        "reset": of_another(layer, dataclasses.replace(layer.neuron, reset="soft")),
        "bits": swapped_bits(layer),
    }
    change(bundle, changes[mistake])
    code, out, err = run("verify", bundle, "--bisect", "--json")
    assert code == 1
    assert "error: " in err
    assert json.loads(out)["culprit"]["module"] == layer.name


@pytest.mark.slow
def test_it_is_told_to_people(run, tmp_path):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    options = ("--target", "onnx", "--samples", "2", "--time-form", "unrolled", "--verbose")
    code, out, _ = run("export", checkpoint, "--out", tmp_path / "a.bundle", *options)
    assert code == 0
    assert "Time form: unrolled (as requested)" in out
    page = html.unescape((tmp_path / "a.bundle" / "report.html").read_text())
    assert "fp32, time form unrolled (as requested)" in page


def test_a_form_that_there_is_not_from_python(tmp_path):
    with pytest.raises(BadInput, match="`time_form` sideways must be one of auto, scan, unrolled, fused"):
        pipeline.export(
            request.ExportRequest(checkpoint=tmp_path / "model.pth", out=tmp_path / "a", time_form="sideways")
        )


def test_a_form_that_there_is_not(run, tmp_path):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", "--time-form", "sideways")
    assert code == 2
    assert "Invalid value for '--time-form'" in err
    assert not (tmp_path / "a.bundle").exists()


@pytest.mark.parametrize(
    ("time_steps", "form", "why"),
    [
        (48, "fused", "makes one kernel of all time steps of a layer"),
        (150, "fused", "makes one kernel of 30 of the 150 time steps of a layer"),
        (53, "scan", "does not grow with the 53 time steps"),
    ],
)
def test_layers_of_many_time_steps_become_loops_in_engines(time_steps, form, why):
    """Otherwise the engine grows with the time steps, up to hundreds of times the weights."""
    small = networks.SMALL["fashion_mnist"]
    network, contract, output = small.module(), small.network.contract(small.sizes), small.network.output
    signature = recorder.signature(network, contract, output, time_steps)
    fires = signature.layers[0]
    integrator = dataclasses.replace(fires, name="readout", neuron=fires.neuron.integrator())
    signature = dataclasses.replace(signature, integrators=[integrator])
    asked = Trials(target="tensorrt-rtx", precision="fp32", time_steps=time_steps)
    said = time_form.choose(None, asked, Lowered(None, network, "fp32"), signature, silent())
    assert {said.forms[layer.name] for layer in signature.layers} == {form}
    assert said.forms["readout"] == ("fused" if time_steps == 48 else "scan")
    assert why in said.why


@pytest.mark.parametrize(("time_steps", "form"), [(48, "unrolled"), (150, "scan")])
def test_a_builder_that_ends_too_late_gets_another_form(time_steps, form):
    chosen = TimeForms(form="fused", why="", layers={"conv": {"form": "fused"}, "readout": {"form": "scan"}})
    said = time_form.without_fused(chosen, time_steps, "late")
    assert (said.forms, said.why) == ({"conv": form, "readout": "scan"}, "late")


class TestTensorRtRtx:
    """What it builds, it can run only on a GPU; that there is none is made sure of."""

    pytestmark = rtx

    @pytest.fixture(autouse=True)
    def _no_gpu(self, monkeypatch):
        monkeypatch.setattr(gpu, "gpu", lambda: None)

    def test_without_a_wish_it_gets_fused_steps(self, run, export):
        bundle = export("fashion_mnist", "--target", "tensorrt-rtx")
        said = manifest(bundle).time_form
        assert said.form == "fused"
        assert re.fullmatch(r"TensorRT-RTX [\d.]+ makes one kernel of all time steps of a layer in this form", said.why)
        assert set(forms(bundle).values()) == {"fused"}
        assert run("verify", bundle)[0] == 0

    @pytest.mark.slow
    def test_where_it_cannot_run_the_engine_that_moves_least_wins(self, run, export):
        bundle = export("fashion_mnist", "--target", "tensorrt-rtx", "--time-form", "auto")
        said = manifest(bundle).time_form
        told = re.fullmatch(
            r"this machine has no GPU that runs TensorRT-RTX [\d.]+; "
            r"the form whose engine moves least in a window "
            r"\(scan ([\d.]+) MB, unrolled ([\d.]+) MB, fused ([\d.]+) MB\)",
            said.why,
        )
        assert told
        megabytes = dict(zip(TIME_FORMS, map(float, told.groups()), strict=True))
        assert megabytes[said.form] == min(megabytes.values()) > 0
        assert said.form == "fused"
        assert set(forms(bundle).values()) == {said.form}
        assert {frozenset(each) for each in said.layers.values()} == {frozenset({"form"})}
        assert run("verify", bundle)[0] == 0

    @pytest.mark.slow
    def test_a_form_with_a_loop_is_left_out(self):
        """The builder unrolls a loop of few steps. At 20 steps it stays, and the kernels in it are not all known."""
        small = networks.SMALL["fashion_mnist"]
        small = networks.Small(small.name, networks.with_time_steps(small.sizes, 20))
        network, contract, output = small.module(), small.network.contract(small.sizes), small.network.output
        exported = export_onnx(network, contract, output, {"producer": "tests", "T": "20"})
        signature = recorder.signature(network, contract, output, 20)
        asked = Trials(target="tensorrt-rtx", precision="fp32", time_steps=20)
        said = time_form.choose("auto", asked, Lowered(exported, network, "fp32"), signature, silent())
        assert re.search(
            r"moves least in a window \(unrolled [\d.]+ MB, fused [\d.]+ MB\); the form scan is left", said.why
        )
        assert "left out: the kernels of its engine could not be read (it has a loop, and TensorRT does not" in said.why
        assert said.form == "fused"

    @pytest.mark.parametrize(
        ("time_steps", "moved", "form", "why"),
        [
            (
                4,
                {"scan": None, "unrolled": 5, "fused": 3},
                "fused",
                "the form whose engine moves least in a window (unrolled 5.0 MB, fused 3.0 MB); "
                "the form scan is left out: the kernels of its engine could not be read (no log)",
            ),
            (
                4,
                {"scan": 4, "unrolled": 5, "fused": None},
                "scan",
                "the form whose engine moves least in a window (scan 4.0 MB, unrolled 5.0 MB); "
                "the form fused is left out: the kernels of its engine could not be read (no log)",
            ),
            (
                4,
                dict.fromkeys(TIME_FORMS),
                "unrolled",
                "the form of the smallest engine (scan 30.0 MB, unrolled 10.0 MB, fused 20.0 MB), as the kernels of no "
                "engine could be read (of scan: no log, of unrolled: no log, of fused: no log)",
            ),
            (
                60,
                {"scan": None, "unrolled": 5, "fused": None},
                "fused",
                "the form of the smallest engine (scan 30.0 MB, fused 20.0 MB), as the kernels of no engine could be "
                "read (of scan: no log, of fused: no log); the form unrolled is left out: its engine grows with the 60 "
                "time steps",
            ),
        ],
        ids=["the smallest engine is not read", "fused is not read", "none is read", "many steps"],
    )
    def test_engines_are_compared_by_what_is_read(self, exports, monkeypatch, time_steps, moved, form, why):
        """What the engines move is given; all else is as in an export."""
        sizes = {"scan": 30, "unrolled": 10, "fused": 20}

        def given(request):
            bytes_of = moved[request.model.parent.name]
            plan = bytes_of and KernelPlan(kernels=1, bytes=bytes_of * 10**6, weight_bytes=0, largest=[])
            unread = "" if plan else "no log"
            size = sizes[request.model.parent.name] * 10**6
            info = dataclasses.replace(simulated_engines.info(), plan=plan, plan_unread=unread, bytes=size)
            return Engine(request.engines, info)

        monkeypatch.setattr(trials, "build", given)
        small = networks.SMALL["fashion_mnist"]
        network = small.module()
        signature = recorder.signature(network, small.network.contract(small.sizes), small.network.output, 4)
        asked = Trials(target="tensorrt-rtx", precision="fp32", time_steps=time_steps)
        lowered = Lowered(exports["fashion_mnist"][0], network, "fp32")
        said = time_form.choose("auto", asked, lowered, signature, silent())
        assert said.form == form
        assert said.why.partition("; ")[2] == why


@pytest.mark.slow
def test_where_tensorrt_runs_it_is_measured_there(run, simulated, export):
    """Each layer as an engine of its own, on a GPU that is simulated (tests/simulated/README.md)."""
    bundle = export("fashion_mnist", "--target", "tensorrt", "--time-form", "auto")
    said = manifest(bundle).time_form
    title = r"TensorRT 10\.3\.0, NVIDIA Simulated"
    assert re.fullmatch(rf"the fastest of each layer in {title} on this machine", said.why)
    for layer in said.layers.values():
        assert layer[f"{layer['form']}_ms"] == min(layer[f"{form}_ms"] for form in TIME_FORMS) > 0
    assert forms(bundle) == {layer: each["form"] for layer, each in said.layers.items()}
    assert len(manifest(bundle).engines) == 1


def average(node: onnx.NodeProto) -> None:
    node.op_type = "AveragePool"
    kept = [attribute for attribute in node.attribute if attribute.name in ("kernel_shape", "strides", "pads")]
    del node.attribute[:]
    node.attribute.extend(kept)


def strictly(node: onnx.NodeProto) -> None:
    next(attribute for attribute in node.attribute if attribute.name == "beta").f -= 1


@pytest.mark.parametrize(
    ("operator", "wrong"),
    [
        pytest.param("MaxPool", average, marks=pytest.mark.slow),
        pytest.param("HardSigmoid", strictly, marks=pytest.mark.slow),
    ],
)
def test_a_scan_that_pools_its_spikes_is_judged_inside(run, export, tmp_path, operator, wrong):
    bundle = tmp_path / "wrong.bundle"
    shutil.copytree(export("fashion_mnist", "--target", "onnx"), bundle)

    def apply(model: onnx.ModelProto) -> None:
        bodies = [a.g.node for node in model.graph.node for a in node.attribute]
        (pooled,) = (body for body in bodies if any(node.op_type == "MaxPool" for node in body))
        wrong(next(node for node in pooled if node.op_type == operator))

    change(bundle, apply, both=False, inside=False)
    code, _, err = run("verify", bundle)
    assert code == 1
    assert f"in {PLAIN_MODEL}" in err or f"of {PLAIN_MODEL}" in err, err
