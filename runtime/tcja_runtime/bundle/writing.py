"""Writes the manifest and the model card of a bundle, when all its other files are written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from tcja_runtime.bundle.bundle import (
    AGAIN,
    CARD,
    GOLDEN,
    MODEL,
    PARITY,
    PLAIN_MODEL,
    REPORT,
    SCHEMA,
    Bundle,
    is_of_engine,
    is_of_git,
    sha256,
)
from tcja_runtime.bundle.card import CardFile, card
from tcja_runtime.bundle.manifest import FileFact, Json, Manifest, seal
from tcja_runtime.bundle.origin.engine_list import ENGINE, ENGINE_LIST, EngineList, engine_file, engine_of
from tcja_runtime.bundle.origin.origin import DETACHED_LIST, MANIFEST, NOT_LISTED
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.errors import BadInput
from tcja_runtime.files.text import storable
from tcja_runtime.model_file.model import WEIGHTS
from tcja_runtime.signing import detached

_HOLDS = {
    MODEL: "the canonical model, with one TcjaLif node for each spiking layer",
    PLAIN_MODEL: "the same model in standard operators, which TensorRT builds engines from",
    WEIGHTS: "the weights of all models",
    HEAD: "the part of the network that runs for each frame, for stepwise runs",
    TAIL: "the part of the network that runs when a window is complete, for stepwise runs",
    GOLDEN: "input windows, and the spikes and outputs of the trained network for them",
    PARITY: "the comparison with the trained network, for programs",
    REPORT: "the comparison with the trained network, for people",
}
"""What the files of a bundle hold, for its card."""
_ENGINE_HOLDS = {ENGINE: "a TensorRT engine", "engine.json": "the description of an engine"}


def write_manifest(folder: Path, manifest: Manifest, kept: Mapping[str, FileFact] | None = None) -> None:
    """Write the model card and the manifest of a bundle, which list all other files. So write these files first.

    Args:
        folder: the folder of the bundle.
        manifest: the manifest.
        kept: in a bundle that is changed, the files that stay, with their hashes in the manifest that was read. They
            must have these hashes still. The other files are those of an engine that this process built. None if this
            process wrote all files.

    Raises:
        BadInput: a file that stays was changed, or a file was added.
    """
    facts = _facts(folder)
    if kept is not None:
        _check_kept(facts, manifest, kept)
    files = [CardFile(name, fact["bytes"], fact["sha256"], _holds(name, manifest)) for name, fact in facts.items()]
    _write_new(folder / CARD, card(manifest, files))
    described: FileFact = {"sha256": sha256(folder / CARD), "bytes": (folder / CARD).stat().st_size}
    content: Json = {
        "schema": SCHEMA,
        **storable(dataclasses.asdict(manifest)),
        "files": dict(sorted({**facts, CARD: described}.items())),
    }
    # The seal is the hash of the manifest itself. So a change of any byte of a bundle is found.
    sealed = {**content, "seal": seal(content)}
    _write_new(folder / MANIFEST, json.dumps(sealed, indent=1) + "\n")


def write_engine_list(
    folder: Path, opened: Bundle, manifest: Manifest, kept: Mapping[str, FileFact], key: Path | None
) -> None:
    """Write engines/manifest.json and its signature, after an engine was added. manifest.json stays as it is.

    Args:
        folder: the copy of the bundle that gets the engine.
        opened: the bundle, as it was read.
        manifest: the manifest of all engines; the new engine is the last one.
        kept: the files that stay, with their hashes in the manifest that was read (`write_manifest`).
        key: the private key that signs the list; None to sign nothing.

    Raises:
        BadInput: a file that stays was changed, or a file was added; or the key cannot sign.
        Unavailable: the program that signs is missing.
    """
    facts = _facts(folder)
    _check_kept(facts, manifest, kept)
    origin, new = opened.origin, list(manifest.engines)[-1]
    before = origin.added.engines if origin.added else {}
    stay = {name for name in origin.own_engines if name in manifest.engines and name not in before and name != new}
    added = {name: info for name, info in manifest.engines.items() if name not in stay}
    content = EngineList(
        manifest=origin.listed[MANIFEST],
        engines=added,
        files={name: fact for name, fact in facts.items() if engine_of(name) in added},
        replaced=[name for name in origin.own_engines if name not in stay],
    ).content()
    (folder / ENGINE_LIST).write_bytes(content)
    if key:
        (folder / DETACHED_LIST).write_bytes(detached.sign(content, key))


def _check_kept(facts: Mapping[str, FileFact], manifest: Manifest, kept: Mapping[str, FileFact]) -> None:
    """Check that the files of a bundle to which an engine was added are those that were read, and the engine's."""
    old = {PurePosixPath(name).parts[1] for name in kept if is_of_engine(name)}
    added = {name for name in facts.keys() - kept if not is_of_engine(name) or PurePosixPath(name).parts[1] in old}
    changed = {name for name, fact in kept.items() if facts.get(name) != fact}
    for name, info in manifest.engines.items():
        file = engine_file(name)
        changed |= {file} if file in facts and facts[file]["sha256"] != info.sha256 else set()
    for name in sorted(added | changed):
        what = "added" if name in added else "changed"
        raise BadInput(f"{name} was {what} while the engine was built, so the bundle is left as it is; {AGAIN}")


def _facts(folder: Path) -> dict[str, FileFact]:
    """The hash and size of each file of a bundle but the card and the manifest, by name."""
    names = {file: file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()}
    return {
        name: {"sha256": sha256(file), "bytes": file.stat().st_size}
        for file, name in names.items()
        if name not in (*NOT_LISTED, CARD) and not is_of_git(name)
    }


def _holds(name: str, manifest: Manifest) -> str:
    """What a file of a bundle holds, a phrase."""
    if not is_of_engine(name):
        return _HOLDS.get(name, "")
    path = PurePosixPath(name)
    what = _ENGINE_HOLDS.get(path.name, "the log of the build of an engine")
    info = manifest.engines.get(path.parts[1])
    return f"{what} for {info.device}, {info.precision}" if info else what


def _write_new(file: Path, text: str) -> None:
    """Write a text file. An existing one is removed first, as it may be a hard link to a file of another bundle."""
    file.unlink(missing_ok=True)
    file.write_text(text, encoding="utf-8")
