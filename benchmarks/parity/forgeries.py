"""Golden vectors and manifests that were changed and sealed again: which of the changes does `verify` find?

    python -m benchmarks.parity.forgeries [--verbose] [NAME]...

Whoever has this tool can change a bundle and seal it again. Two examples are exported with data: images and events.
Each change is made in a copy, as a skilled forger would make it: what stores the same fact is changed alike, undecided
neurons are counted anew, and manifest.json is written anew. Each copy is verified without a signature, and with the
signature of the unchanged bundle. docs/explanation/forgeries.md has the table. With names, only changes whose names
contain one of them are made.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from benchmarks.parity.inputs import EXAMPLES
from tcja_deploy.consistency.contradictions import Decisions
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.sign import SignOptions, sign
from tcja_deploy.verify.options import VerifyOptions
from tcja_deploy.verify.verifier import verify
from tcja_runtime.bundle.bundle import GOLDEN, PARITY, Bundle
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.metadata import Description
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.bundle.origin.origin import DETACHED
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.errors import TcjaError
from tcja_runtime.evidence import golden
from tcja_runtime.signing.trust import Trust


@dataclasses.dataclass
class Forgery:
    """A copy of a bundle that is being changed.

    Attributes:
        folder: the folder of the copy.
        manifest: its manifest, which is written at the end.
        arrays: its golden vectors, which are written at the end.
    """

    folder: Path
    manifest: Manifest
    arrays: dict[str, Any]

    @classmethod
    def of(cls, bundle: Path, folder: Path) -> Forgery:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bundle, folder)
        with np.load(folder / GOLDEN) as archive:
            return cls(folder, Bundle.open(folder, check_signature=False).manifest, dict(archive))

    @property
    def layer(self) -> str:
        """The name of the second layer."""
        return self.manifest.layers[1].name

    def describe(self, **changes: Any) -> None:
        """Change fields of the manifest, and the metadata of the models with them."""
        self.manifest = dataclasses.replace(self.manifest, **changes)
        for file in self.folder.glob("*.onnx"):
            model = onnx.load(file, load_external_data=False)
            said = {entry.key: entry.value for entry in model.metadata_props}
            del model.metadata_props[:]
            helper.set_model_props(model, {**said, **Description.of(self.manifest).texts()})
            file.write_bytes(model.SerializeToString())

    def report(self, **changes: Any) -> None:
        """Change figures of parity, in the manifest and in parity.json."""
        self.manifest = dataclasses.replace(self.manifest, parity=dataclasses.replace(self.manifest.parity, **changes))
        told = json.loads((self.folder / PARITY).read_text())
        (self.folder / PARITY).write_text(json.dumps({**told, **changes}))

    def count_anew(self) -> None:
        """Store the numbers of undecided neurons that follow from the bounds."""
        self._write_arrays()
        everything = golden.load(self.folder / GOLDEN, self.manifest.input).reference(slice(None))
        for layer in self.manifest.layers:
            self.arrays[f"near:{layer.name}"] = Decisions.of(everything, self.manifest, layer.name).undecided

    def write(self) -> None:
        self._write_arrays()
        write_manifest(self.folder, self.manifest)

    def _write_arrays(self) -> None:
        with (self.folder / GOLDEN).open("wb") as file:
            np.savez(file, **self.arrays)


Change = Callable[[Forgery], object]


def bounds(factor: float, *names: str, least: float = 0.0) -> Change:
    """Widen all bounds, or those of arrays whose names contain a text, and count undecided neurons anew."""

    def change(forgery: Forgery) -> None:
        for key, array in forgery.arrays.items():
            if ("bounds:" in key or key.endswith("output_bound")) and all(
                name.replace("LAYER", forgery.layer) in key for name in names
            ):
                forgery.arrays[key] = np.maximum(array * factor, least).astype(np.float32)
        forgery.count_anew()

    return change


def array(name: str, edit: Callable[[Any], Any]) -> Change:
    """Change an array of the golden vectors. LAYER in its name stands for the second layer, INPUT for the input."""

    def change(forgery: Forgery) -> None:
        key = name.replace("LAYER", forgery.layer).replace("INPUT", forgery.manifest.input.name)
        forgery.arrays[key] = edit(forgery.arrays[key].copy())

    return change


def fields(**changes: Callable[[Manifest], Any] | Any) -> Change:
    """Change fields of the manifest, and the metadata of the models with them."""
    return lambda forgery: forgery.describe(
        **{name: value(forgery.manifest) if callable(value) else value for name, value in changes.items()}
    )


def contract(**changes: Any) -> Change:
    return fields(input=lambda manifest: dataclasses.replace(manifest.input, **changes))


def figures(**changes: Any) -> Change:
    return lambda forgery: forgery.report(**changes)


def both(*changes: Change) -> Change:
    def change(forgery: Forgery) -> None:
        for each in changes:
            each(forgery)

    return change


def neuron(**changes: Any) -> Change:
    """Change constants of the second layer's neurons, in the manifest and the metadata."""

    def other(manifest: Manifest) -> list[Layer]:
        first, second, *rest = manifest.layers
        return [first, dataclasses.replace(second, neuron=dataclasses.replace(second.neuron, **changes)), *rest]

    return fields(layers=other)


def flipped(recorded: bool) -> Change:
    """Turn a spike of the second layer around: of a neuron that is recorded, or of one that is not."""

    def change(forgery: Forgery) -> None:
        shape = forgery.arrays[f"shape:{forgery.layer}"].tolist()
        size, seen = int(np.prod(shape[1:])), forgery.arrays[f"element:{forgery.layer}"]
        others = np.setdiff1d(np.arange(size), seen)
        element = int(seen[0]) if recorded or not len(others) else int(others[0])
        bits = np.unpackbits(forgery.arrays[f"spikes:{forgery.layer}"], axis=1, count=int(np.prod(shape)))
        bits[0, -size + element] ^= 1
        forgery.arrays[f"spikes:{forgery.layer}"] = np.packbits(bits, axis=1)

    return change


def thinned(prefix: str, *, tap: bool = False) -> Change:
    """Leave every second recorded value out, of the second layer or of the first tap."""

    def change(forgery: Forgery) -> None:
        name = forgery.manifest.taps[0].name if tap else forgery.layer
        for kind in ("window", "element", "values", "bounds"):
            key = f"{prefix}{kind}:{name}"
            forgery.arrays[key] = forgery.arrays[key][..., ::2]
        forgery.count_anew()

    return change


def shorter(prefix: str, n: int) -> Change:
    """Keep the first windows of a stimulus."""

    def change(forgery: Forgery) -> None:
        for key in [key for key in forgery.arrays if key.startswith(f"{prefix}window:")]:
            kept = forgery.arrays[key] < n
            for kind in ("window", "element", "values", "bounds"):
                name = key.replace("window", kind, 1)
                forgery.arrays[name] = forgery.arrays[name][..., kept]
        for name in ("output", "output_bound"):
            forgery.arrays[prefix + name] = forgery.arrays[prefix + name][:n]

    return change


def one_window(forgery: Forgery) -> None:
    """Keep the first of the golden windows."""
    shorter("", 1)(forgery)
    for key in forgery.arrays:
        if key in ("labels", forgery.manifest.input.name) or key.startswith(("spikes:", "near:")):
            forgery.arrays[key] = forgery.arrays[key][:1]
    forgery.arrays["spike_counts"] = forgery.arrays["spike_counts"][:, :1]


def without_range(forgery: Forgery) -> None:
    forgery.arrays["scenes"] = np.array([name for name in forgery.arrays["scenes"] if name != "range"])
    forgery.arrays["largest"] = np.array(0)
    forgery.report(largest_count=0)


def exchanged(values: Any) -> Any:
    """The first two rows, exchanged."""
    values[[0, 1]] = values[[1, 0]]
    return values


def first(values: Any, value: float) -> Any:
    values.flat[0] = value
    return values


def second(values: Any) -> Any:
    values[:, [1, 2]] = values[:, [2, 1]]
    return values


def beside(share: float) -> Change:
    """Move the first recorded value of the second layer by a share of its bound."""

    def change(forgery: Forgery) -> None:
        bound = forgery.arrays[f"bounds:{forgery.layer}"][0, 0]
        forgery.arrays[f"values:{forgery.layer}"][0, 0] += share * float(bound)
        forgery.count_anew()

    return change


def without_weight(forgery: Forgery) -> None:
    forgery.manifest = dataclasses.replace(forgery.manifest, weights=forgery.manifest.weights[:-1])


def half_precision(forgery: Forgery) -> None:
    """Say that the network is in float16, whose bounds may be wider, and widen them."""
    weights = [dataclasses.replace(weight, type="fp16") for weight in forgery.manifest.weights]
    forgery.describe(precision="fp16", weights=weights)
    bounds(1000)(forgery)


def claimed(**figures_of_agreement: Any) -> Change:
    """Change counts of the agreement of the first backend."""

    def change(forgery: Forgery) -> None:
        backends = [dict(each) for each in forgery.manifest.parity.backends]
        backends[0]["statistics"] = {**backends[0]["statistics"], **figures_of_agreement}
        told = json.loads((forgery.folder / PARITY).read_text())["backends"]
        told[0]["statistics"] = {**told[0]["statistics"], **figures_of_agreement}
        forgery.report(backends=told)
        forgery.manifest = dataclasses.replace(
            forgery.manifest, parity=dataclasses.replace(forgery.manifest.parity, backends=backends)
        )

    return change


def names_layer(field: str, value: Callable[[str], Any]) -> Change:
    """Say of the second layer that its bounds are wide, or estimates, and widen them."""

    def change(forgery: Forgery) -> None:
        forgery.report(**{field: value(forgery.layer)})
        bounds(1000, forgery.layer)(forgery)

    return change


def classes(edit: Callable[[list[str]], list[str]]) -> Change:
    return fields(classes=lambda manifest: edit(list(manifest.classes)))


def checkpoint(**changes: Any) -> Change:
    return fields(checkpoint=lambda manifest: {**manifest.checkpoint, **changes})


def sealed(**changes: Any) -> Change:
    """Change fields of the manifest that no model repeats."""

    def change(forgery: Forgery) -> None:
        forgery.manifest = dataclasses.replace(forgery.manifest, **changes)

    return change


CHANGES: dict[str, Change] = {
    "rounding bounds twice as wide": bounds(2),
    "rounding bounds 100 times as wide": bounds(100),
    "rounding bounds 1,000 times as wide": bounds(1000),
    "rounding bounds a million times as wide": bounds(1e6),
    "those of one layer 1,000 times as wide": bounds(1000, "LAYER"),
    "those of the random stimulus 1,000 times as wide": bounds(1000, "drawn/"),
    "those of the exact stimulus not 0": bounds(1, "dyadic/", least=1e-2),
    "those of the output 1,000 times as wide": bounds(1000, "output_bound"),
    "one bound of one value a million times as wide": array("bounds:LAYER", lambda a: first(a, a[0, 0] * 1e6)),
    "rounding bounds a tenth as wide": bounds(0.1),
    "one more undecided neuron": array("near:LAYER", lambda a: first(a, a[0, 0] + 1)),
    "a spike of a recorded neuron": flipped(recorded=True),
    "a spike of another neuron": flipped(recorded=False),
    "the spikes of two windows exchanged": array("spikes:LAYER", exchanged),
    "a recorded current by half its bound": beside(0.5),
    "a recorded current by 3 bounds": beside(3),
    "an output by 1e-3": array("output", lambda a: first(a, a.flat[0] + 1e-3)),
    "an input by 1": array("INPUT", lambda a: first(a, a.flat[0] + 1)),
    "an input by 1e-7": array("INPUT", lambda a: first(a, a.flat[0] + 1e-7)),
    "every second recorded neuron missing": thinned(""),
    "every second one of the random stimulus missing": thinned("drawn/"),
    "every second place of a tap missing": thinned("drawn/", tap=True),
    "the random stimulus with one window": shorter("drawn/", 1),
    "no range stimulus": without_range,
    "the range stimulus with smaller counts": array("largest", lambda a: a // 256 + 1),
    "one golden window of all": one_window,
    "the classes of two windows exchanged": array("likeliest", exchanged),
    "the second likeliest class": array("likeliest", second),
    "the classes after each time step": array("early", lambda a: (a + 1) % 10),
    "the classes with fewer frames": array("shown", lambda a: (a + 1) % 10),
    "the stored spike counts": array("spike_counts", lambda a: a + 1),
    "the digest of the data": array("answered", lambda _: np.array("0" * 64)),
    "labels of two windows exchanged": array("labels", exchanged),
    "labels as classified": lambda forgery: forgery.arrays.update(
        labels=forgery.arrays["likeliest"][: len(forgery.arrays["labels"]), 0].astype(np.int64)
    ),
    "an array more": lambda forgery: forgery.arrays.update(more=np.zeros(3)),
    "the source of the data": both(
        lambda forgery: forgery.arrays.update(source=np.array("hospital.npz")), figures(source="hospital.npz")
    ),
    "two class names exchanged": classes(lambda names: [names[1], names[0], *names[2:]]),
    "a class renamed": classes(lambda names: ["pedestrian", *names[1:]]),
    "another split of recordings": contract(split="time"),
    "polarities exchanged": contract(polarity=("on", "off")),
    "frames resized from another camera": contract(sensor=(260, 346), resize="bilinear"),
    "a threshold by one part in a million": neuron(threshold=1.000001),
    "a threshold doubled": neuron(threshold=2.0),
    "another reset": neuron(reset="soft"),
    "another comparison": neuron(strict=True),
    "another shape of the input": contract(shape=(1, 28, 27)),
    "another checkpoint": checkpoint(sha256="0" * 64, name="other.pth"),
    "another dialect": fields(dialect="tet"),
    "other evidence": fields(evidence=["the checkpoint was published"]),
    "another number of parameters": fields(parameters=1),
    "another producer, date and tools": sealed(producer="tcja-deploy 9", created="2020-01-01T00:00:00Z", tools={}),
    "one weight not named": without_weight,
    "no taps named": sealed(taps=[]),
    "float16 named, with its wider bounds": half_precision,
    "a layer said to have wide bounds": names_layer("wide_bounds", lambda name: [name]),
    "a layer said to have estimated bounds": names_layer("estimated", lambda name: {name: ["aten.conv"]}),
    "an accuracy of 99.9 %": figures(accuracy=0.999),
    "more windows that agree": claimed(paired=10_000, same_class=10_000, windows=10_000),
    "windows that were judged": figures(windows=1_000_000),
    "no statistics of inputs": sealed(input_statistics=None),
    "the rule of labels": sealed(labels="names"),
    "a verdict of one's own": figures(verdict="Certified for use in traffic."),
}
"""All changes, by their names."""

INHERENT = {
    "another split of recordings": "input",
    "polarities exchanged": "input",
    "two class names exchanged": "classes",
    "a class renamed": "classes",
    "no range stimulus": "caution",
    "a layer said to have wide bounds": "caution",
    "a layer said to have estimated bounds": "caution",
    "one golden window of all": "number of windows",
    "the source of the data": "source",
}
"""Changes that are not found and that the text of `verify` shows, and where it shows them."""


@dataclasses.dataclass(frozen=True)
class Signed:
    """A bundle, signed.

    Attributes:
        bundle: the bundle, without its signature.
        signature: the content of manifest.json.sig.
        key: the public key.
    """

    bundle: Path
    signature: bytes
    key: Path


@dataclasses.dataclass(frozen=True)
class Result:
    """What `verify` says of a change.

    Attributes:
        unsigned: why it refuses the bundle without a signature; empty if parity is met.
        signed: why it refuses the bundle with the signature of the unchanged one; empty if it does not.
    """

    unsigned: str
    signed: str


def result(signed: Signed, change: Change, folder: Path) -> Result | None:
    """Return what `verify` says of a change; None if the bundle has nothing that could be changed so."""
    forgery = Forgery.of(signed.bundle, folder / "forged.bundle")
    before = (forgery.folder / "manifest.json").read_bytes()
    try:
        change(forgery)
        forgery.write()
    except (KeyError, ValueError, IndexError):
        return None
    if (forgery.folder / "manifest.json").read_bytes() == before:
        return None
    unsigned = said(forgery.folder, Trust())
    (forgery.folder / DETACHED).write_bytes(signed.signature)
    return Result(unsigned, said(forgery.folder, Trust(public_keys=(signed.key,))))


def said(bundle: Path, trust: Trust) -> str:
    """Return why `verify` refuses a bundle; empty if it does not."""
    try:
        report = verify(bundle, VerifyOptions(trust=trust)).report
    except TcjaError as error:
        return str(error)
    return "" if report.met else report.failures[0]


def exported(folder: Path) -> dict[str, Signed]:
    """Export the examples with their data, and sign them with a new key."""
    key = folder / "key"
    subprocess.run([str(shutil.which("ssh-keygen")), "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    images, events = EXAMPLES / "fashion_mnist", EXAMPLES / "event_fashion_mnist"
    requests: dict[str, dict[str, Any]] = {
        "images": {"data": images / "test_1000.npz", "samples": 12},
        "events": {"data": events / "recordings", "classes": (events / "classes.txt").read_text().splitlines()},
    }
    found = {}
    for title, request in requests.items():
        checkpoint = (images if title == "images" else events) / "checkpoint.pth"
        out = folder / f"{title}.bundle"
        pipeline.export(ExportRequest(checkpoint=checkpoint, out=out, target="onnx", **request))
        shutil.copytree(out, folder / "signed.bundle")
        sign(folder / "signed.bundle", SignOptions(key=key))
        found[title] = Signed(out, (folder / "signed.bundle" / DETACHED).read_bytes(), key.with_suffix(".pub"))
        shutil.rmtree(folder / "signed.bundle")
    return found


def cell(name: str, found: Result | None) -> str:
    """Return a cell of the table."""
    if found is None:
        return "-"
    if found.unsigned:
        return "found"
    return f"not found; shown ({INHERENT[name]})" if name in INHERENT else "**not found**"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="texts in the names of the changes to make; all without any")
    parser.add_argument("--verbose", action="store_true", help="print what verify says, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundles = exported(folder)
        for title, signed in bundles.items():
            if wrong := said(signed.bundle, Trust()):
                raise SystemExit(f"{title}, unchanged, does not verify: {wrong}")
        print("| change | " + " | ".join(f"{title}, not signed" for title in bundles) + " | signed |")
        print("| --- |" + " --- |" * (len(bundles) + 1))
        chosen = [each for each in CHANGES if any(text in each for text in options.names or [""])]
        missed = 0
        for change in chosen:
            found = {title: result(signed, CHANGES[change], folder) for title, signed in bundles.items()}
            caught = [each for each in found.values() if each]
            missed += sum(not each.signed for each in caught)
            state = "found" if all(each.signed for each in caught) else "**not found**"
            cells = " | ".join(cell(change, each) for each in found.values())
            print(f"| {change} | {cells} | {state} |", flush=True)
            for title, each in found.items() if options.verbose else ():
                print(f"    {title}: {each and each.unsigned[:200]}")
    print(f"\n{len(chosen)} changes; with a signature, {missed} of them were not found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
