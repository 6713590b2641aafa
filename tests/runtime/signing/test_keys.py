from __future__ import annotations

import base64
import hashlib

import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.signing.keys import KeyKind, PublicKey, private_kind

from ... import signing


def test_a_key_of_openssh_has_the_fingerprint_that_ssh_keygen_prints(tmp_path):
    private, public = signing.ssh_key(tmp_path)
    read = PublicKey.read(public)
    assert read.kind is private_kind(private) is private_kind(public) is KeyKind.SSH
    assert read.fingerprint == signing.run("ssh-keygen", "-lf", public).split()[1].decode()
    assert str(read) == f"key release.pub ({read.fingerprint})"
    assert b"example" not in read.content


def test_a_pem_key_has_the_fingerprint_of_its_der_bytes(tmp_path):
    private, public = signing.pem_key(tmp_path)
    der = signing.run("openssl", "pkey", "-pubin", "-in", public, "-outform", "DER")
    read = PublicKey.read(public)
    assert read.kind is private_kind(private) is KeyKind.PEM
    assert read.fingerprint == "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


def test_a_certificate_is_told_from_a_key(tmp_path):
    _, certificate, _ = signing.authority(tmp_path)
    assert PublicKey.read(certificate).kind is KeyKind.CERTIFICATE
    assert str(PublicKey.read(certificate)).startswith("certificate leaf.crt (SHA256:")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "is a private key, which its owner alone may have; give the public"),
        ("-----BEGIN PUBLIC KEY-----\nMF%\n-----END PUBLIC KEY-----\n", "is damaged: its base64 text is not whole"),
        ("ssh-ed25519 AAA* me\n", "is damaged: its base64 text is not whole"),
        ("ssh-ed25519 AAA\u00e9 me\n", "is damaged: its base64 text is not whole"),
        ("ssh-ed25519 AAAA a\n# b\nssh-ed25519 AAAB b\n", "holds 2 keys; give each in a file of its own"),
        ("-----BEGIN PUBLIC KEY-----\nMF\n-----END PUBLIC KEY-----\n" * 3, "holds 3 keys; give each in a file of its"),
        ("hello\n", "is neither a public key of OpenSSH (ssh-keygen makes it, NAME.pub) nor a PEM text"),
        ("", "is neither a public key of OpenSSH"),
        ("x" * (2**20 + 1), "has 1,048,577 bytes, and a signature or a key has at most 1,048,576"),
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path, content, said):
    (tmp_path / "a.pub").write_text(content)
    with pytest.raises(BadInput) as refused:
        PublicKey.read(tmp_path / "a.pub")
    assert said in str(refused.value)


def test_what_cannot_sign_is_refused(tmp_path):
    _, public = signing.pem_key(tmp_path)
    with pytest.raises(BadInput, match="is no private key of OpenSSH or in PEM; 'ssh-keygen -t ed25519 -f NAME' makes"):
        private_kind(public)
    with pytest.raises(BadInput, match=r"none\.pem cannot be read or written: No such file"):
        private_kind(tmp_path / "none.pem")
