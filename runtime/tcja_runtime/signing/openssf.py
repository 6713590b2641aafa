"""The signature of OpenSSF, model.sig, which the package model-signing makes and checks.

It signs the list of all files with their SHA-256 (https://github.com/ossf/model-signing-spec), so others check it
without tcja-deploy:

    model_signing verify key BUNDLE --signature BUNDLE/model.sig --public_key release.pub.pem --ignore_unsigned_files

The hashes are those of the bytes that the bundle was opened with, and of the files that its manifest lists. No file is
read a second time.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tcja_runtime.errors import BadInput, Unavailable, first_line, user_error
from tcja_runtime.signing.keys import KeyKind, PublicKey
from tcja_runtime.signing.programs import in_memory

SIGNATURE = "model.sig"
INSTALL = "pip install 'tcja-deploy[sign]'"


@dataclasses.dataclass(frozen=True)
class Identity:
    """A person or a program that signs through Sigstore.

    Attributes:
        identity: the name in the certificate, such as an address of mail, or the URL of a workflow.
        provider: the URL of the OpenID Connect provider that knows the name.
    """

    identity: str
    provider: str

    def __str__(self) -> str:
        return f"{self.identity} of {self.provider}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """How model.sig is made: with a key, with a key and its certificate, or through Sigstore.

    Attributes:
        key: a private key in PEM, of an elliptic curve; None to sign through Sigstore.
        certificate: the certificate of the key; None to sign with the key alone.
        chain: the certificates between this one and that of the authority.
        token: the token of an identity, for Sigstore; None takes that of the environment, else it opens a browser.
    """

    key: Path | None = None
    certificate: Path | None = None
    chain: tuple[Path, ...] = ()
    token: str | None = None


def sign(listed: Mapping[str, str], name: str, method: Method) -> bytes:
    """Returns the content of model.sig.

    Args:
        listed: the SHA-256 of each file, in hexadecimal, by its name in the bundle.
        name: the name of the bundle, for people.
        method: how it is signed.

    Raises:
        BadInput: the key, the certificate or the token cannot sign.
        Unavailable: model-signing is not installed, or Sigstore cannot be reached.
    """
    signing = _module("signing")
    try:
        config = signing.Config()
        if method.key is None:
            config.use_sigstore_signer(identity_token=method.token, use_ambient_credentials=True)
        elif method.certificate is None:
            config.use_elliptic_key_signer(private_key=method.key)
        else:
            config.use_certificate_signer(
                private_key=method.key,
                signing_certificate=method.certificate,
                certificate_chain=method.chain or (method.certificate,),  # it takes no empty chain
            )
        config.set_hashing_config(_Listed(listed))
        with in_memory(b"") as file:
            config.sign(Path(name), Path(file))
            return Path(file).read_bytes()
    except Exception as error:
        if method.key is None:
            said = first_line(error)
            raise Unavailable(f"Sigstore cannot make {SIGNATURE}: {said}; it needs the network and a token") from error
        if isinstance(error, OSError):
            raise user_error(error) or error from error
        why = first_line(error)
        if isinstance(error, AttributeError):  # model-signing asks each key for its curve
            why = "it is of another kind"
        raise BadInput(
            f"`key` {method.key} cannot make {SIGNATURE}: {why}; it takes a PEM key of the curve P-256, P-384 or "
            "P-521, without a passphrase"
        ) from error


def is_by(listed: Mapping[str, str], signature: bytes, signer: PublicKey | Identity) -> bool:
    """Whether a model.sig lists these files with these hashes, and was made by a signer.

    Args:
        listed: the SHA-256 of each file, in hexadecimal, by its name in the bundle.
        signature: the content of model.sig.
        signer: a public key in PEM, the certificate of an authority, or an identity of Sigstore.

    Raises:
        Unavailable: model-signing is not installed, or what Sigstore trusts cannot be fetched.
    """
    if isinstance(signer, PublicKey) and signer.kind is KeyKind.SSH:
        return False
    config = _module("verifying").Config()
    content = signer.content if isinstance(signer, PublicKey) else b""
    with in_memory(signature) as file, in_memory(content) as key:
        try:
            if isinstance(signer, Identity):
                config.use_sigstore_verifier(identity=signer.identity, oidc_issuer=signer.provider)
            elif signer.kind is KeyKind.CERTIFICATE:
                config.use_certificate_verifier(certificate_chain=[key])
            else:
                config.use_elliptic_key_verifier(public_key=key)
        except Exception as error:
            if isinstance(signer, Identity):
                said = first_line(error)
                raise Unavailable(f"what Sigstore trusts cannot be fetched: {said}; it needs the network") from error
            return False  # a key of another kind than model-signing takes, such as Ed25519
        try:
            config.set_hashing_config(_Listed(listed)).verify(Path("bundle"), Path(file))
        except Exception:  # each signer of model-signing raises others; nothing but its return is a proof
            return False
    return True


class _Listed:
    """The hashes of files that have been computed already, in the place of model-signing's `hashing.Config`.

    Args:
        listed: the SHA-256 of each file, in hexadecimal, by its name.
    """

    def __init__(self, listed: Mapping[str, str]) -> None:
        self._listed = listed

    def add_ignored_paths(self, **given: object) -> None:
        """Do nothing: what a signature says of files to leave out is not obeyed."""

    def hash(self, model_path: Path, **given: object) -> Any:  # noqa: ARG002
        """Returns the list as `model_signing.manifest.Manifest`."""
        manifest = _module("manifest")
        kind = manifest.SerializationType.from_args({"method": "files", "hash_type": "sha256", "allow_symlinks": False})
        items = [
            kind.new_item(str(PurePosixPath(name)), _digest(sha256)) for name, sha256 in sorted(self._listed.items())
        ]
        return manifest.Manifest(model_path.name, items, kind)


def _digest(sha256: str) -> Any:
    hashing = _module("_hashing.hashing")
    return hashing.Digest("sha256", bytes.fromhex(sha256))


def _module(name: str) -> Any:
    """Import a module of model-signing.

    Raises:
        Unavailable: the package is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(f"model_signing.{name}")
    except ModuleNotFoundError as error:
        raise Unavailable(f"model-signing, or a package that it needs, is not installed: run {INSTALL}") from error
    except ImportError as error:
        raise user_error(error) or error from error
