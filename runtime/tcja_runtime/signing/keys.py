"""Keys: what kind of key a file holds, and the fingerprint by which people know a public key.

A key of OpenSSH is a line "ssh-ed25519 AAAA... comment" (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"). A key of OpenSSL is
a PEM text "-----BEGIN PUBLIC KEY-----" (RFC 7468, section 13). A certificate is a PEM text, too (section 5).
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import re
from pathlib import Path

from tcja_runtime.errors import BadInput, user_error
from tcja_runtime.files import limits
from tcja_runtime.files.reading import read_file
from tcja_runtime.signing.settings import read_settings


class KeyKind(enum.Enum):
    """What a file with a key holds; the value names it for people."""

    SSH = "a key of OpenSSH"
    PEM = "a PEM key"
    CERTIFICATE = "a PEM certificate"


@dataclasses.dataclass(frozen=True)
class PublicKey:
    """A public key, or the certificate of an authority.

    Attributes:
        path: its file.
        kind: what the file holds.
        content: the content of the file. Of a key of OpenSSH it is the type and the key, without a comment; of a PEM
            key its block alone.
        fingerprint: "SHA256:" and the SHA-256 of the key in base64, as `ssh-keygen -l` prints it. Of a PEM text the
            hash is that of its DER bytes.
    """

    path: Path
    kind: KeyKind
    content: bytes
    fingerprint: str

    @classmethod
    def read(cls, path: Path, *, of_settings: bool = False) -> PublicKey:
        """Read a public key.

        Args:
            path: the file with the key.
            of_settings: whether a file of settings names it. Then nobody but its owner and its group may write it.

        Raises:
            BadInput: the file cannot be read, is no public key, or holds several.
        """
        text = _text(path, of_settings=of_settings)
        if "PRIVATE KEY-----" in text:
            raise BadInput(f"{path} is a private key, which its owner alone may have; give the public one")
        pem = re.search(r"-----BEGIN (PUBLIC KEY|CERTIFICATE)-----\s(.+?)-----END \1-----", text, re.DOTALL)
        lines = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
        keys = text.count("-----BEGIN PUBLIC KEY-----") if pem else sum(map(_is_ssh, lines))
        if keys > 1:
            raise BadInput(f"{path} holds {keys} keys; give each in a file of its own")
        if pem:
            kind = KeyKind.PEM if pem[1] == "PUBLIC KEY" else KeyKind.CERTIFICATE
            content = pem[0] + "\n" if kind is KeyKind.PEM else text
            return cls(path, kind, content.encode(), _fingerprint(_decoded(pem[2], path)))
        if lines and _is_ssh(lines[0]):
            name, key = lines[0][:2]
            return cls(path, KeyKind.SSH, f"{name} {key}".encode(), _fingerprint(_decoded(key, path)))
        raise BadInput(
            f"{path} is neither a public key of OpenSSH (ssh-keygen makes it, NAME.pub) nor a PEM text "
            "with a public key (openssl pkey -pubout) or a certificate"
        )

    def __str__(self) -> str:
        what = "certificate" if self.kind is KeyKind.CERTIFICATE else "key"
        return f"{what} {self.path.name} ({self.fingerprint})"


def private_kind(path: Path) -> KeyKind:
    """Returns what kind of key signs: a private key's, or that of a public key whose private one ssh-agent has.

    Raises:
        BadInput: the file cannot be read, or is no key that can sign.
    """
    text = _text(path)
    if "-----BEGIN OPENSSH PRIVATE KEY-----" in text or re.match(r"(sk-)?(ssh|ecdsa)-", text):
        return KeyKind.SSH
    if re.search(r"-----BEGIN [A-Z ]*PRIVATE KEY-----", text):
        return KeyKind.PEM
    raise BadInput(f"`key` {path} is no private key of OpenSSH or in PEM; 'ssh-keygen -t ed25519 -f NAME' makes one")


def _text(path: Path, *, of_settings: bool = False) -> str:
    read = read_settings if of_settings else read_file
    try:
        return read(path, limits.SIGNATURE).decode("utf-8", "replace")
    except OSError as error:
        raise user_error(error, path) or error from error


def _is_ssh(words: list[str]) -> bool:
    """Whether the words of a line are those of a public key of OpenSSH."""
    return len(words) > 1 and bool(re.fullmatch(r"(sk-)?(ssh|ecdsa)-[\w@.-]+", words[0]))


def _decoded(text: str, path: Path) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:  # binascii.Error, or characters that are not ASCII
        raise BadInput(f"{path} is damaged: its base64 text is not whole; copy it again") from error


def _fingerprint(encoded: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(encoded).digest()).decode().rstrip("=")
