"""A bundle whose golden vectors, manifest, models and parity.json tell of different exports is refused."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tcja_deploy.consistency import contradictions
from tcja_deploy.parity.compare import with_earlier_agreement
from tcja_deploy.parity.verdict import Parity
from tcja_deploy.verify.verifier import verify
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL, Bundle
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.bundle.parity_summary import ParitySummary
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.evidence import golden
from tcja_runtime.evidence.agreement import Accuracy, Agreement

Arrays = dict[str, Any]


@pytest.fixture
def name() -> str:
    """The network of all bundles here: what is said of it is the same of any."""
    return "fashion_mnist"


def in_golden(edit: Callable[[Arrays], object]) -> Callable[[Path, Manifest], Manifest]:
    def change(bundle: Path, manifest: Manifest) -> Manifest:
        with np.load(bundle / "golden.npz") as archive:
            arrays = dict(archive)
        edit(arrays)
        np.savez_compressed(bundle / "golden.npz", **arrays)
        return manifest

    return change


def in_manifest(**changes: Any) -> Callable[[Path, Manifest], Manifest]:
    return lambda _bundle, manifest: dataclasses.replace(
        manifest, **{name: value(manifest) if callable(value) else value for name, value in changes.items()}
    )


def of_threshold(layer: Layer, threshold: float) -> Layer:
    return dataclasses.replace(layer, neuron=dataclasses.replace(layer.neuron, threshold=threshold))


def in_models(key: str, value: str) -> Callable[[Path, Manifest], Manifest]:
    def change(bundle: Path, manifest: Manifest) -> Manifest:
        for name in (MODEL, PLAIN_MODEL):
            model = onnx.load(bundle / name, load_external_data=False)
            next(entry for entry in model.metadata_props if entry.key == key).value = value
            (bundle / name).write_bytes(model.SerializeToString())
        return manifest

    return change


def in_parity(text: str) -> Callable[[Path, Manifest], Manifest]:
    def change(bundle: Path, manifest: Manifest) -> Manifest:
        (bundle / "parity.json").write_text(text)
        return manifest

    return change


def scaled_bounds(factor: float) -> Callable[[Arrays], None]:
    def edit(arrays: Arrays) -> None:
        for name in arrays:
            if "bounds:" in name or name.endswith("output_bound"):
                arrays[name] = (arrays[name] * factor).astype(np.float32)

    return edit


def widened(arrays: Arrays) -> None:
    """Every bound as wide as it may be without being refused alone."""
    for name in arrays:
        if name.startswith("bounds:"):
            arrays[name] = np.full_like(arrays[name], 0.2 * np.abs(arrays[name.replace("bounds", "values")]).max())


def wider_where_counted(factor: float) -> Callable[[Path, Manifest], Manifest]:
    """Bounds of the first layer with random stimuli that are wider, and undecided neurons that are counted by them."""

    def change(bundle: Path, manifest: Manifest) -> Manifest:
        name = manifest.layers[1].name
        in_golden(
            lambda arrays: arrays.update(
                {key: arrays[key] * np.float32(factor) for key in arrays if key.endswith(f"bounds:{name}")}
            )
        )(bundle, manifest)
        everything = golden.load(bundle / "golden.npz", manifest.input).reference(slice(None))
        counts = contradictions.Decisions.of(everything, manifest, name).undecided
        return in_golden(lambda arrays: arrays.update({f"near:{name}": counts}))(bundle, manifest)

    return change


def flipped(arrays: Arrays) -> None:
    """A spike of the second layer is turned around, of a neuron whose current is recorded."""
    name = str(arrays["layers"][1])
    shape, element = arrays[f"shape:{name}"], int(arrays[f"element:{name}"][0])
    bits = np.unpackbits(arrays[f"spikes:{name}"], axis=1, count=int(np.prod(shape)))
    bits[0, -int(np.prod(shape[1:])) + element] ^= 1  # of the last time step, so that no later membrane changes
    arrays[f"spikes:{name}"] = np.packbits(bits, axis=1)


def fewer_recorded(prefix: str, of: str = "layers") -> Callable[[Arrays], None]:
    """Every second neuron of the first layer, or value of the first tap, is not recorded."""

    def edit(arrays: Arrays) -> None:
        name = next(name for name in arrays[of] if of == "layers" or name not in arrays["layers"])
        for kind in ("window", "element", "values", "bounds"):
            arrays[f"{prefix}{kind}:{name}"] = arrays[f"{prefix}{kind}:{name}"][..., ::2]

    return edit


def fewer_windows(arrays: Arrays) -> None:
    """The random stimulus has two windows."""
    for key in [key for key in arrays if key.startswith("drawn/window:")]:
        kept = arrays[key] < 2
        for kind in ("window", "element", "values", "bounds"):
            name = key.replace("window", kind, 1)
            arrays[name] = arrays[name][..., kept]
    for name in ("drawn/output", "drawn/output_bound"):
        arrays[name] = arrays[name][:2]


CASES = {
    "bounds of rounding 1,000 times as wide": (
        wider_where_counted(1000),
        re.compile(
            r"contradicts itself: a rounding bound of conv.\d is [\d.e-]+, and the weights and inputs account for "
            r"at most [\d.e-]+; export the bundle again"
        ),
    ),
    "a spike": (in_golden(flipped), re.compile(r"golden.npz stores 1 spike of conv.\d that its currents do not give")),
    "fewer neurons": (in_golden(fewer_recorded("")), "its recorded neurons differ"),
    "fewer values of a tap": (
        in_golden(fewer_recorded("drawn/", "signals")),
        re.compile(
            r"golden.npz does not hold all values of conv.\d\S* that an export records; export the bundle again"
        ),
    ),
    "another class after a time step": (
        in_golden(lambda arrays: arrays.update(early=(arrays["early"] + 1) % 3)),
        "the classes after each time step in the golden vectors are not those of the spikes there",
    ),
    "fewer neurons of a stimulus": (in_golden(fewer_recorded("drawn/")), "its recorded neurons differ"),
    "fewer windows of a stimulus": (in_golden(fewer_windows), "its numbers of stimulus windows differ"),
    "bounds of 1e30": (in_golden(scaled_bounds(1e36)), "contradicts itself: a rounding bound of "),
    "wide bounds": (
        in_golden(widened),
        re.compile(r"golden.npz stores \d+ undecided neurons for conv.\d; its bounds give [\d,]+;"),
    ),
    "other classes": (
        in_golden(lambda arrays: arrays.update(likeliest=(arrays["likeliest"] + 1) % 10)),
        "the classes in the golden vectors are not those of the outputs there",
    ),
    "other labels": (
        in_golden(lambda arrays: arrays.update(labels=arrays["likeliest"][:, 0].astype(np.int64))),
        "by the labels in the golden vectors, 12 of 12 windows are classified correctly, and by the manifest 10 of all",
    ),
    "no labels": (
        in_golden(lambda arrays: arrays.pop("labels")),
        "only one of the golden vectors and the manifest has labels",
    ),
    "not real": (in_golden(lambda arrays: arrays.update(real=np.array(False))), "windows of different origins"),
    "another source": (in_golden(lambda arrays: arrays.update(source=np.array("x.npz"))), "different origins"),
    "taps": (in_manifest(taps=[]), "its signals differ"),
    "no step output": (in_manifest(answer=None), "the manifest names no output of a time step"),
    "accuracy": (
        in_manifest(parity=lambda manifest: dataclasses.replace(manifest.parity, accuracy=1.0)),
        "the manifest and parity.json differ in the parity's 'accuracy'",
    ),
    "weights": (
        in_manifest(weights=lambda m: [dataclasses.replace(weight, type="int8") for weight in m.weights]),
        "the precision is fp32, and the weights are int8",
    ),
    "class names": (
        in_manifest(classes=lambda m: [*m.classes[1:], m.classes[0]]),
        "contradict each other in 'classes'",
    ),
    "precision": (in_manifest(precision="int8"), "contradict each other in 'precision'"),
    "dialect": (in_manifest(dialect="x"), "contradict each other in 'dialect'"),
    "neurons": (
        in_manifest(layers=lambda m: [*m.layers[:-1], of_threshold(m.layers[-1], 0.5)]),
        "contradict each other in 'layers'",
    ),
    "evidence": (in_manifest(evidence=["proven"]), "contradict each other in 'evidence'"),
    "checkpoint": (
        in_manifest(checkpoint=lambda m: {**m.checkpoint, "sha256": "0" * 64}),
        "contradict each other in 'checkpoint_sha256'",
    ),
    "parity.json": (
        in_parity("3"),
        "contradicts itself: parity.json has no figures with names; export the bundle again",
    ),
    "input": (in_models("input", "{}"), "and the metadata of model.onnx contradict each other in 'input'"),
}


@pytest.mark.parametrize(("change", "text"), CASES.values(), ids=CASES)
def test_a_bundle_that_contradicts_itself_is_refused(bundle, change, text):
    write_manifest(bundle, change(bundle, Bundle.open(bundle).manifest))
    with pytest.raises(BadInput, match=re.escape(text) if isinstance(text, str) else text) as error:
        verify(bundle)
    assert "export" in str(error.value)


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_a_weight_of_another_shape_is_not_that_of_the_model(bundle):
    """The exact stimulus would have weights of that shape, which may take any memory."""
    manifest = Bundle.open(bundle).manifest
    first, *rest = manifest.weights
    huge = dataclasses.replace(first, shape=(2**15, 2**15))
    write_manifest(bundle, dataclasses.replace(manifest, weights=[huge, *rest]))
    with pytest.raises(ParityNotMet, match=rf"holds {first.tensor} \[.*\], not \[32768, 32768\]"):
        verify(bundle)


def test_a_bundle_of_an_older_version_still_opens(bundle):
    """Its models have fewer metadata, and its golden vectors have no range stimulus."""
    manifest = Bundle.open(bundle).manifest
    for name in (MODEL, PLAIN_MODEL):
        model = onnx.load(bundle / name, load_external_data=False)
        newer = ("classes", "precision", "evidence", "layers")
        kept = [entry for entry in model.metadata_props if entry.key not in newer]
        assert len(kept) == len(model.metadata_props) - 4
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        (bundle / name).write_bytes(model.SerializeToString())

    def without_range(arrays: Arrays) -> None:
        arrays["scenes"] = np.array([scene for scene in arrays["scenes"] if scene != "range"])
        del arrays["largest"]

    in_golden(without_range)(bundle, manifest)
    write_manifest(bundle, manifest)
    report = verify(bundle).report
    assert report.met
    assert report.largest_count == 0


def agreed(same: int, of: int) -> Parity:
    nobody = Accuracy(0, 0)
    counts = {"windows": of, "paired": of, "same_class": same, "top": 5, "in_top": of, "accuracy": nobody}
    statistics = Agreement(source="x", only_original=0, only_exported=0, neither=0, **counts)
    figures = {"changed_windows": 0, "output_difference": 0.0, "divergence": None}
    empty: dict[str, list[Any]] = {"twins": [], "layers": [], "signals": [], "failures": []}
    return Parity(backend="x", model="y", statistics=statistics, **figures, **empty)


@pytest.mark.parametrize(
    ("now", "then", "met"),
    [
        ((4, 16), (16, 16), False),
        ((4, 16), (1000, 1000), False),
        ((11, 16), (16, 16), True),
        ((4, 16), (5, 20), True),
        ((16, 16), (4, 16), True),
        ((0, 2), (2, 2), True),
    ],
)
def test_the_agreement_with_the_golden_answers_is_that_of_the_export(now, then, met):
    earlier = ParitySummary(reference="x", backends=[{"statistics": {"same_class": then[0], "paired": then[1]}}])
    found = with_earlier_agreement(agreed(*now), earlier)
    assert (not found.failures) == met
    assert met or f"{now[0]} of {now[1]} windows get the class of the trained network" in found.failures[0].text
