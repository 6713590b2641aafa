"""Whom the user trusts: in the arguments of a call, in the environment, and in configuration files.

    $XDG_CONFIG_HOME/tcja-deploy/config.json    of the user (default: ~/.config)
    $XDG_CONFIG_DIRS/tcja-deploy/config.json    of the machine (default: /etc/xdg)
    TCJA_PUBLIC_KEYS                            paths of public keys, with ":" between them
    TCJA_REQUIRE_SIGNATURE                      1 or 0

A folder whose path is not absolute is passed over. A configuration file is a JSON object with the fields of
`Configuration`. A signature is required if any of these places requires one. The keys are those of the first place that
names any: the arguments, the environment, the user's file, the machine's file. A configuration file that all may write
is refused, and so is a key that it names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from tcja_runtime import records
from tcja_runtime.errors import BadInput, user_error
from tcja_runtime.files import limits
from tcja_runtime.files.text import parsed
from tcja_runtime.machine.user_folders import machine_folders, user_folder
from tcja_runtime.records import check_arguments
from tcja_runtime.signing.keys import PublicKey
from tcja_runtime.signing.openssf import Identity
from tcja_runtime.signing.settings import read_settings

PUBLIC_KEYS, REQUIRE_SIGNATURE = "TCJA_PUBLIC_KEYS", "TCJA_REQUIRE_SIGNATURE"
_FILE = "config.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trust:
    """Whom and what a call trusts.

    Attributes:
        trust_engine: whether to load engines whose origin is not known, and whose files the bundle does not list.
        require_signature: whether to take only bundles that are signed by one of the keys.
        public_keys: the public keys of those whom the user trusts: of OpenSSH or in PEM, or the PEM certificate of an
            authority. Keys that are given here are the only ones, and a signature by one of them is required. Empty for
            those of the environment or of a configuration file.
    """

    trust_engine: bool = False
    require_signature: bool = False
    public_keys: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        check_arguments(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """The content of a configuration file.

    Attributes:
        require_signature: whether to take only bundles that are signed by a trusted signer.
        public_keys: the files of public keys. A relative path begins at the folder of the configuration file.
        identities: those who sign through Sigstore, each with "identity" and "provider".
    """

    require_signature: bool = False
    public_keys: tuple[str, ...] = ()
    identities: tuple[Identity, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trusted:
    """The signers whom the user trusts.

    Attributes:
        keys: the public keys.
        identities: those who sign through Sigstore.
        required: whether a bundle must be signed by one of them.
        why: the place that requires it, for messages; empty if none does.
    """

    keys: tuple[PublicKey, ...] = ()
    identities: tuple[Identity, ...] = ()
    required: bool = False
    why: str = ""

    def __bool__(self) -> bool:
        return bool(self.keys or self.identities)

    @classmethod
    def of(cls, trust: Trust) -> Trusted:
        """Returns the signers that arguments, the environment and the configuration files name.

        Raises:
            BadInput: a key, a configuration file or a variable cannot be used.
        """
        places = [
            _Place("`public_keys`" if trust.public_keys else "`require_signature`", _of_arguments(trust)),
            _Place(PUBLIC_KEYS, Configuration(public_keys=_keys_of_environment())),
            _Place(REQUIRE_SIGNATURE, Configuration(require_signature=_required_by_environment())),
            *_of_files(),
        ]
        named = next((each for each in places if each.says.public_keys or each.says.identities), _Place())
        required = next((each.name for each in places if each.says.require_signature), "")
        return cls(
            keys=named.keys(),
            identities=named.says.identities,
            required=bool(required),
            why=required,
        )


@dataclasses.dataclass(frozen=True)
class _Place:
    """A place that names signers: its name for people, what it says, and whether it is a file."""

    name: str = ""
    says: Configuration = dataclasses.field(default_factory=Configuration)
    file: bool = False

    def keys(self) -> tuple[PublicKey, ...]:
        """Read the keys that it names."""
        try:
            return tuple(PublicKey.read(Path(path), of_settings=self.file) for path in self.says.public_keys)
        except BadInput as error:
            raise BadInput(f"{error}; {self.name} names it") from error


def _of_arguments(trust: Trust) -> Configuration:
    given = tuple(map(str, trust.public_keys))
    return Configuration(require_signature=trust.require_signature or bool(given), public_keys=given)


def _required_by_environment() -> bool:
    asked = os.environ.get(REQUIRE_SIGNATURE, "")
    if asked not in ("", "0", "1"):
        raise BadInput(f"{REQUIRE_SIGNATURE} is '{asked}', and must be 1 or 0")
    return asked == "1"


def _keys_of_environment() -> tuple[str, ...]:
    return tuple(path for path in os.environ.get(PUBLIC_KEYS, "").split(os.pathsep) if path)


def _of_files() -> Iterator[_Place]:
    """Yield the configuration files that exist: the user's, then those of the machine."""
    folders = machine_folders("XDG_CONFIG_DIRS", "/etc/xdg")
    with contextlib.suppress(RuntimeError):  # this user has no home
        folders.insert(0, user_folder("XDG_CONFIG_HOME", ".config"))
    for file in (folder / _FILE for folder in folders):
        content = _content(file)
        if content is not None:
            yield _Place(str(file), _read(file, content), file=True)


def _content(file: Path) -> bytes | None:
    """Returns the content of a file; None if there is none."""
    try:
        return read_settings(file, limits.SETTINGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise user_error(error, file) or error from error


def _read(file: Path, content: bytes) -> Configuration:
    try:
        read = records.read(Configuration, parsed(content))
    except ValueError as error:
        raise BadInput(f"{file}: {error}; correct it, or remove it") from error
    return dataclasses.replace(read, public_keys=tuple(str(file.parent / path) for path in read.public_keys))
