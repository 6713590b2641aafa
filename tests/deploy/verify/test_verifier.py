"""Models that hold all that parity looks at, and are deployed otherwise all the same."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tcja_deploy.cli import app
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL, Bundle
from tcja_runtime.bundle.writing import write_manifest

from ..parity.mutations import inserted, node_of, opened


@pytest.fixture
def name() -> str:
    return "fashion_mnist"


@pytest.fixture
def verified(bundle, capsys):
    """Change some models of a bundle, put the hashes right, and verify: exit code and the last line of stderr."""

    def verify(change, *files: str) -> tuple[int, str]:
        manifest = Bundle.open(bundle).manifest
        for file in files:
            model = opened(onnx.load(bundle / file))
            change(model)
            onnx.save(model, bundle / file)
        write_manifest(bundle, manifest)
        code = app.run(["verify", str(bundle)])
        return code, capsys.readouterr().err.splitlines()[-1]

    return verify


BOTH = (PLAIN_MODEL, MODEL)


AMPLITUDES, LAYERS = (1e6, 2.0, 0.98, -1.0), ("conv.0", "fc.2", "fc.5")
QUICK = {(0.98, "fc.5"), (2.0, "conv.0")}


@pytest.mark.parametrize("file", BOTH)
@pytest.mark.parametrize(
    ("amplitude", "layer"),
    [
        pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow)
        for case in itertools.product(AMPLITUDES, LAYERS)
    ],
)
def test_a_spike_is_one(bundle, verified, file, layer, amplitude):
    """Another amplitude would be taken for a spike too, and hidden where spikes are given."""
    manifest = Bundle.open(bundle).manifest
    shutil.copy(bundle / PLAIN_MODEL, bundle / MODEL)
    write_manifest(bundle, manifest)
    code, said = verified(lambda model: inserted(model, f"{layer}/spikes", "Mul", np.float32(amplitude)), file)
    assert code == 1
    assert f"{layer} in {file} does not fire as its neurons do" in said


def test_a_spike_of_the_custom_operator_is_one(verified):
    code, said = verified(lambda model: inserted(model, "fc.2/spikes", "Mul", np.float32(1e6)), MODEL)
    assert code == 1
    assert "it has neurons fc.2/spikes before that the manifest does not list" in said


def declared(*values: onnx.ValueInfoProto):
    def change(model: onnx.ModelProto) -> None:
        del model.graph.output[:]
        model.graph.output.extend(values)

    return change


RATES = helper.make_tensor_value_info("rates", TensorProto.FLOAT, ["batch", 10])
SPIKES = helper.make_tensor_value_info("fc.5/spikes", TensorProto.FLOAT, None)


@pytest.mark.parametrize("file", BOTH)
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([SPIKES], "returns 'fc.5/spikes' float32 [], not 'rates' float32 [N, 10]"),
        ([RATES, SPIKES], "returns 'rates' float32 [N, 10] and 'fc.5/spikes' float32 [], not 'rates' float32 [N, 10]"),
        ([helper.make_tensor_value_info("rates", TensorProto.FLOAT, [1, 10])], "returns 'rates' float32 [1, 10], not"),
        (
            [helper.make_tensor_value_info("rates", TensorProto.DOUBLE, ["N", 10])],
            "returns 'rates' float64 [N, 10], not",
        ),
    ],
)
def test_it_must_return_what_the_manifest_says(verified, file, values, said):
    code, line = verified(declared(*values), file)
    assert code == 1
    assert f"{file} is not the network that the bundle describes: it {said}" in line


def test_it_must_take_what_the_manifest_says(verified):
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = "x"
        for node in model.graph.node:
            node.input[:] = ["x" if tensor == "images" else tensor for tensor in node.input]

    code, line = verified(change, PLAIN_MODEL)
    assert code == 1
    assert "it takes 'x' float32 [N, 1, 28, 28], not 'images' float32 [N, 1, 28, 28]" in line


@pytest.mark.parametrize("files", [(PLAIN_MODEL,), (MODEL,), BOTH], ids=["plain", "canonical", "both"])
@pytest.mark.parametrize(
    ("operator", "more"),
    [("Squeeze", []), ("Unsqueeze", [np.array([2])]), ("Reshape", [np.array([-1])]), ("Transpose", [])],
)
def test_it_must_return_the_shape_that_it_declares(verified, files, operator, more):
    code, line = verified(lambda model: inserted(model, "rates", operator, *more), *files)
    assert code == 1
    assert f"{files[0]} returns float32 [" in line


def test_it_must_return_the_type_that_it_declares(verified):
    def change(model: onnx.ModelProto) -> None:
        maker = node_of(model, "rates")
        maker.output[0] = "rates before"
        model.graph.node.append(helper.make_node("Cast", ["rates before"], ["rates"], to=TensorProto.DOUBLE))
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE

    assert verified(change, *BOTH)[0] == 1


def test_a_signal_of_another_shape_is_said(verified):
    code, line = verified(lambda model: inserted(model, "conv.2/current", "Unsqueeze", np.array([0])), *BOTH)
    assert code == 2  # it cannot even be run
    assert "cannot run" in line


@pytest.mark.parametrize(
    ("constant", "value"),
    [("strict", 1), ("reset", "soft"), ("tau", 2.5), ("decay", 0.49), ("threshold", 1.001), ("charge_order", "linear")],
)
def test_attributes_of_the_custom_operator_must_be_the_neurons(verified, constant, value):
    """A plugin that takes its place by name reads them; its function, which ONNX Runtime runs, may not."""

    def change(model: onnx.ModelProto) -> None:
        node = [node for node in model.graph.node if node.op_type == "TcjaLif"][1]
        (old,) = (attribute for attribute in node.attribute if attribute.name == constant)
        node.attribute.remove(old)
        node.attribute.append(helper.make_attribute(constant, value))

    code, line = verified(change, MODEL)
    assert code == 1
    said = "constants are those of no neuron: a linear charge has" if constant == "charge_order" else f"{constant} is"
    assert f"it has neurons conv.2 whose {said}" in line


def test_what_parity_looks_at_must_be_there(verified):
    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = ["hidden" if tensor == "conv.2/current" else tensor for tensor in names]

    code, line = verified(change, PLAIN_MODEL)
    assert code == 1
    assert "it computes no conv.2/current" in line


GOLDEN = {
    "no scenes": lambda arrays: arrays | {"scenes": arrays["scenes"][:0]},
    "one signal less": lambda arrays: arrays | {"signals": arrays["signals"][:-1]},
    "no signals": lambda arrays: arrays | {"signals": arrays["signals"][:0]},
    "endless bounds": lambda arrays: arrays | {"output_bound": arrays["output_bound"] + np.inf},
    "output of integers": lambda arrays: arrays | {"output": arrays["output"].astype(int)},
    "output cut": lambda arrays: arrays | {"output": arrays["output"][:, :-1]},
    "windows beyond": lambda arrays: arrays | {"window:conv.0": arrays["window:conv.0"] + 1000},
    "negative elements": lambda arrays: arrays | {"element:conv.0": -1 - arrays["element:conv.0"]},
    "complex values": lambda arrays: arrays | {"values:conv.0": arrays["values:conv.0"].astype(complex)},
    "values cut": lambda arrays: arrays | {"values:conv.0": arrays["values:conv.0"][:-1]},
    "drawn values cut": lambda arrays: arrays | {"drawn/values:fc.2": arrays["drawn/values:fc.2"][:, :-1]},
    "near cut": lambda arrays: arrays | {"near:conv.0": arrays["near:conv.0"][:-1]},
}


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_vectors_must_be_whole(bundle, verified, case):
    with np.load(bundle / "golden.npz") as archive:
        arrays = dict(archive)
    manifest = Bundle.open(bundle).manifest
    np.savez(bundle / "golden.npz", **GOLDEN[case](arrays))
    write_manifest(bundle, manifest)
    code, line = verified(lambda _: None)
    assert code == 2
    assert "golden.npz " in line


def each(arrays, **changes):
    return arrays | {name: change(arrays[name]) for name, change in changes.items()}


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


OF_COUNTS = {
    "a window less": (lambda arrays: each(arrays, open=lambda a: a[:-1]), "open neurons differ"),
    "a layer less": (lambda arrays: each(arrays, open=lambda a: a[:, :-1]), "open neurons differ"),
    "a step less": (lambda arrays: each(arrays, open=lambda a: a[..., :-1]), "open neurons differ"),
    "a step less in both": (
        lambda arrays: each(arrays, open=lambda a: a[..., :-1], spike_counts=lambda a: a[..., :-1]),
        "open neurons differ",
    ),
    "layers first": (lambda arrays: each(arrays, open=lambda a: a.transpose(1, 0, 2)), "open neurons differ"),
    "more than a layer has": (lambda arrays: each(arrays, open=lambda a: a + 10**6), "open neurons differ"),
    "fewer than none": (lambda arrays: each(arrays, open=lambda a: a - 1), "array open has"),
    "fractions": (lambda arrays: each(arrays, open=lambda a: a + 0.5), "array open has"),
    "no integers": (lambda arrays: each(arrays, open=lambda a: a.astype(np.uint64)), "array open has"),
    "texts": (lambda arrays: each(arrays, open=lambda a: a.astype(str)), "array open has"),
    "no open neurons": (lambda arrays: without(arrays, "open"), "'open'"),
    "no bounds of the output": (lambda arrays: without(arrays, "open_output"), "'open_output'"),
    "an output less": (lambda arrays: each(arrays, open_output=lambda a: a[:, :-1]), "array open_output has"),
    "no numbers": (lambda arrays: each(arrays, open_output=lambda a: a * np.nan), "array open_output has"),
    "negative": (lambda arrays: each(arrays, open_output=lambda a: -1 - a), "array open_output has"),
    "other numbers": (lambda arrays: each(arrays, open_output=lambda a: a.astype(complex)), "array open_output has"),
}


@pytest.mark.parametrize(("change", "said"), OF_COUNTS.values(), ids=OF_COUNTS)
def test_the_bounds_of_spike_counts_must_be_whole(counted, tmp_path, capsys, change, said):
    bundle = shutil.copytree(counted, tmp_path / "a.bundle")
    with np.load(bundle / "golden.npz") as archive:
        arrays = dict(archive)
    np.savez(bundle / "golden.npz", **change(arrays))
    write_manifest(bundle, Bundle.open(counted).manifest)
    assert app.run(["verify", str(bundle)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "golden.npz " in line
    assert said in line
    assert "export the bundle again" in line


def test_a_bundle_without_spike_counts_has_no_bounds_of_them(counted, tmp_path, capsys):
    bundle = shutil.copytree(counted, tmp_path / "a.bundle")
    write_manifest(bundle, dataclasses.replace(Bundle.open(counted).manifest, spike_counts=False))
    assert app.run(["verify", str(bundle)]) == 2
    assert "its open neurons differ; export the bundle again" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("input", "scaling"), "some"),
        (("input", "shape"), [1, "a", 2]),
        (("layers", 0, "name"), "elsewhere"),
        (("layers", 0, "shape"), [-1]),
        (("layers", 0, "neuron", "tau"), 0.5),
        (("layers", 0, "neuron", "charge_order"), "none"),
        (("taps", 0, "axes"), [0, 0, 1]),
        (("taps", 0, "unfold"), [1]),
        (("taps", 0, "tensor"), "nothing"),
        (("weights", 0, "tensor"), "nothing"),
        (("weights", 0, "outputs"), -3),
        (("time_steps",), 0),
    ],
)
def test_manifests_that_cannot_be_are_refused(bundle, capsys, path, value):
    manifest = json.loads((bundle / "manifest.json").read_text())
    at = manifest
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    del manifest["seal"]
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    manifest["seal"] = hashlib.sha256(canonical.encode()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    code = app.run(["verify", str(bundle), "--bisect"])
    said = capsys.readouterr().err.splitlines()
    assert code in (1, 2)
    assert len([line for line in said if not line.startswith("✓")]) == 1
