"""The bundle: a folder with an exported network and the evidence that it fires the same spikes as the trained one.

    manifest.json       the description of the network, and the sha256 and size of every other file
    model.onnx          the canonical model: one TcjaLif node for each spiking layer; the file defines its function
    model.plain.onnx    the same model in standard operators; TensorRT engines are built from it
    weights.bin         the weights of all models, as ONNX external data
    head.onnx           for stepwise runs only: one time step (`tcja_runtime.bundle.stepwise`)
    tail.onnx           for stepwise runs only: the rest of the network, which runs when a window is complete
    golden.npz          inputs, and the reference's spikes (`tcja_runtime.evidence.golden`)
    parity.json         the comparison of the exported with the trained network
    report.html         the same comparison as a page for people
    README.md           the model card (`tcja_runtime.bundle.card`)
    engines/NAME/       model.engine and engine.json; one folder for each engine

and, in signed bundles, what the manifest does not list (`tcja_runtime.bundle.origin.origin`):

    manifest.json.sig   a signature of manifest.json; model.sig is one of all files
    engines/manifest.json   the engines that were added after that, and engines/manifest.json.sig

A bundle is written as a whole or not at all (`tcja_runtime.files.staging`). It is read only if every file has the hash
that the manifest lists, and no file was added. To run a network, parity.json, report.html and README.md may be missing
or changed, and files may have been added outside engines/. Older bundles have no README.md. What git and the Hugging
Face Hub put into a folder is never read, and is not a part of the bundle.

The bytes whose hash was checked are the bytes that are used. `Bundle.open` reads each file once, and keeps the models,
their weights and the golden vectors in memory; `Bundle.read` returns them. Nobody loads a file of a bundle by its path.
So files that are overwritten or exchanged after that change nothing. An engine, which is needed only on its machine, is
not kept: `Engine.plan` reads it again, and checks what it read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from tcja_runtime import records
from tcja_runtime.bundle.manifest import FileFact, Json, Manifest, seal
from tcja_runtime.bundle.metadata import Description
from tcja_runtime.bundle.origin import origin
from tcja_runtime.bundle.origin.engine_list import ENGINES
from tcja_runtime.bundle.origin.origin import MANIFEST, NOT_LISTED, Origin
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.counting import counted
from tcja_runtime.errors import BadInput, user_error
from tcja_runtime.files.limits import in_bundle
from tcja_runtime.files.reading import is_name, names_inside, open_inside, read_inside
from tcja_runtime.files.staging import put_back
from tcja_runtime.files.text import parsed
from tcja_runtime.model_file import protobuf
from tcja_runtime.model_file.model import WEIGHTS
from tcja_runtime.records import argument
from tcja_runtime.signing.trust import Trust

SCHEMA = 6
READABLE = (5, 6)
"""The schemas that this version reads. Fields that a schema does not have yet get their default values."""
MODEL = "model.onnx"
PLAIN_MODEL = "model.plain.onnx"
GOLDEN = "golden.npz"
PARITY = "parity.json"
REPORT = "report.html"
CARD = "README.md"

_KEPT = (MODEL, PLAIN_MODEL, HEAD, TAIL, WEIGHTS, GOLDEN, PARITY)
"""The files whose content is kept in memory when a bundle was opened."""

_NOT_TO_RUN = (PARITY, REPORT, CARD)
"""Files that a network runs without: people read them, and `verify` compares parity.json with the manifest."""

_OF_GIT = (".git", ".gitattributes", ".cache")
"""What git and the Hugging Face Hub put beside the files of a bundle that is kept there."""

AGAIN = "copy the bundle again, or export it again"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle on disk. When it was opened, its files had the hashes that the manifest lists.

    Attributes:
        path: the folder of the bundle.
        manifest: the manifest.
        files: by the path of a file in the bundle, a dictionary with its "sha256" and its size in "bytes".
        origin: who signed the bundle, and what is known of its engines.
    """

    path: Path
    manifest: Manifest
    files: dict[str, FileFact]
    origin: Origin
    _kept: dict[str, bytes] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @property
    def sha256(self) -> str:
        """The hash of what was exported: the same in every copy of the bundle, whichever engines were added to it.

        It is that of the names and hashes of all files but those of engines and the model card, which lists engines.
        """
        return seal({name: f["sha256"] for name, f in self.files.items() if name != CARD and not is_of_engine(name)})

    @classmethod
    def open(
        cls, path: Path | str, trust: Trust | None = None, *, to_run: bool = False, check_signature: bool = True
    ) -> Bundle:
        """Read a bundle and check it.

        Args:
            path: the folder of the bundle.
            trust: whom and what the caller trusts; None for what the environment and the configuration files say. With
                `trust_engine`, the files of engines may differ from the manifest. An engine is native code.
            to_run: whether the bundle is opened to run its network. Then parity.json, report.html and README.md may be
                missing or changed, and other files may have been added.
            check_signature: whether to refuse a bundle without the signature that the user requires.

        Raises:
            BadInput: the folder is not a bundle, or has another schema; or a file is missing, was changed or added, or
                is named outside the bundle; or the manifest contradicts the metadata of a model; or a signature is
                required, and there is none by a signer whom the user trusts.
            Unavailable: this machine lacks memory, or has too many files open.
        """
        folder: Path = argument("path", path, Path)
        trust = argument("trust", trust, Trust | None) or Trust()
        try:
            if not folder.exists():
                put_back(folder)  # a build may have been killed while it exchanged the bundle
            return _opened(folder, trust, to_run=argument("to_run", to_run, bool), check_signature=check_signature)
        except (OSError, MemoryError) as error:
            unnamed = isinstance(error, OSError) and error.filename is None
            raise user_error(error, folder if unnamed else None) or error from error

    def read(self, name: str) -> bytes:
        """Returns the content of a file, whose hash is the manifest's.

        Args:
            name: the path of the file in the bundle, such as "model.onnx".

        Raises:
            BadInput: the manifest does not list the file, or the file is missing or was changed.
            Unavailable: this machine lacks memory, or has too many files open.
        """
        kept = self._kept.get(name)
        if kept is not None:
            return kept
        if name not in self.files:
            raise BadInput(f"{self.path / MANIFEST} does not list {name}; {AGAIN}")
        try:
            return _checked(self.path, name, self.files[name])
        except (OSError, MemoryError) as error:
            raise user_error(error) or error from error

    def release(self) -> None:
        """Free the memory of the models and weights. `read` then reads them again, and checks what it reads."""
        for name in {*self._kept} - {GOLDEN, PARITY, MANIFEST}:
            self._kept.pop(name, None)

    def check_classifies(self) -> None:
        """Check that the network has classes.

        Raises:
            BadInput: it has none, as a network that generates images.
        """
        if not self.manifest.classes:
            raise BadInput(
                f"{self.path}: the network has no classes, so it cannot classify; in Python, `net.outputs` returns "
                "what it computes"
            )

    def sound_engines(self) -> list[str]:
        """The names of the engines whose files have the hashes in the manifest, and to which no file was added."""
        found = []
        for name in self.manifest.engines:
            prefix = f"{ENGINES}/{name}/"
            files = {file: fact for file, fact in self.files.items() if file.startswith(prefix)}
            try:
                for file, fact in files.items():
                    _check_file(self.path, file, fact)
                there = {*names_inside(self.path, f"{ENGINES}/{name}")}
            except (BadInput, OSError):
                continue
            if there == files.keys():
                found.append(name)
        return found


def _opened(path: Path, trust: Trust, *, to_run: bool, check_signature: bool) -> Bundle:
    """Read a bundle and check it (`Bundle.open`)."""
    file = path / MANIFEST
    if not path.exists():
        raise BadInput(f"{path} does not exist")
    if not os.path.lexists(file):
        raise BadInput(f"{path} is not a bundle: it has no {MANIFEST}")
    written = read_inside(path, MANIFEST, in_bundle(MANIFEST))
    content = _content(file, written)
    try:
        files = records.read(dict[str, FileFact], content.pop("files", None), "files")
        manifest = Manifest.from_dict({name: value for name, value in content.items() if name != "schema"})
    except ValueError as error:
        raise BadInput(f"{file}: {error}; {AGAIN}") from error
    for name in files:
        if not is_name(name):
            raise BadInput(f"{file} names a file outside the bundle: '{name}'; {AGAIN}")
        if name in NOT_LISTED:
            raise BadInput(f"{file} lists {name}, which no manifest can list; {AGAIN}")
    for name in (MODEL, PLAIN_MODEL, WEIGHTS, GOLDEN):
        if name not in files:
            raise BadInput(f"{file} does not list {name}; {AGAIN}")
    for name in (HEAD, TAIL):
        if (name in files) != bool(manifest.streaming):
            lists = "lists" if name in files else "does not list"
            raise BadInput(f"{file} {lists} {name}, which does not fit its streaming entry; {AGAIN}")
    found = origin.read(path, written, files, trust, check_signature=check_signature)
    if found.added:
        manifest, files = found.added.joined(manifest, files)
    any_engine = trust.trust_engine
    kept = {MANIFEST: written}
    for name, fact in files.items():
        if (any_engine and is_of_engine(name)) or (to_run and name in _NOT_TO_RUN):
            continue
        if name in _KEPT:
            kept[name] = _checked(path, name, fact)
        else:
            _check_file(path, name, fact)
    _check_nothing_added(path, files, any_engine=any_engine, to_run=to_run)
    opened = Bundle(path, manifest, files, found, kept)
    _check_described(opened, [name for name in (MODEL, PLAIN_MODEL, HEAD, TAIL) if name in files])
    return opened


def _content(file: Path, written: bytes) -> Json:
    """Returns the content of a manifest, whose bytes are given, without its seal, which is checked.

    Raises:
        BadInput: the file is damaged or was changed, or has another schema.
    """
    try:
        content = records.read(dict[str, Any], parsed(written))
    except ValueError as error:
        raise BadInput(f"{file} is damaged: {error}; {AGAIN}") from error
    if "schema" not in content or content.pop("seal", None) != seal(content):
        raise BadInput(f"{file} was changed after it was written; {AGAIN}")
    if content["schema"] not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise BadInput(f"{file} has schema {content['schema']}, this version reads {known}; use a matching tcja-deploy")
    return content


def is_of_engine(name: str) -> bool:
    """Whether a file of a bundle belongs to an engine."""
    return PurePosixPath(name).parts[0] == ENGINES


def is_of_git(name: str) -> bool:
    """Whether a file in the folder of a bundle was put there by git or the Hugging Face Hub."""
    return PurePosixPath(name).parts[0] in _OF_GIT


def _check_nothing_added(folder: Path, files: Mapping[str, FileFact], *, any_engine: bool, to_run: bool) -> None:
    """Check that there are no files that the manifest does not list, of those that count."""
    for name in names_inside(folder, ENGINES if to_run else "", skipped=_OF_GIT):
        if name in NOT_LISTED or name in files or (is_of_engine(name) and any_engine):
            continue
        if is_of_engine(name):
            raise BadInput(
                f"{folder / name} is not in the manifest: it was added later; run 'tcja-deploy build {folder}', which "
                "takes it out, or pass `trust_engine` if you trust where it comes from"
            )
        raise BadInput(f"{folder / name} is not in the manifest: it was added later; remove it, or {AGAIN}")


def _check_file(folder: Path, name: str, fact: FileFact) -> None:
    """Check the hash of a file of a bundle, with little memory.

    Raises:
        BadInput: the file is missing, was changed, or is no regular file.
    """
    with _open_listed(folder, name, fact) as stream:
        _check_hash(folder, name, _digest(stream), fact)


def _checked(folder: Path, name: str, fact: FileFact) -> bytes:
    """Returns the content of a file of a bundle, after its hash was compared with the manifest's.

    Raises:
        BadInput: the file is missing, was changed, or is no regular file.
    """
    with _open_listed(folder, name, fact) as stream:
        content = stream.read(fact["bytes"])
    _check_hash(folder, name, hashlib.sha256(content).hexdigest(), fact)
    return content


def _open_listed(folder: Path, name: str, fact: FileFact) -> BinaryIO:
    """Open a file of a bundle, which has the size that the manifest lists."""
    file = folder / name
    try:
        stream = open_inside(folder, name, in_bundle(name))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInput(f"{file} is missing; {_again(folder, name)}") from error
    size = os.fstat(stream.fileno()).st_size
    if size != fact["bytes"]:
        stream.close()
        raise BadInput(f"{file} has {counted(size, 'byte')}, the manifest says {fact['bytes']}; {_again(folder, name)}")
    return stream


def _check_hash(folder: Path, name: str, found: str, fact: FileFact) -> None:
    if found != fact["sha256"]:
        raise BadInput(f"{folder / name} was changed: its sha256 is not the manifest's; {_again(folder, name)}")


def _again(folder: Path, name: str) -> str:
    return f"run 'tcja-deploy build {folder}'" if is_of_engine(name) else AGAIN


def _check_described(bundle: Bundle, models: Sequence[str]) -> None:
    """Check that the metadata of models do not contradict the manifest."""
    described = Description.of(bundle.manifest)
    for name in models:
        try:
            protobuf.check_size(bundle.read(name))
            key = described.unlike(bundle.read(name))
        except protobuf.TooLarge as error:
            raise BadInput(f"{bundle.path / name} is not read: {error}; {AGAIN}") from error
        except ValueError:
            continue  # not an ONNX model, as whoever loads it says
        if key:
            file = bundle.path / MANIFEST
            raise BadInput(f"{file} and the metadata of {name} contradict each other in '{key}'; {AGAIN}")


def sha256(file: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return _digest(stream)


def _digest(stream: BinaryIO) -> str:
    """The sha256 of the rest of an open file, in hexadecimal."""
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()
