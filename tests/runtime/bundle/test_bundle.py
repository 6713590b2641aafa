import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import engines
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.files.staging import staged
from tcja_runtime.signing.trust import Trust

from ...sidecars import engine_info
from .manifests import FILES, MANIFEST
from .sealing import reseal

FACT = {"sha256": "0" * 64, "bytes": 1}


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "a.bundle"
    with staged(path) as staging:
        for name in FILES:
            (staging / name).write_bytes(b"0123456789")
        (staging / "engines" / "x").mkdir(parents=True)
        (staging / "engines" / "x" / "model.engine").write_bytes(b"native code")
        write_manifest(staging, MANIFEST)
    return path


def test_round_trip(folder):
    opened = Bundle.open(folder)
    assert opened.manifest == MANIFEST
    assert set(opened.files) == {*FILES, "README.md", "engines/x/model.engine"}
    assert opened.files["model.onnx"]["bytes"] == 10
    assert os.listdir(folder.parent) == ["a.bundle"]


def test_bundles_of_the_schema_before_are_read(folder):
    """Without the fields that came later."""
    content = json.loads((folder / "manifest.json").read_text())
    for name in ("crop", "count"):
        del content["input"][name]
    del content["labels"]
    kept = {name: value for name, value in content.items() if name not in ("seal", "schema")}
    reseal(folder, schema=5, input=content["input"])
    sealed = json.loads((folder / "manifest.json").read_text())
    del sealed["labels"], sealed["seal"]
    canonical = json.dumps(sealed, sort_keys=True, separators=(",", ":"))
    sealed["seal"] = hashlib.sha256(canonical.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(sealed))
    assert kept.keys() == sealed.keys() - {"seal", "schema"}
    assert Bundle.open(folder).manifest == MANIFEST


def test_parity_in_the_words_of_the_schema_before_is_read(folder):
    stepwise = {"backend": "ONNX Runtime", "spikes": 7, "unlike": 2}
    said = {"reference": "PyTorch", "streamed": stepwise, "untold": ["no curves"], "another": 1}
    reseal(folder, schema=5, parity=said)
    parity = Bundle.open(folder).manifest.parity
    assert parity.stepwise == {"backend": "ONNX Runtime", "spikes": 7, "differing_spikes": 2}
    assert (parity.reference, parity.anytime_missing) == ("PyTorch", ["no curves"])


def test_a_manifest_gives_the_signature_of_its_network():
    signature = MANIFEST.signature
    assert (signature.input, signature.output, signature.output_shape) == (MANIFEST.input, "rates", (3,))
    assert (signature.time_steps, signature.layers) == (20, MANIFEST.layers)
    assert signature.step_output == MANIFEST.answer
    assert signature.probed == {"conv.1/current", "conv.1/spikes", "fc/Reshape"}


def test_every_changed_byte_of_every_file_is_noticed(folder):
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        with path.open("r+b", buffering=0) as file:  # in place: a file system flushes a file that it cuts to nothing
            for i, byte in enumerate(path.read_bytes()):
                file.seek(i)
                file.write(bytes([byte ^ 1]))
                with pytest.raises(BadInput, match=r"(changed|damaged)"):
                    Bundle.open(folder)
                file.seek(i)
                file.write(bytes([byte]))
    Bundle.open(folder)


def neuron_of_decay(decay: float) -> dict[str, object]:
    (layer,) = dataclasses.asdict(MANIFEST)["layers"]
    return {**layer, "neuron": {**layer["neuron"], "decay": decay}}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: (b / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda b: (b / "model.onnx").write_bytes(b"012"), "has 3 bytes, the manifest says 10"),
        (lambda b: (b / "manifest.json").unlink(), "is not a bundle: it has no manifest.json"),
        (lambda b: (b / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (lambda b: (b / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (lambda b: reseal(b, schema=99), "has schema 99, this version reads 5 and 6"),
        # A signature of all files would be for what such a list says, and not for the manifest that is read.
        (lambda b: reseal(b, files={"manifest.json": FACT}), "lists manifest.json, which no manifest can list"),
        (lambda b: reseal(b, files={"../x": {"sha256": "", "bytes": 0}}), r"a file outside the bundle: '\.\./x'"),
        (
            lambda b: reseal(b, files={"/etc/passwd": {"sha256": "", "bytes": 0}}),
            "a file outside the bundle: '/etc/passwd'",
        ),
        *[
            (
                lambda b, name=name: reseal(b, files={name: FACT}),
                f"names a file outside the bundle: '{name}'".replace("\0", " "),
            )
            for name in ("", ".", "./model.onnx", "a//b", "engines/../model.onnx", "model.onnx\0")
        ],
        *[
            (lambda b, name=name: reseal(b, engines={name: dataclasses.asdict(engine_info())}), "the name of an engine")
            for name in ("", ".", "..", "a/b", "/")
        ],
        (lambda b: reseal(b, files={}), "does not list model.onnx"),
        (lambda b: (b / "manifest.json").write_text("[" * 200_000), "manifest.json is damaged"),
        (
            lambda b: reseal(b, files=[]),
            "files is a list, and must be an object; copy the bundle",
        ),
        (lambda b: reseal(b, files={"model.onnx": [1]}), "files.model.onnx is a list, and must be an object"),
        (
            lambda b: reseal(b, parity=None),
            "manifest.json: parity is null, and must be an object; copy the bundle",
        ),
        (lambda b: reseal(b, parity={}), "parity.reference is missing"),
        (
            lambda b: reseal(b, parity={"reference": "", "backends": [{}, {"statistics": True}]}),
            r"parity.backends\[1\].statistics is not an object",
        ),
        (lambda b: reseal(b, evidence="all"), 'evidence is "all", and must be a list'),
        (lambda b: reseal(b, engines={"x": {}}), "engines.x.module is missing"),
        (lambda b: (b / "evil.sh").write_text(""), "evil.sh is not in the manifest: it was added later; remove it, or"),
        (
            lambda b: (b / "engines" / "x" / "link").symlink_to("/"),
            "engines/x/link is a link, which is not followed here",
        ),
        (lambda b: reseal(b, future=1), "future is not known to this version"),
        (lambda b: reseal(b, layers=[{}]), r"layers\[0\].name is missing"),
        *[
            (
                lambda b, shape=shape: reseal(b, layers=[{**neuron_of_decay(0.5), "shape": shape}]),
                r"conv\.1 cannot have the shape \(",
            )
            for shape in ([], [2**16, 2**15], [-1])
        ],
        (lambda b: reseal(b, classes=["a"]), r"it names 1 class, and the output has the shape \(3,\)"),
        (
            lambda b: reseal(b, time_form={"form": "loops", "why": "asked for", "layers": {}}),
            "time_form.form is 'loops', and must be scan, unrolled, fused or mixed",
        ),
        (lambda b: reseal(b, answer=[]), "answer is a list, and must be an object"),
        (
            lambda b: reseal(b, answer={**dataclasses.asdict(MANIFEST)["answer"], "axes": [0, 2]}),
            r"readout cannot have the axes \(0, 2\)",
        ),
        (
            lambda b: reseal(b, layers=[neuron_of_decay(7)]),
            r"layers\[0\].neuron: neuron decay must be in \[0, 1\]",
        ),
    ],
)
def test_damage_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(BadInput, match=message):
        Bundle.open(folder)


def other(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Puts something in place of a file."""

    def put(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return put


def linked(to: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(to)


def vast(folder: Path) -> None:
    """weights.bin of 200 GB, of which the disk has none, as the manifest says."""
    os.truncate(folder / "weights.bin", 200 * 10**9)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    reseal(folder, files={**files, "weights.bin": {"sha256": "0" * 64, "bytes": 200 * 10**9}})


def tiny_fields(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x0a\x00" * 2**21)
    write_manifest(folder, MANIFEST)


def engines_elsewhere(folder: Path) -> None:
    shutil.rmtree(folder / "engines")
    (folder / "engines").symlink_to("/")


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe as manifest": (other("manifest.json", os.mkfifo), "/manifest.json is a pipe, not a file"),
    "a link as manifest": (
        other("manifest.json", linked("/dev/zero")),
        "/manifest.json is a link, which is not follow",
    ),
    "a pipe as weights": (other("weights.bin", os.mkfifo), "/weights.bin is a pipe, not a file"),
    "a link as weights": (other("weights.bin", linked("model.onnx")), "/weights.bin is a link, which is not followed"),
    "a folder as model": (other("model.onnx", Path.mkdir), "/model.onnx is a folder, not a file"),
    "a pipe as engine": (other("engines/x/model.engine", os.mkfifo), "/model.engine is a pipe, not a file"),
    "a pipe more": (other("engines/y/engine.json", os.mkfifo), "/engine.json is a pipe, not a file"),
    "engines elsewhere": (engines_elsewhere, "/engines is a link, which is not followed here"),
    "200 GB": (vast, "/weights.bin has 200,000,000,000 bytes, and a file of weights has at most 8,589,934,592"),
    "a manifest of 200 GB": (lambda b: os.truncate(b / "manifest.json", 2 * 10**11), "and a manifest has at most 33,5"),
    "a name twice": (
        lambda b: (b / "manifest.json").write_text('{"a": 1, "a": 2}'),
        'manifest.json is damaged: it has "a" twice in an object; copy the bundle again',
    ),
    "2 million fields": (
        tiny_fields,
        "/model.onnx is not read: the ONNX model has more than 1,048,576 fields; copy the",
    ),
}


@pytest.mark.parametrize("to_run", [False, True])
@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_what_takes_any_time_or_memory_is_refused(folder, change, message, to_run):
    change(folder)
    with pytest.raises(BadInput, match=message):
        Bundle.open(folder, to_run=to_run)


@pytest.mark.parametrize("make", [os.mkfifo, linked("/dev/zero")])
def test_sidecars_of_unlisted_engines_are_files(folder, make):
    opened = Bundle.open(folder, Trust(trust_engine=True), to_run=True)
    assert engines(opened) == []
    other("engines/y/engine.json", make)(folder)
    for read in (lambda: engines(opened), lambda: Bundle.open(folder, Trust(trust_engine=True), to_run=True)):
        with pytest.raises(BadInput, match=r"/engine\.json is a (pipe|link)"):
            read()


REPORTS = ("parity.json", "report.html")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: (b / "report.html").unlink(), "report.html is missing; copy the bundle again, or export it again"),
        (lambda b: (b / "README.md").unlink(), "README.md is missing; copy the bundle again, or export it again"),
        (lambda b: (b / "README.md").write_text("mine"), "README.md has 4 bytes, the manifest says"),
        (lambda b: (b / "parity.json").write_text("{}"), "parity.json has 2 bytes, the manifest says 10; copy the"),
        (lambda b: (b / ".DS_Store").write_text("x"), ".DS_Store is not in the manifest: it was added later; remove"),
        (lambda b: (b / "notes").mkdir() or (b / "notes" / "a.txt").write_text("x"), "a.txt is not in the manifest"),
    ],
)
def test_what_only_people_read_does_not_stop_a_network_from_running(folder, change, message):
    for name in REPORTS:
        (folder / name).write_bytes(b"0123456789")
    write_manifest(folder, MANIFEST)
    change(folder)
    with pytest.raises(BadInput, match=message):
        Bundle.open(folder)
    assert Bundle.open(folder, to_run=True).manifest == MANIFEST


@pytest.mark.parametrize("name", [*FILES, "engines/x/model.engine"])
def test_what_runs_is_checked_to_run(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[::-1])
    with pytest.raises(BadInput, match=f"{name} was changed"):
        Bundle.open(folder, to_run=True)


def test_a_bundle_is_opened_by_text_and_refused_by_words(folder, monkeypatch):
    assert Bundle.open(str(folder)).path == folder
    with pytest.raises(BadInput, match="`path` is 3, and must be a path"):
        Bundle.open(3)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="cannot be read or written: File name too long"):
        Bundle.open("n" * 300)


def test_a_bundle_whose_exchange_was_killed_is_opened(folder):
    folder.rename(folder.with_name("a.bundle.0123456789abcdef.replaced"))
    assert Bundle.open(folder).manifest == MANIFEST
    assert os.listdir(folder.parent) == ["a.bundle"]


def test_what_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        Bundle.open(tmp_path / "none")
    with pytest.raises(BadInput, match="is not a bundle"):
        Bundle.open(tmp_path)


def test_engines_can_be_added(folder):
    (folder / "engines" / "y").mkdir()
    (folder / "engines" / "y" / "model.engine").write_bytes(b"more")
    write_manifest(folder, dataclasses.replace(MANIFEST, targets=["onnx", "tensorrt"]))
    opened = Bundle.open(folder)
    assert "engines/y/model.engine" in opened.files
    assert opened.manifest.targets == ["onnx", "tensorrt"]


def change(file: Path, how: str) -> None:
    """Change a file as a copy does, as an exchange does, and as an interrupted copy does."""
    if how == "exchanged":
        file.with_name("new").write_bytes(file.read_bytes()[::-1])
        file.with_name("new").replace(file)
        return
    with file.open("r+b") as stream:
        if how == "overwritten":
            content = stream.read()
            stream.seek(0)
            stream.write(content[::-1])
        else:
            stream.truncate(1)


@pytest.mark.parametrize("how", ["exchanged", "overwritten", "truncated"])
def test_what_is_read_is_what_was_checked(folder, how):
    opened = Bundle.open(folder)
    for name in (*FILES, "engines/x/model.engine"):
        change(folder / name, how)
    assert [opened.read(name) for name in FILES] == [b"0123456789"] * len(FILES)
    said = "was changed: its sha256 is not the manifest's" if how != "truncated" else "has 1 byte, the manifest says 11"
    with pytest.raises(BadInput, match=f"model.engine {said}; run 'tcja-deploy build"):
        opened.read("engines/x/model.engine")
    opened.release()
    assert opened.read("golden.npz") == b"0123456789"
    with pytest.raises(BadInput, match=r"model.onnx (was changed|has 1 byte)"):
        opened.read("model.onnx")
    with pytest.raises(BadInput, match=r"manifest.json does not list other.bin; copy the bundle again"):
        opened.read("other.bin")


def test_each_file_is_opened_once(folder, monkeypatch):
    """But engines, which are not kept in memory."""
    opened, system = [], os.open

    def noted(name, *args, **kwargs):
        opened.append(Path(os.fsdecode(name)).name)
        return system(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", noted)
    bundle = Bundle.open(folder)
    for name in FILES:
        bundle.read(name)
    assert sorted(name for name in opened if "." in name and name != "a.bundle") == sorted(
        [*FILES, "README.md", "manifest.json", "model.engine"]
    )


def test_too_little_memory_is_no_bug(folder, monkeypatch):
    opened = Bundle.open(folder)
    opened.release()

    def full(*_args):
        raise MemoryError

    monkeypatch.setattr(hashlib, "sha256", full)
    for call in (lambda: Bundle.open(folder, to_run=True), lambda: opened.read("weights.bin")):
        with pytest.raises(Unavailable, match="memory"):
            call()
