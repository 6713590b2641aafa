"""The signatures are compared with what ssh-keygen and openssl say of them, by their own commands."""

from __future__ import annotations

import os

import pytest

from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.signing import detached
from tcja_runtime.signing.keys import PublicKey

from ... import signing

CONTENT = b'{"schema": 6}\n'


def made(kind, folder, name="key"):
    return signing.ssh_key(folder, name) if kind == "ssh" else signing.pem_key(folder, name, kind)


@pytest.mark.parametrize("kind", ["ssh", "P-256", "P-521", "ED25519"])
def test_a_signature_is_by_its_key_alone_and_for_its_bytes_alone(tmp_path, kind):
    private, public = made(kind, tmp_path)
    _, other = made(kind, tmp_path, "other")
    key, signature = PublicKey.read(public), detached.sign(CONTENT, private)
    assert detached.is_by(CONTENT, signature, key)
    assert not detached.is_by(CONTENT, signature, PublicKey.read(other))
    assert not detached.is_by(CONTENT + b" ", signature, key)
    assert not detached.is_by(CONTENT, signature[:-30], key)
    assert not detached.is_by(CONTENT, b"", key)
    flipped = bytearray(signature)
    flipped[len(flipped) // 2] ^= 1
    assert not detached.is_by(CONTENT, bytes(flipped), key)


def test_ssh_keygen_and_openssl_check_the_signatures_by_themselves(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    private, public = signing.ssh_key(tmp_path)
    (tmp_path / "file.sig").write_bytes(detached.sign(CONTENT, private))
    (tmp_path / "signers").write_text(f"tcja-deploy {public.read_text()}")
    named = ["-I", "tcja-deploy", "-n", "tcja-deploy", "-s", tmp_path / "file.sig"]
    said = signing.run("ssh-keygen", "-Y", "verify", "-f", tmp_path / "signers", *named, given=CONTENT)
    assert said.startswith(b'Good "tcja-deploy" signature')
    private, public = signing.pem_key(tmp_path)
    (tmp_path / "file.sig").write_bytes(detached.sign(CONTENT, private))
    given = ["-signature", tmp_path / "file.sig", tmp_path / "file"]
    assert signing.run("openssl", "dgst", "-sha256", "-verify", public, *given) == b"Verified OK\n"


def test_a_signature_of_ssh_for_another_purpose_is_not_taken(tmp_path):
    """The namespace keeps a signature of an e-mail or of a commit from being one of a bundle."""
    private, public = signing.ssh_key(tmp_path)
    signature = signing.run("ssh-keygen", "-q", "-Y", "sign", "-f", private, "-n", "file", given=CONTENT)
    assert not detached.is_by(CONTENT, signature, PublicKey.read(public))


def test_a_key_that_cannot_sign_says_why(tmp_path):
    private, _ = signing.pem_key(tmp_path)
    private.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(
        BadInput,
        match=r"`key` .*pem\.pem cannot sign: .*; it must be a private key that this user can read",
    ):
        detached.sign(CONTENT, private)
    private, _ = signing.ssh_key(tmp_path)
    private.chmod(0o644)
    if os.geteuid() == private.stat().st_uid:
        with pytest.raises(BadInput, match="cannot sign: .*; it must be a private key that this user can read"):
            detached.sign(CONTENT, private)


def test_a_missing_or_old_program_is_named(tmp_path, monkeypatch):
    private, public = signing.ssh_key(tmp_path)
    signature = detached.sign(CONTENT, private)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="ssh-keygen is not installed: run 'apt-get install openssh-client'"):
        detached.is_by(CONTENT, signature, PublicKey.read(public))
    (tmp_path / "ssh-keygen").write_text("#!/bin/sh\necho unknown option -- Y >&2; exit 1\n")
    (tmp_path / "ssh-keygen").chmod(0o755)
    with pytest.raises(Unavailable, match=r"too old to sign and check files: unknown option -- Y"):
        detached.is_by(CONTENT, signature, PublicKey.read(public))
