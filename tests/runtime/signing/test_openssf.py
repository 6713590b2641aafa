"""model.sig is compared with what the package model-signing says of it, through its own command."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys

import pytest

from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.signing import openssf
from tcja_runtime.signing.keys import PublicKey
from tcja_runtime.signing.openssf import Identity, Method

from ... import signing

pytestmark = pytest.mark.releases
pytest.importorskip("model_signing", reason="model-signing is not installed")


@pytest.fixture
def bundle(tmp_path):
    """A folder with files, and the hashes of those that are signed."""
    folder = tmp_path / "small.bundle"
    for name in ("manifest.json", "engines/a/model.engine", "weights.bin"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    listed = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("manifest.json", "weights.bin")}
    return folder, listed


def test_model_signing_checks_what_we_signed_and_we_what_it_signed(bundle, tmp_path):
    folder, listed = bundle
    private, public = signing.pem_key(tmp_path)
    key, other = PublicKey.read(public), PublicKey.read(signing.pem_key(tmp_path, "other")[1])
    ours = openssf.sign(listed, folder.name, Method(key=private))
    assert openssf.is_by(listed, ours, key)
    assert not openssf.is_by(listed, ours, other)
    assert not openssf.is_by(listed | {"weights.bin": "0" * 64}, ours, key)
    assert not openssf.is_by(listed | {"more": "0" * 64}, ours, key)
    assert not openssf.is_by({"manifest.json": listed["manifest.json"]}, ours, key)
    assert not openssf.is_by(listed, b"{}", key)
    assert not openssf.is_by(listed, ours, PublicKey.read(signing.pem_key(tmp_path, "ed", "ED25519")[1]))
    assert not openssf.is_by(listed, ours, PublicKey.read(signing.ssh_key(tmp_path)[1]))

    def theirs(*arguments: object) -> str:
        command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        return f"{done.returncode} {done.stdout}{done.stderr}"

    (folder / "model.sig").write_bytes(ours)
    verify = ("verify", "key", folder, "--signature", folder / "model.sig", "--public_key", public)
    assert theirs(*verify, "--ignore_unsigned_files").startswith("0 Verification succeeded")
    (folder / "weights.bin").write_text("changed")
    assert "Hash mismatch for 'weights.bin'" in theirs(*verify, "--ignore_unsigned_files")
    (folder / "weights.bin").write_text("weights.bin")
    shutil.rmtree(folder / "engines")
    assert theirs(*("sign", "key", folder, "--signature", folder / "model.sig", "--private_key", private)).startswith(
        "0"
    )
    assert openssf.is_by(listed, (folder / "model.sig").read_bytes(), key)


def test_a_certificate_is_checked_with_that_of_its_authority(bundle, tmp_path):
    _, listed = bundle
    key, certificate, root = signing.authority(tmp_path)
    (tmp_path / "others").mkdir()
    _, _, stranger = signing.authority(tmp_path / "others")
    signature = openssf.sign(listed, "small.bundle", Method(key=key, certificate=certificate))
    assert openssf.is_by(listed, signature, PublicKey.read(root))
    assert not openssf.is_by(listed, signature, PublicKey.read(stranger))
    assert not openssf.is_by(listed | {"weights.bin": "0" * 64}, signature, PublicKey.read(root))


def test_a_key_that_cannot_sign_is_refused(bundle, tmp_path):
    _, listed = bundle
    private, _ = signing.pem_key(tmp_path, kind="ED25519")
    with pytest.raises(BadInput, match=r"`key` .* cannot make model.sig: .*; it takes a PEM key of the curve P-256"):
        openssf.sign(listed, "small.bundle", Method(key=private))
    _, certificate, _ = signing.authority(tmp_path)
    other, _ = signing.pem_key(tmp_path, "other")
    with pytest.raises(BadInput, match="The public key from the certificate does not match"):
        openssf.sign(listed, "small.bundle", Method(key=other, certificate=certificate))


def test_sigstore_that_cannot_be_reached_is_said(bundle, tmp_path, monkeypatch):
    _, listed = bundle
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match="Sigstore cannot make model.sig: .*; it needs the network and a token"):
        openssf.sign(listed, "small.bundle", Method(token="x"))
    with pytest.raises(Unavailable, match="what Sigstore trusts cannot be fetched: .*"):
        openssf.is_by(listed, b"{}", Identity("a@b.example", "https://accounts.example"))
