from __future__ import annotations

from pathlib import Path

import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.signing import detached
from tcja_runtime.signing.keys import PublicKey
from tcja_runtime.signing.signer import State, Statement, check_required, signer
from tcja_runtime.signing.trust import Trusted

from ... import signing

CONTENT = b"{}"


@pytest.fixture
def signed(tmp_path) -> tuple[Statement, Trusted, Trusted]:
    """A signed list, the trust in its signer, and that in another one."""
    private, public = signing.ssh_key(tmp_path)
    _, other = signing.ssh_key(tmp_path, "other")
    statement = Statement(name="manifest.json", content=CONTENT, detached=detached.sign(CONTENT, private))
    return statement, *(Trusted(keys=(PublicKey.read(key),), required=True, why="it") for key in (public, other))


def test_the_four_states(signed):
    statement, trusted, others = signed
    unsigned = Statement(name="manifest.json", content=CONTENT)
    found = [signer(unsigned, trusted), signer(statement, Trusted()), signer(statement, others)]
    assert [each.state for each in found] == [State.UNSIGNED, State.UNCHECKED, State.WRONG]
    assert not any(each.trusted for each in found)
    assert str(found[1]) == "signed; no key is trusted here, so the signature was not checked"
    right = signer(statement, Trusted(keys=(*others.keys, *trusted.keys)))
    assert right.trusted
    assert str(right) == f"signed by key release.pub ({trusted.keys[0].fingerprint})"


def test_a_required_signature_is_required(signed):
    statement, trusted, others = signed
    unsigned, path = Statement(name="manifest.json", content=CONTENT), "b"
    check_required(statement, signer(statement, trusted), trusted, path)
    check_required(unsigned, signer(unsigned, Trusted()), Trusted(), path)
    refusals = [
        (unsigned, trusted, "^b is not signed, and it requires a signature; sign it"),
        (
            statement,
            others,
            r"^the signature of b is wrong: none of those whom you trust made it \(key other.pub .*changed",
        ),
        (statement, Trusted(required=True, why="it"), "no public key is known here: give `public_keys`, or name them"),
    ]
    for each, asked, said in refusals:
        with pytest.raises(BadInput, match=said):
            check_required(each, signer(each, asked), asked, path)


def test_a_certificate_checks_no_detached_signature(signed, tmp_path):
    _, _, root = signing.authority(tmp_path)
    trusted = Trusted(keys=(PublicKey.read(Path(root)),), required=True, why="it")
    found = signer(signed[0], trusted)
    assert found.state is State.WRONG
    with pytest.raises(BadInput, match="by a key of OpenSSH, and it requires a signature, but no such key is trusted"):
        check_required(signed[0], found, trusted, "b")


def test_a_key_of_another_kind_is_said(signed, tmp_path):
    """As `ssh-keygen -m PEM` writes a private key in PEM, and its public key in the form of OpenSSH."""
    private, public = signing.pem_key(tmp_path)
    statement = Statement(name="manifest.json", content=CONTENT, detached=detached.sign(CONTENT, private))
    with pytest.raises(BadInput, match=r"by a PEM key, .* \(key release.pub .* in PEM \(.ssh-keygen .*, or take"):
        check_required(statement, signer(statement, signed[1]), signed[1], "b")
    of_ssh = tmp_path / "of_ssh.pub"
    of_ssh.write_bytes(signing.run("ssh-keygen", "-i", "-m", "PKCS8", "-f", public))
    (tmp_path / "again.pem").write_bytes(signing.run("ssh-keygen", "-e", "-m", "PKCS8", "-f", of_ssh))
    assert signer(statement, Trusted(keys=(PublicKey.read(tmp_path / "again.pem"),))).trusted
