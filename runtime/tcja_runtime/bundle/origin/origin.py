"""Where a bundle and each of its engines come from: who signed them, or whether the engine was built here."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tcja_runtime.bundle.manifest import FileFact
from tcja_runtime.bundle.origin import built_here
from tcja_runtime.bundle.origin.built_here import Built
from tcja_runtime.bundle.origin.engine_list import ENGINE_LIST, EngineList, engine_file, engine_of
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.errors import BadInput
from tcja_runtime.files.limits import in_bundle
from tcja_runtime.files.reading import read_inside
from tcja_runtime.signing import detached, openssf
from tcja_runtime.signing.signer import Signer, State, Statement, check_required, signer
from tcja_runtime.signing.trust import Trust, Trusted

MANIFEST = "manifest.json"
DETACHED = MANIFEST + detached.SUFFIX
OPENSSF = openssf.SIGNATURE
DETACHED_LIST = ENGINE_LIST + detached.SUFFIX
NOT_LISTED = (MANIFEST, DETACHED, OPENSSF, ENGINE_LIST, DETACHED_LIST)
"""The files of a bundle that its manifest does not list: itself, the later list of engines, and the signatures."""


@dataclasses.dataclass(frozen=True)
class EngineOrigin:
    """What is known of where an engine comes from.

    Attributes:
        known: whether a key that the user trusts signed it, or this user built it on this machine.
        text: the same for people, such as "built here".
    """

    known: bool
    text: str

    def __str__(self) -> str:
        return self.text


BUILT_HERE = EngineOrigin(known=True, text="built here")
UNKNOWN = EngineOrigin(known=False, text="of unknown origin")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a bundle comes from.

    Attributes:
        manifest: who signed manifest.json.
        added: the engines that were added later; None if there is no such list.
        added_by: who signed the list of these engines.
        built_here: the engines that this user built on this machine.
        trust: whom and what the caller trusts.
        listed: what model.sig signs: the SHA-256 of manifest.json and of each file that it lists, by name.
    """

    manifest: Signer
    added: EngineList | None
    added_by: Signer
    built_here: frozenset[Built]
    trust: Trust
    listed: Mapping[str, str]

    @property
    def listed_apart(self) -> bool:
        """Whether engines that are added are listed apart from manifest.json: it is signed, or there is such a list."""
        return self.manifest.state is not State.UNSIGNED or self.added is not None

    @property
    def own_engines(self) -> list[str]:
        """The names of the engines that manifest.json lists itself, whether they still count or not."""
        return list(dict.fromkeys(filter(None, map(engine_of, self.listed))))

    def of_engine(self, name: str, info: EngineInfo) -> EngineOrigin:
        """Returns where an engine of the bundle comes from. A signature is for the engine that was signed alone.

        Args:
            name: the name of the engine.
            info: its sidecar.
        """
        by, signed = self.manifest, self.listed.get(engine_file(name))
        if self.added and name in self.added.engines:
            by, signed = self.added_by, self.added.engines[name].sha256
        if by.trusted and info.sha256 == signed:
            return EngineOrigin(known=True, text=str(by))
        return BUILT_HERE if Built(info.sha256, info.model_sha256) in self.built_here else UNKNOWN

    def to_dict(self, engines: Mapping[str, EngineInfo]) -> dict[str, Any]:
        """Returns what is known, for JSON.

        Args:
            engines: the sidecars of the bundle's engines, by name.
        """
        found = {name: str(self.of_engine(name, info)) for name, info in engines.items()}
        return {"signed": self.manifest.trusted, "signature": str(self.manifest), "engines": found}


def read(
    folder: Path, manifest: bytes, files: Mapping[str, FileFact], trust: Trust, *, check_signature: bool = True
) -> Origin:
    """Returns where a bundle comes from.

    Args:
        folder: the bundle.
        manifest: the bytes of manifest.json, as they were read.
        files: the files that manifest.json lists.
        trust: whom and what the caller trusts.
        check_signature: whether to refuse a bundle without the signature that the user requires.

    Raises:
        BadInput: a signature is required, and the bundle has none by a signer whom the user trusts; or a key, a
            configuration file or the list of added engines cannot be used.
        Unavailable: a signature is required, and cannot be checked without a program that this machine lacks.
    """
    trusted = Trusted.of(trust)
    if not check_signature:
        trusted = dataclasses.replace(trusted, required=False)
    sha256 = hashlib.sha256(manifest).hexdigest()
    listed = {**{name: fact["sha256"] for name, fact in files.items()}, MANIFEST: sha256}
    statement = Statement(
        name=MANIFEST,
        content=manifest,
        detached=_content(folder, DETACHED),
        openssf=_content(folder, OPENSSF),
        listed=listed,
    )
    signed = signer(statement, trusted)
    check_required(statement, signed, trusted, str(folder))
    added, by = None, Signer()
    content = _content(folder, ENGINE_LIST)
    if content is not None:
        added = _added(folder, content, sha256, trust)
        later = Statement(name=ENGINE_LIST, content=content, detached=_content(folder, DETACHED_LIST))
        by = signer(later, trusted) if added else by
    known = built_here.known() if added or trust.trust_engine or any(map(engine_of, files)) else frozenset()
    return Origin(manifest=signed, added=added, added_by=by, built_here=known, trust=trust, listed=listed)


def _added(folder: Path, content: bytes, manifest: str, trust: Trust) -> EngineList | None:
    """Returns the list of added engines; None if it cannot be used, and the caller takes any engine."""
    file = folder / ENGINE_LIST
    try:
        found = EngineList.of_content(content)
        if found.manifest != manifest:
            raise ValueError("it belongs to another manifest.json")
    except ValueError as error:
        if trust.trust_engine:
            return None
        raise BadInput(f"{file}: {error}; run 'tcja-deploy build {folder}', which writes it again") from error
    return found


def _content(folder: Path, name: str) -> bytes | None:
    """Returns the content of a file of a bundle; None if there is none."""
    try:
        return read_inside(folder, name, in_bundle(name))
    except (FileNotFoundError, NotADirectoryError):
        return None
