"""`export --streaming`: proven, proven again by `verify`, measured by `bench`, and refused where it cannot be."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tcja_deploy.export import models
from tcja_runtime.backends.select import opened
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import GOLDEN, Bundle, sha256
from tcja_runtime.bundle.stepwise import HEAD, TAIL, Streaming
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden
from tcja_runtime.model_file.tensor_names import kept_tensor, membrane_tensor, next_membrane_tensor

from ... import networks
from ...runtime.bundle.sealing import reseal

SMALL = (networks.SMALL["dvs128"], networks.REGISTRY["tet_cifar10dvs"])


@pytest.fixture(
    scope="module", params=[SMALL[0], pytest.param(SMALL[1], marks=pytest.mark.slow)], ids=lambda small: small.name
)
def exported(request, streamed) -> Path:
    return streamed(request.param)


@pytest.fixture
def bundle(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "a.bundle"))


@pytest.fixture
def one(exported, bundle) -> Path:
    """A bundle of one network alone, where one is enough."""
    if Bundle.open(exported).manifest.network != "dvs128":
        pytest.skip("one network is enough")
    return bundle


def test_it_is_proven_identical_and_said(run, bundle):
    manifest = Bundle.open(bundle).manifest
    said = json.loads((bundle / "parity.json").read_text())["stepwise"]
    assert said == manifest.parity.stepwise
    assert said["windows"] == 4
    assert said["spikes"] > 1000
    assert (said["differing_spikes"], said["output_difference"], said["failures"]) == (0, 0.0, [])
    assert (
        "every spike and every output equals that of whole windows, to the bit" in (bundle / "report.html").read_text()
    )
    code, out, _ = run("verify", bundle, "--verbose")
    assert code == 0
    assert "Stepwise in ONNX Runtime" in out
    code, out, _ = run("verify", bundle, "--json")
    assert json.loads(out)["stepwise"]["spikes"] == said["spikes"]
    code, out, _ = run("inspect", bundle, "--verbose")
    assert "spiking layers a frame at a time" in out


def test_sessions_of_the_bundle_answer_as_the_network_does(bundle):
    opened_ = Bundle.open(bundle)
    windows = golden.load(bundle / GOLDEN, opened_.manifest.input).samples.inputs
    expected = opened(opened_, "onnxruntime").session.run({"frames": windows})[opened_.manifest.output]
    streams = Streams.open(opened_, len(windows))
    late = 2  # frames that the second half of the streams is behind
    first, second = np.array_split(np.arange(len(windows)), 2)
    found = np.full_like(expected, np.nan)
    for t in range(opened_.manifest.time_steps + late):
        due = [i for i in (*first, *second) if 0 <= t - late * (i in second) < opened_.manifest.time_steps]
        completed = streams.push(np.stack([windows[i, t - late * (i in second)] for i in due]), due)
        found[completed.streams] = completed.outputs
    np.testing.assert_array_equal(found, expected)


Change = Callable[[onnx.ModelProto], None]


def changed(bundle: Path, file: str, change: Change) -> None:
    """Change a part and put the hashes right, as a faulty exporter would."""
    manifest = Bundle.open(bundle).manifest
    model = onnx.load(bundle / file)
    change(model)
    onnx.save(model, bundle / file)
    write_manifest(bundle, manifest)


def scaled(name: str, factor: float) -> Change:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        values = numpy_helper.to_array(tensor).copy()
        values.flat[0] *= factor
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    return change


def rewired(old: str, new: str) -> Change:
    """Let what reads a tensor read another one."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]

    return change


def forgotten(layer: str) -> Change:
    """Return the membranes that were taken."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = [f"{layer}/lost" if name == next_membrane_tensor(layer) else name for name in node.output]
        model.graph.node.append(
            helper.make_node("Identity", [membrane_tensor(layer)], [next_membrane_tensor(layer)], name="forgets")
        )

    return change


def without_input_state(layer: str) -> Change:
    """Start every step from rest."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "rest"))
        rewired(membrane_tensor(layer), "rest")(model)

    return change


def compared(layer: str, change_of: Callable[[onnx.NodeProto, str], None]) -> Change:
    """Change the numbers that a layer's spikes and resets are told by (`tcja_exporters.time_forms.neuron_step`)."""

    def change(model: onnx.ModelProto) -> None:
        bodies = [attribute.g.node for node in model.graph.node for attribute in node.attribute]
        changed_ = 0
        for node in (node for nodes in (model.graph.node, *bodies) for node in nodes):
            if node.name.startswith(f"{layer}/") and node.op_type in ("HardSigmoid", "ThresholdedRelu"):
                change_of(node, {"HardSigmoid": "beta", "ThresholdedRelu": "alpha"}[node.op_type])
                changed_ += 1
        assert changed_

    return change


def strictly(layer: str) -> Change:
    """> for >=."""

    def change(node: onnx.NodeProto, name: str) -> None:
        number = next(attribute for attribute in node.attribute if attribute.name == name)
        number.f = number.f - 1 if name == "beta" else np.nextafter(np.float32(number.f), np.float32(-np.inf))

    return compared(layer, change)


def higher(layer: str) -> Change:
    """A threshold of 1.001 for 1."""

    def change(node: onnx.NodeProto, name: str) -> None:
        number = next(attribute for attribute in node.attribute if attribute.name == name)
        number.f *= 1.001

    return compared(layer, change)


def exchanged_steps(feature: str) -> Change:
    """The tail takes the steps of a feature the other way round."""

    def change(model: onnx.ModelProto) -> None:
        for name, value in (("at", -1), ("to", -(2**62)), ("axis", 1), ("by", -1)):
            model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), f"turned/{name}"))
        rewired(kept_tensor(feature), "turned")(model)
        inputs = [kept_tensor(feature), *(f"turned/{name}" for name in ("at", "to", "axis", "by"))]
        model.graph.node.insert(0, helper.make_node("Slice", inputs, ["turned"], name="turned"))

    return change


@pytest.mark.slow
def test_a_wrong_part_is_caught(run, one):
    bundle, manifest = one, Bundle.open(one).manifest
    streamed = [state.layer for state in manifest.streaming.states]
    first, late = streamed[0], next(layer.name for layer in manifest.layers if layer.name not in streamed)
    head_weight, tail_weight = manifest.weights[0].tensor, manifest.weights[-1].tensor
    mistakes = {
        "threshold": (HEAD, higher(first)),
        "strict": (HEAD, strictly(first)),
        "state not carried": (HEAD, forgotten(first)),
        "state not read": (HEAD, without_input_state(first)),
        "a weight": (HEAD, scaled(head_weight, 1.1)),
        "a weight of the tail": (TAIL, scaled(tail_weight, 1.1)),
        "threshold of the tail": (TAIL, higher(late)),
        **{f"steps of {f.name}": (TAIL, exchanged_steps(f.name)) for f in manifest.streaming.features},
    }
    kept, missed = bundle.with_name("kept.bundle"), []
    shutil.copytree(bundle, kept)
    for name, (file, change) in mistakes.items():
        shutil.rmtree(bundle)
        shutil.copytree(kept, bundle)
        changed(bundle, file, change)
        code, _, err = run("verify", bundle, "--json")
        if code != 1 or f"{HEAD} and {TAIL}" not in err:
            missed.append((name, code, err))
    assert not missed


@pytest.mark.slow
def test_an_export_that_goes_wrong_leaves_no_bundle(run, tmp_path, monkeypatch):
    split = models.stepwise.split

    def wrong(*arguments):
        found = split(*arguments)
        strictly(found.streaming.states[0].layer)(found.head)
        return found

    monkeypatch.setattr(models.stepwise, "split", wrong)
    checkpoint, out = networks.SMALL["dvs128"].checkpoint(tmp_path / "model.pth"), tmp_path / "a.bundle"
    code, _, err = run("export", checkpoint, "--out", out, "--target", "onnx", "--samples", 2, "--streaming")
    assert code == 1
    assert f"conv.1 in {HEAD} and {TAIL} does not fire as its neurons do" in err
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", pytest.param("fp16", marks=pytest.mark.slow)])
def test_lower_precision_is_judged_by_its_bounds(run, precision, tmp_path):
    small, out = SMALL[1], tmp_path / "a.bundle"
    checkpoint = small.checkpoint(tmp_path / "model.pth")
    options = ("--target", "onnx", "--samples", 4, "--precision", precision, "--keep", "nothing", "--streaming")
    options += ("--calibration", "random") if precision == "int8" else ()
    code, _, err = run("export", checkpoint, "--out", out, *options)
    assert code == 0, err
    assert json.loads((out / "parity.json").read_text())["stepwise"]["unexplained"] == 0


def test_images_are_refused(run, tmp_path):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", "--streaming")
    assert code == 2
    assert "error: the network takes images, which have no frames to stream; leave --streaming out" in err
    assert not (tmp_path / "a.bundle").exists()


def test_bench_tells_what_is_left_after_the_last_frame(run, one):
    code, out, _ = run("bench", one, "--json", "--seconds", "0.5", "--warm-up", "0", "--batch", "2")
    assert code == 0
    found = json.loads(out)["stepwise"]
    assert found["whole"]["runs"] == found["last"]["runs"] == found["frame"]["runs"] / 4 >= 30
    assert found["share"] == pytest.approx(found["last"]["p50"] / found["whole"]["p50"])
    code, out, _ = run("bench", one, "--seconds", "0.5", "--warm-up", "0")
    assert "after last frame" in out
    assert "if run frame by frame" in " ".join(out.split())


def test_bundles_that_do_not_stream_say_so(run, bundle, tmp_path):
    manifest, silent = Bundle.open(bundle).manifest, {"frame": "", "states": [], "features": []}
    write_manifest(bundle, dataclasses.replace(manifest, streaming=Streaming()))
    with pytest.raises(BadInput, match=rf"manifest.json lists {HEAD}, which does not fit its streaming entry; copy"):
        Bundle.open(bundle)
    for file in (HEAD, TAIL):
        (bundle / file).unlink()
    write_manifest(bundle, manifest)
    with pytest.raises(BadInput, match=rf"does not list {HEAD}, which does not fit its streaming entry; copy"):
        Bundle.open(bundle)
    reseal(bundle, streaming=silent)
    found = Bundle.open(bundle)
    assert not found.manifest.streaming
    with pytest.raises(BadInput, match=r"a.bundle was exported without `streaming`, so it cannot run frame by frame"):
        Streams.open(found)
    code, out, _ = run("bench", bundle, "--json", "--seconds", "0.1", "--warm-up", "0")
    assert code == 0
    assert json.loads(out)["stepwise"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(frame=1), "streaming.frame is 1, and must be text"),
        (lambda s: s.update(frame=""), "streaming has states or features, but no frame"),
        (lambda s: s.update(states=[]), "streaming has conv"),
        (lambda s: s.update(features=[]), "streaming has conv.1"),
        (lambda s: s["states"][0].update(layer="x"), "of layer 'x'"),
        (lambda s: s["states"][0].update(start=0.5), "start 0.5 of layer 'conv.1'"),
        (lambda s: s["states"][0].update(shape=[1]), r"streaming: the network has no state of shape \(1,\)"),
        (lambda s: s["states"].append(s["states"][0]), "streaming has conv.1, conv.4, conv.7, conv.10, conv.1,"),
        (lambda s: s["features"][0].update(shape=[-1]), r"cannot have the shape \(-1,\)"),
        (lambda s: s["features"][0].update(shape="ab"), r'streaming.features\[0\].shape is "ab", and must be a list'),
        (lambda s: s["features"][0].pop("name"), r"features\[0\].name is missing"),
        (lambda s: s.pop("states"), "it needs states and features"),
    ],
)
def test_a_manifest_that_says_something_else_of_it_is_refused(one, change, message):
    said = json.loads((one / "manifest.json").read_text())["streaming"]
    change(said)
    reseal(one, streaming=said)
    with pytest.raises(BadInput, match=f"/manifest.json: .*{message}"):
        Bundle.open(one)


def test_parts_of_another_network_are_refused(run, one):
    manifest = Bundle.open(one).manifest
    (one / HEAD).write_bytes((one / TAIL).read_bytes())
    write_manifest(one, manifest)
    code, _, err = run("verify", one)
    assert code == 1
    assert f"error: {HEAD} is not what the bundle describes: it takes 'conv.12.0/MaxPool/ungated/kept'" in err
    (one / HEAD).write_bytes(b"\xff\xff")
    write_manifest(one, manifest)
    code, _, err = run("verify", one)
    assert code == 2
    assert f"{HEAD} cannot be read as an ONNX model" in err


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.rtx
def test_an_engine_is_added_beside_them(run, one):
    before = {file: sha256(one / file) for file in (HEAD, TAIL)}
    assert run("build", one)[0] == 0
    assert {file: sha256(one / file) for file in (HEAD, TAIL)} == before
    code, out, _ = run("verify", one, "--json")
    assert code == 0
    assert json.loads(out)["stepwise"]["differing_spikes"] == 0
