"""The engines that were added to a bundle after it was signed: engines/manifest.json.

A signature is for the bytes of manifest.json. So an engine that is built later is not listed there, but in a list of
its own, in the same records. The list names the manifest.json that it belongs to by its SHA-256, and may have a
signature of its own, engines/manifest.json.sig. Where both list an engine, the later list counts.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from tcja_runtime import records
from tcja_runtime.bundle.manifest import FileFact, Json, Manifest, seal
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.choices import ENGINE_TARGETS
from tcja_runtime.files.reading import is_name
from tcja_runtime.files.text import parsed, storable

ENGINES = "engines"
ENGINE = "model.engine"
ENGINE_LIST = f"{ENGINES}/manifest.json"
_SCHEMA = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineList:
    """The content of engines/manifest.json.

    Attributes:
        manifest: the SHA-256 of the manifest.json that it belongs to, in hexadecimal.
        engines: the sidecar of each engine, by its name.
        files: the sha256 and the size of each file of these engines, by its path in the bundle.
        replaced: the engines of manifest.json that do not count any more: they were built again, or were damaged.
    """

    manifest: str
    engines: dict[str, EngineInfo]
    files: dict[str, FileFact]
    replaced: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        for name in self.engines:
            if not is_name(name) or "/" in name:
                raise ValueError(f"'{name}' cannot be the name of an engine")
        for name in self.files:
            if not is_name(name) or engine_of(name) not in self.engines:
                raise ValueError(f"'{name}' is no file of an engine in the list")

    @classmethod
    def of_content(cls, content: bytes) -> EngineList:
        """Returns the list that a file holds.

        Raises:
            ValueError: the file is damaged, was changed, or is of another version.
        """
        fields = records.read(dict[str, Any], parsed(content))
        if fields.pop("seal", None) != seal(fields):
            raise ValueError("it was changed after it was written")
        if fields.pop("schema", None) != _SCHEMA:
            raise ValueError("it was written by another version of tcja-deploy")
        return records.read(cls, fields)

    def content(self) -> bytes:
        """Returns the content of the file."""
        fields: Json = {"schema": _SCHEMA, **storable(dataclasses.asdict(self))}
        return (json.dumps({**fields, "seal": seal(fields)}, indent=1) + "\n").encode()

    def joined(self, manifest: Manifest, files: Mapping[str, FileFact]) -> tuple[Manifest, dict[str, FileFact]]:
        """Returns a manifest with the engines of this list as its last ones, and the files of both.

        Args:
            manifest: what manifest.json says.
            files: the files that manifest.json lists.
        """
        gone = {*self.replaced, *self.engines}
        kept = {name: info for name, info in manifest.engines.items() if name not in gone}
        built = [
            target for each in self.engines.values() for target, name in ENGINE_TARGETS.items() if name == each.module
        ]
        joined = dataclasses.replace(
            manifest, engines={**kept, **self.engines}, targets=list(dict.fromkeys([*manifest.targets, *built]))
        )
        return joined, {name: fact for name, fact in files.items() if engine_of(name) not in gone} | self.files


def engine_file(name: str) -> str:
    """Returns the path of an engine in a bundle."""
    return f"{ENGINES}/{name}/{ENGINE}"


def engine_of(name: str) -> str:
    """Returns the name of the engine that a file of a bundle belongs to; empty if it belongs to none.

    Args:
        name: the path of the file in the bundle.
    """
    first, *rest = PurePosixPath(name).parts
    return rest[0] if first == ENGINES and len(rest) > 1 else ""
