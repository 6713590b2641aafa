"""Signing a bundle, so that others can check who made it."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

from tcja_deploy.console import Progress, silent
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.origin.origin import DETACHED, MANIFEST, OPENSSF
from tcja_runtime.errors import BadInput
from tcja_runtime.files.staging import locked, restaged
from tcja_runtime.records import argument, check_arguments
from tcja_runtime.signing import detached, openssf
from tcja_runtime.signing.keys import KeyKind, private_kind
from tcja_runtime.signing.signer import State


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignOptions:
    """How a bundle is signed: with a key, with a key and its certificate, or through Sigstore.

    Attributes:
        key: the private key, of OpenSSH or in PEM; or a public key of OpenSSH whose private key ssh-agent has.
        certificate: the PEM certificate of the key, for model.sig.
        certificate_chain: the PEM certificates between this one and that of the authority.
        sigstore: whether to sign through Sigstore, which needs the network and writes the identity into a public log.
        identity_token: the token of an identity for Sigstore; None takes that of the environment, else it opens a
            browser.
        trust_engine: whether to sign a bundle that has engines of unknown origin.

    Raises:
        BadInput: the options do not belong together.
    """

    key: Path | None = None
    certificate: Path | None = None
    certificate_chain: tuple[Path, ...] = ()
    sigstore: bool = False
    identity_token: str | None = None
    trust_engine: bool = False

    def __post_init__(self) -> None:
        check_arguments(self)
        if (self.key is None) != self.sigstore:
            raise BadInput("a bundle is signed with `key` or through `sigstore`; give one of them")
        if self.certificate and not self.key:
            raise BadInput(f"`certificate` {self.certificate} is for a `key`; give it, too")
        if self.certificate_chain and not self.certificate:
            raise BadInput("`certificate_chain` is for a `certificate`; give it, too")
        if self.identity_token and not self.sigstore:
            raise BadInput("`identity_token` is for `sigstore`; give it, too, or leave the token out")


@dataclasses.dataclass(frozen=True)
class Signed:
    """A bundle that was signed.

    Attributes:
        bundle: its path.
        files: the signatures that were written, by their names in the bundle.
    """

    bundle: Path
    files: tuple[str, ...]


def sign(path: Path | str, options: SignOptions, progress: Progress | None = None) -> Signed:
    """Sign a bundle. Only files with signatures are added to it; manifest.json does not change.

    With a key, manifest.json.sig is written, which `ssh-keygen` or `openssl` checks. model.sig is written, too, with a
    certificate, through Sigstore, or if the package model-signing is installed and takes the key.

    Args:
        path: the folder of the bundle.
        options: how it is signed.
        progress: where progress is shown; None shows nothing.

    Raises:
        BadInput: the bundle is damaged, is signed already, has an engine of unknown origin, is being changed by another
            process, or cannot be written; or the key cannot sign.
        Unavailable: a program, a package or the network is missing.
    """
    path, progress = argument("path", path, Path), progress or silent()
    options = argument("options", options, SignOptions)
    with locked(path):
        with progress.step("check the hashes"):
            opened = Bundle.open(path, check_signature=False)
        _check(opened, options)
        manifest = opened.read(MANIFEST)
        signatures = {}
        if options.key:
            with progress.step("sign the manifest"):
                signatures[DETACHED] = detached.sign(manifest, options.key)
        all_files = _of_all_files(opened, options, progress)
        if all_files is not None:
            signatures[OPENSSF] = all_files
        with restaged(path) as folder:
            for name, content in signatures.items():
                (folder / name).write_bytes(content)
    return Signed(path, tuple(signatures))


def _check(opened: Bundle, options: SignOptions) -> None:
    """Check that a bundle can be signed.

    Raises:
        BadInput: it is signed already, or has an engine of unknown origin.
    """
    origin = opened.origin
    if origin.manifest.state is not State.UNSIGNED:
        there = " and ".join(name for name in (DETACHED, OPENSSF) if (opened.path / name).exists())
        raise BadInput(f"{opened.path} is signed already; to sign it anew, remove {there} from it first")
    added = origin.added.engines if origin.added else {}
    for name, info in opened.manifest.engines.items():
        if name not in added and not options.trust_engine and not origin.of_engine(name, info).known:
            raise BadInput(
                f"engine {name} is of unknown origin, and a signature would say that it is yours; build it here "
                f"('tcja-deploy build {opened.path}'), or pass `trust_engine` if you know where it comes from"
            )


def _of_all_files(opened: Bundle, options: SignOptions, progress: Progress) -> bytes | None:
    """Return the content of model.sig; None if it is not wanted, and cannot be made."""
    method = openssf.Method(
        key=options.key,
        certificate=options.certificate,
        chain=options.certificate_chain,
        token=options.identity_token,
    )
    wanted = options.sigstore or options.certificate is not None
    if not wanted:
        if options.key is None or private_kind(options.key) is KeyKind.SSH:
            return None
        if importlib.util.find_spec("model_signing") is None:
            progress.note(f"{OPENSSF} is not written: model-signing is not installed ({openssf.INSTALL})")
            return None
    try:
        with progress.step("sign the files"):
            return openssf.sign(opened.origin.listed, opened.path.resolve().name, method)
    except BadInput as error:
        if wanted:
            raise
        progress.note(f"{OPENSSF} is not written: {error}")
        return None
