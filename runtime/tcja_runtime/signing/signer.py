"""Who signed a list of files: manifest.json, or the engines that were added to a signed bundle."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.signing import detached, openssf
from tcja_runtime.signing.keys import KeyKind, PublicKey
from tcja_runtime.signing.openssf import Identity
from tcja_runtime.signing.trust import PUBLIC_KEYS, Trusted

ONLY_SIGNED = "Hashes show that no file changed since the list was written; only a signature shows who wrote it."
"""What a hash proves and what only a signature proves, for people."""
_IN_PEM = " in PEM ('ssh-keygen -e -m PKCS8 -f NAME.pub' turns one of OpenSSH into PEM)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statement:
    """A list of files, and what stands beside it.

    Attributes:
        name: the name of the list in the bundle, such as "manifest.json".
        content: its bytes, those that were read.
        detached: the bytes of its signature (`tcja_runtime.signing.detached`); None if there is none.
        openssf: the bytes of model.sig; None if there is none.
        listed: the SHA-256 of each file that model.sig signs, in hexadecimal, by its name in the bundle.
    """

    name: str
    content: bytes
    detached: bytes | None = None
    openssf: bytes | None = None
    listed: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def signed(self) -> bool:
        """Whether there is a signature, right or wrong."""
        return self.detached is not None or self.openssf is not None


class State(enum.Enum):
    """What is known of a list's signature; the value says it to people."""

    UNSIGNED = "not signed"
    UNCHECKED = "signed; no key is trusted here, so the signature was not checked"
    WRONG = "signed, but not by a key that is trusted here, or changed after it was signed"
    TRUSTED = "signed"


@dataclasses.dataclass(frozen=True)
class Signer:
    """What is known of a list's signature.

    Attributes:
        state: whether it is signed, and by a key that the user trusts.
        by: the key, for people; empty unless the user trusts it.
        lacks: the reason why a signature could not be checked, if this machine lacks something; else empty.
    """

    state: State = State.UNSIGNED
    by: str = ""
    lacks: str = ""

    @property
    def trusted(self) -> bool:
        """Whether a key that the user trusts signed the list."""
        return self.state is State.TRUSTED

    def __str__(self) -> str:
        if self.lacks:
            return f"signed; the signature was not checked: {self.lacks}"
        return f"signed by {self.by}" if self.by else self.state.value


def signer(statement: Statement, trusted: Trusted) -> Signer:
    """Returns who signed a list.

    Raises:
        Unavailable: a signature is required, and cannot be checked without a program that this machine lacks.
    """
    if not statement.signed:
        return Signer()
    if not trusted:
        return Signer(State.UNCHECKED)
    lacking: Unavailable | None = None
    for each, is_by in _checks(statement, trusted):
        try:
            if is_by():
                return Signer(State.TRUSTED, str(each))
        except Unavailable as error:  # another signature may be one that can be checked
            lacking = lacking or error
    if lacking is None:
        return Signer(State.WRONG)
    if trusted.required:
        raise lacking
    return Signer(State.UNCHECKED, lacks=str(lacking))


def _checks(statement: Statement, trusted: Trusted) -> Iterator[tuple[PublicKey | Identity, Callable[[], bool]]]:
    """Yield each trusted signer, and a function that says whether a signature is his: the quick ones first."""
    if statement.detached is not None:
        for key in trusted.keys:
            yield key, partial(detached.is_by, statement.content, statement.detached, key)
    if statement.openssf is not None:
        signers: tuple[PublicKey | Identity, ...] = (*trusted.keys, *trusted.identities)
        for each in signers:
            yield each, partial(openssf.is_by, statement.listed, statement.openssf, each)


def check_required(statement: Statement, found: Signer, trusted: Trusted, path: str) -> None:
    """Check that a bundle is signed as the user requires.

    Args:
        statement: the manifest.
        found: who signed it.
        trusted: the signers whom the user trusts.
        path: the path of the bundle, for messages.

    Raises:
        BadInput: a signature is required, and the bundle has none by a signer whom the user trusts.
    """
    if not trusted.required or found.trusted:
        return
    asked = f"{trusted.why} requires a signature"
    if found.state is State.UNSIGNED:
        raise BadInput(f"{path} is not signed, and {asked}; sign it ('tcja-deploy sign'), or take a bundle that is")
    if not trusted:
        raise BadInput(
            f"{path} is signed, and {asked}, but no public key is known here: give `public_keys`, or name them in "
            f"{PUBLIC_KEYS} or in a configuration file"
        )
    named = ", ".join(map(str, (*trusted.keys, *trusted.identities)))
    made_with = detached.kind(statement.detached) if statement.detached is not None else None
    if statement.openssf is None and made_with and all(key.kind is not made_with for key in trusted.keys):
        raise BadInput(
            f"the signature of {path} has the form of those by {made_with.value}, and {asked}, but no such key is "
            f"trusted here ({named}), and it has no {openssf.SIGNATURE}; name the public key of its signer"
            f"{_IN_PEM if made_with is KeyKind.PEM else ''}, or take the bundle from its maker again"
        )
    raise BadInput(
        f"the signature of {path} is wrong: none of those whom you trust made it ({named}), or {statement.name} was "
        "changed after that; take the bundle from its maker again"
    )
