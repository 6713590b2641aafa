"""The parsers of what says where a bundle comes from: lists of engines, configuration files and keys."""

from __future__ import annotations

import hashlib
import json
import os
from unittest import mock

from tcja_runtime.bundle.manifest import seal
from tcja_runtime.bundle.origin import origin
from tcja_runtime.bundle.origin.engine_list import ENGINE_LIST, EngineList
from tcja_runtime.errors import BadInput
from tcja_runtime.files.text import parsed
from tcja_runtime.signing import openssf
from tcja_runtime.signing.keys import PublicKey, private_kind
from tcja_runtime.signing.trust import Trust, Trusted

from .. import signing
from ..sidecars import engine_info
from . import damage
from .parser import Parser, Room

_MANIFEST = b"the manifest that the list belongs to"


def sealed(content: bytes) -> bytes:
    """Returns a manifest or a list whose seal is right, as everybody can make it; other bytes as they are."""
    try:
        value = parsed(content)
        if isinstance(value, dict) and "seal" in value:
            value["seal"] = seal({name: each for name, each in value.items() if name != "seal"})
            return json.dumps(value).encode()
    except ValueError:
        pass
    return content


def _lists(_: Room) -> list[bytes]:
    fact = {"sha256": "0" * 64, "bytes": 4321}
    files = {f"engines/e/{name}": fact for name in ("model.engine", "engine.json")}
    belongs = hashlib.sha256(_MANIFEST).hexdigest()
    return [EngineList(manifest=belongs, engines={"e": engine_info()}, files=files, replaced=["d"]).content()]


def _read_list(room: Room, content: bytes) -> None:
    room.file(ENGINE_LIST, sealed(content))
    with _own_folders(room):
        origin.read(room.folder, _MANIFEST, {}, Trust())


def _own_folders(room: Room) -> mock._patch_dict:
    """A context in which no file of this user or machine is read."""
    names = ("XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_STATE_HOME")
    return mock.patch.dict(os.environ, dict.fromkeys(names, str(room.folder)))


_ED25519 = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVKAFcq4NdvVqmWCD1qYJgH5QHjK5hPmGbZ2cQTaZkV somebody\n"
_PEM = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
_PRIVATE = b"-----BEGIN OPENSSH PRIVATE KEY-----\nbm90IGEga2V5\n-----END OPENSSH PRIVATE KEY-----\n"


def _read_key(room: Room, content: bytes) -> None:
    """A file is a public key, or one that signs."""
    path = room.file("a.pub", content)
    try:
        PublicKey.read(path)
    except BadInput:
        private_kind(path)


def _configurations(_: Room) -> list[bytes]:
    someone = {"identity": "release@example.org", "provider": "https://accounts.example.org"}
    return [
        json.dumps({"require_signature": True, "identities": [someone]}).encode(),
        json.dumps({"public_keys": ["a.pub"]}).encode(),
    ]


def _read_configuration(room: Room, content: bytes) -> None:
    room.file("tcja-deploy/config.json", content)
    room.file("tcja-deploy/a.pub", _ED25519)
    with _own_folders(room):
        Trusted.of(Trust())


def _signatures(room: Room) -> list[bytes]:
    (room.folder / "keys").mkdir(exist_ok=True)
    private, _ = signing.pem_key(room.folder / "keys")
    content = openssf.sign({"manifest.json": "0" * 64}, "small.bundle", openssf.Method(key=private))
    assert _is_signed(room, content)
    return [content]


def _is_signed(room: Room, content: bytes) -> bool:
    public = PublicKey.read(room.folder / "keys" / "pem.pub.pem")
    return openssf.is_by({"manifest.json": "0" * 64}, content, public)


def _read_signature(room: Room, content: bytes) -> None:
    if not _is_signed(room, content):
        raise BadInput("it does not sign the file")


PARSERS = (
    Parser("engine_list", _lists, _read_list, damage.of_json),
    Parser("configuration", _configurations, _read_configuration, damage.of_json),
    Parser("key", lambda _: [_ED25519, _PEM, _PRIVATE], _read_key),
    Parser("model_sig", _signatures, _read_signature, damage.of_json, packages=("model_signing",)),
)
