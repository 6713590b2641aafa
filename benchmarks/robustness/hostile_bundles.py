"""Bundles of an attacker, who can write any manifest and seal it again, as a seal proves no origin."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tcja_runtime.bundle import bundle
from tcja_runtime.model_file import protobuf

Json = dict[str, Any]
Change = Callable[[Path], None]
"""Changes a bundle. It is sealed again afterwards, unless the change has done so."""

HUGE = 200 * 10**9
ESCAPE = "\x1b]0;PWNED\x07\x1b[2J\x1b[1;32mParity met\x1b[0m\u202e\x9b31m"


def reseal(folder: Path, edit: Callable[[Json], object] = len) -> None:
    """Change a manifest, with the hashes and the seal put right."""
    file = folder / "manifest.json"
    content = json.loads(file.read_text())
    del content["seal"]
    for name, fact in content["files"].items():
        path = folder / name
        if (path.is_file() and path.stat().st_size < 2**31 and path.stat().st_size != fact["bytes"]) or changed(
            path, fact
        ):
            fact |= {"bytes": path.stat().st_size, "sha256": digest(path)}
    edit(content)
    file.write_text(json.dumps({**content, "seal": bundle.seal(content)}))


def changed(path: Path, fact: Json) -> bool:
    return path.is_file() and path.stat().st_size < 2**31 and digest(path) != fact["sha256"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def edited(edit: Callable[[Json], object]) -> Change:
    """Returns a change of the manifest."""
    return lambda folder: reseal(folder, edit)


def text(change: Callable[[str], str]) -> Change:
    """Returns a change of the text of the manifest, which breaks its seal."""

    def write(folder: Path) -> None:
        file = folder / "manifest.json"
        file.write_text(change(file.read_text()))

    return write


def other(name: str, make: Callable[[Path], object]) -> Change:
    """Returns a change that puts something in place of a file."""

    def put(folder: Path) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        make(file)

    return put


def linked(name: str, to: str) -> Change:
    return other(name, lambda file: file.symlink_to(to))


def hole(name: str) -> Change:
    """Returns a change that makes a file 200 GB large, on the disk it has none of them; the manifest says this size."""

    def grow(folder: Path) -> None:
        os.truncate(folder / name, HUGE)
        if name != "manifest.json":
            reseal(folder, lambda content: content["files"][name].__setitem__("bytes", HUGE))

    return grow


def model(name: str, change: Callable[[bytes], bytes]) -> Change:
    """Returns a change of an ONNX file."""

    def write(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        reseal(folder)

    return write


def golden(change: Callable[[dict[str, Any]], object]) -> Change:
    """Returns a change of the arrays of the golden vectors."""

    def write(folder: Path) -> None:
        with np.load(folder / "golden.npz") as file:
            arrays = dict(file)
        change(arrays)
        np.savez_compressed(folder / "golden.npz", **arrays)
        reseal(folder)

    return write


def archive(change: Callable[[bytearray], object]) -> Change:
    """Returns a change of the bytes of the golden vectors."""

    def write(folder: Path) -> None:
        content = bytearray((folder / "golden.npz").read_bytes())
        change(content)
        (folder / "golden.npz").write_bytes(content)
        reseal(folder)

    return write


def bomb(name: str, size: int = 2**31, kind: str = "|u1", shape: tuple[int, ...] | None = None) -> Change:
    """Returns a change that puts an array of zeros into the golden vectors, in place of the one of that name."""

    def write(folder: Path) -> None:
        put_zeros(folder / "golden.npz", name, size, kind, shape)
        reseal(folder)

    return write


def put_zeros(file: Path, name: str, size: int, kind: str, shape: tuple[int, ...] | None) -> None:
    """Put an array of zeros of a size in bytes into an .npz."""
    head = io.BytesIO()
    shape = (size // np.dtype(kind).itemsize,) if shape is None else shape
    np.lib.format.write_array_header_1_0(head, {"descr": kind, "fortran_order": False, "shape": shape})
    old = {}
    if file.exists():
        with zipfile.ZipFile(file) as whole:
            old = {each: whole.read(each) for each in whole.namelist() if each != f"{name}.npy"}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for each, content in old.items():
            made.writestr(each, content)
        with made.open(f"{name}.npy", "w", force_zip64=True) as stream:
            stream.write(head.getvalue())
            for _ in range(size // 2**24):
                stream.write(bytes(2**24))
            stream.write(bytes(size % 2**24))


def _members(count: int) -> Change:
    def write(folder: Path) -> None:
        with zipfile.ZipFile(folder / "golden.npz", "a") as made:
            for number in range(count):
                made.writestr(f"{number}.txt", b"")
        reseal(folder)

    return write


def _flip(mark: bytes, offset: int, mask: int) -> Callable[[bytearray], None]:
    def flip(content: bytearray) -> None:
        content[content.index(mark) + offset] ^= mask

    return flip


def _encrypted(content: bytearray) -> None:
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1


def _method(content: bytearray) -> None:
    content[8] = content[content.index(b"PK\x01\x02") + 10] = 99


def _deflate(content: bytearray) -> None:
    content[60:90] = b"\xff" * 30


def _graph(add: bytes) -> Callable[[bytes], bytes]:
    return lambda model: model + protobuf.embedded(protobuf.MODEL_GRAPH, add)


_INNER = {("model", 7): "graph", ("graph", 1): "node", ("node", 5): "attribute"}


def _without_types(message: bytes, kind: str = "model") -> bytes:
    """Returns a model whose attributes do not say which type they have (AttributeProto.type = 20)."""
    found = b""
    for number, field, content in protobuf.fields(message):
        inner = _INNER.get((kind, number))
        if inner:
            found += protobuf.embedded(number, _without_types(content, inner))
        elif (kind, number) != ("attribute", protobuf.ATTRIBUTE_TYPE):
            found += field
    return found


_TINY = protobuf.embedded(protobuf.GRAPH_NODE, protobuf.embedded(protobuf.NODE_INPUT, b"") * 2**22)


def _seal_broken_pair(text_: str) -> str:
    return text_.replace('"schema":', '"schema": 5, "schema":', 1)


def _deep(levels: int) -> Callable[[Json], object]:
    def edit(content: Json) -> None:
        value: Any = []
        for _ in range(levels):
            value = [value]
        content["passes"] = [{"pass": value}]

    return edit


def _files(content: Json, names: list[str]) -> None:
    for name in names:
        content["files"][name] = {"sha256": "0" * 64, "bytes": 1}


def _many_files(folder: Path) -> None:
    for number in range(100_000):
        (folder / f"{number}").touch()


def _engine_folder(make: Callable[[Path], object]) -> Change:
    return other("engines/e/engine.json", make)


def _engines_elsewhere(folder: Path) -> None:
    (folder / "engines").symlink_to("/")


CHANGES: dict[str, tuple[str, Change]] = {
    "a pipe as manifest.json": ("verify", other("manifest.json", os.mkfifo)),
    "a pipe as golden.npz": ("verify", other("golden.npz", os.mkfifo)),
    "a pipe as weights.bin": ("run", other("weights.bin", os.mkfifo)),
    "a pipe as engine.json": ("verify --trust-engine", _engine_folder(os.mkfifo)),
    "a pipe as parity.json": ("inspect", other("parity.json", os.mkfifo)),
    "a link to /dev/zero as engine.json": ("verify --trust-engine", linked("engines/e/engine.json", "/dev/zero")),
    "a link to /dev/zero as manifest.json": ("inspect", linked("manifest.json", "/dev/zero")),
    "a link to another file as weights.bin": ("run", linked("weights.bin", "/etc/hostname")),
    "a link to / as engines": ("verify", _engines_elsewhere),
    "the same, --trust-engine": ("run --trust-engine", _engines_elsewhere),
    "the same, build": ("build", _engines_elsewhere),
    "weights.bin of 200 GB, sparse": ("run", hole("weights.bin")),
    "model.plain.onnx of 200 GB, sparse": ("run", hole("model.plain.onnx")),
    "golden.npz of 200 GB, sparse": ("verify", hole("golden.npz")),
    "manifest.json of 200 GB, sparse": ("inspect", hole("manifest.json")),
    "a manifest of 90 MB": ("inspect", edited(lambda c: c.__setitem__("evidence", ["x" * 90_000_000]))),
    "a manifest of 10 million empty lists": ("inspect", edited(lambda c: c["passes"].append({"a": [[]] * 10**7}))),
    "a manifest of 100,000 keys": ("inspect", edited(lambda c: c.update({f"k{i}": 1 for i in range(100_000)}))),
    "a manifest of 100,000 files": ("verify", edited(lambda c: _files(c, [f"f{i}" for i in range(100_000)]))),
    "a key of 10 MB": ("inspect", edited(lambda c: c.__setitem__("k" * 10**7, 1))),
    "lists in 30 levels": ("inspect", edited(_deep(40))),
    "lists in 100,000 levels": ("inspect", text(lambda _: "[" * 100_000)),
    "a key twice": ("inspect", text(_seal_broken_pair)),
    "a number of 100,000 digits": (
        "inspect",
        text(lambda t: t.replace('"time_steps": ', '"time_steps": ' + "1" * 10**5)),
    ),
    "a file named ''": ("verify", edited(lambda c: _files(c, [""]))),
    "a file named '.'": ("verify", edited(lambda c: _files(c, ["."]))),
    "a file named '../x'": ("verify", edited(lambda c: _files(c, ["../x"]))),
    "classes that are no texts": ("inspect", edited(lambda c: c.__setitem__("classes", [{"a": 1}, "b"]))),
    "a tap without a name": ("verify", edited(lambda c: c["taps"][0].__setitem__("name", [1]))),
    "a layer without a name": ("verify", edited(lambda c: c["layers"][0].__setitem__("name", None))),
    "100,000 files in the folder": ("verify", _many_files),
    "golden.npz: an array of 2 GB more (2 MB)": ("verify", bomb("bomb")),
    "golden.npz: inputs of 2 GB": (
        "verify",
        bomb("images", kind="<f4", shape=(2**31 // 4 // 784, 1, 28, 28), size=2**31 // 4 // 784 * 784 * 4),
    ),
    "golden.npz: labels of 2 GB": ("verify", bomb("labels", kind="<i8")),
    "golden.npz: 10^9 outputs of no classes": (
        "verify",
        golden(
            lambda a: a.update(
                {"drawn/output": np.zeros((10**9, 0)), "drawn/output_bound": np.zeros((10**9, 0), np.float32)}
            )
        ),
    ),
    "golden.npz: a layer of 2^40 neurons": (
        "verify",
        golden(
            _vast_layer := lambda a: a.update(
                {
                    f"shape:{a['layers'][0]}": np.array([2**20, 2**20]),
                    f"spikes:{a['layers'][0]}": np.zeros((0, 2**37), np.uint8),
                }
            )
        ),
    ),
    "golden.npz: encrypted": ("verify", archive(_encrypted)),
    "golden.npz: an unknown compression": ("verify", archive(_method)),
    "golden.npz: damaged compressed bytes": ("verify", archive(_deflate)),
    "golden.npz: a flipped bit in its directory": ("verify", archive(_flip(b"PK\x01\x02", 46, 128))),
    "golden.npz: 60,000 members": ("verify", _members(60_000)),
    "model.plain.onnx: a number of 1 MB": ("verify", model("model.plain.onnx", lambda m: m + b"\xff" * 10**6)),
    "model.plain.onnx: a number of 1 MB in its graph": ("verify", model("model.plain.onnx", _graph(b"\xff" * 10**6))),
    "model.plain.onnx: cut off": ("verify", model("model.plain.onnx", lambda m: m[:-100])),
    "model.plain.onnx: noise": ("verify", model("model.plain.onnx", lambda _: np.random.default_rng(0).bytes(10**5))),
    "model.plain.onnx: empty": ("run", model("model.plain.onnx", lambda _: b"")),
    "model.plain.onnx: 90 MB of empty fields": (
        "verify",
        model("model.plain.onnx", lambda m: m + b"\x0a\x00" * 45 * 10**6),
    ),
    "model.plain.onnx: 4 million names": ("verify", model("model.plain.onnx", _graph(_TINY))),
    "model.onnx: attributes without type": ("verify", model("model.onnx", _without_types)),
}
"""By the name of a case: the command, and the change of the bundle."""

SHOWN = {
    "inspect": "inspect",
    "verify": "verify",
    "run": "run DATA",
    "run --csv": "run DATA --csv",
    "bench": "bench --seconds 0.1",
}


def without_metadata(folder: Path) -> None:
    """Take the metadata out of the models (ModelProto.metadata_props = 14), so that they contradict no manifest."""
    for file in folder.glob("*.onnx"):
        fields = protobuf.fields(file.read_bytes())
        file.write_bytes(b"".join(field for number, field, _ in fields if number != 14))


def escapes(content: Json) -> None:
    """Put what a terminal obeys into the texts of a manifest."""
    content["network"] += ESCAPE
    content["classes"] = [name + ESCAPE for name in content["classes"]]
    content["parity"]["reference"] = ESCAPE
    content["evidence"] = [ESCAPE, f"check this: {ESCAPE}"]


def copied(source: Path, destination: Path) -> Path:
    """Returns a copy of a bundle."""
    return Path(shutil.copytree(source, destination))
