"""Bundles are signed, and checked with and without tcja-deploy; what is not signed by a trusted key is not taken."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

import tcja_runtime as tcja
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput
from tcja_runtime.files.staging import locked
from tcja_runtime.signing.trust import Trust

from .. import signing
from ..runtime.bundle.sealing import reseal


@pytest.fixture
def name() -> str:
    return "fashion_mnist"


@pytest.fixture
def keys(tmp_path):
    """The private and public key of the one who makes bundles, and the public key of a stranger."""
    return (*signing.ssh_key(tmp_path), signing.ssh_key(tmp_path, "stranger")[1])


def test_a_signature_says_who_made_a_bundle(run, bundle, keys, data, name):
    private, public, stranger = keys
    before = (bundle / "manifest.json").read_bytes()
    code, out, err = run("sign", bundle, "--key", private)
    assert code == 0, err
    assert "has manifest.json.sig" in " ".join(out.split())
    assert (bundle / "manifest.json").read_bytes() == before
    named = ["-f", bundle / "signers", "-I", "tcja-deploy", "-n", "tcja-deploy", "-s", bundle / "manifest.json.sig"]
    (bundle / "signers").write_text(f"tcja-deploy {public.read_text()}")
    assert signing.run("ssh-keygen", "-Y", "verify", *named, given=before).startswith(b"Good")
    (bundle / "signers").unlink()
    code, out, _ = run("verify", bundle, "--public-key", public, "--json")
    assert (code, json.loads(out)["origin"]["signed"]) == (0, True)
    code, _, err = run("run", bundle, data[name], "--public-key", stranger)
    assert code == 2
    assert "is wrong: none of those whom you trust made it (key stranger.pub (SHA256:" in err
    code, _, err = run("sign", bundle, "--key", private)
    assert (code, err.splitlines()[-1]) == (
        2,
        f"error: {bundle} is signed already; to sign it anew, remove manifest.json.sig from it first",
    )


def test_python_requires_signatures_too(run, bundle, keys):
    private, public, stranger = keys
    with pytest.raises(BadInput, match="is not signed, and `public_keys` requires a signature; sign it"):
        tcja.load(bundle, public_keys=public)
    assert run("sign", bundle, "--key", private)[0] == 0
    tcja.load(bundle, public_keys=public).close()
    with pytest.raises(BadInput, match="the signature of .* is wrong"):
        tcja.load(bundle, public_keys=[stranger])
    with pytest.raises(BadInput, match="no public key is known here"):
        tcja.load(bundle, require_signature=True)


def test_a_machine_may_require_signatures(run, bundle, keys, data, name, monkeypatch, tmp_path):
    private, public, _ = keys
    file = tmp_path / "machine" / "tcja-deploy" / "config.json"
    file.parent.mkdir(parents=True)
    shutil.copy(public, file.parent)
    file.write_text(json.dumps({"require_signature": True, "public_keys": [public.name]}))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(file.parents[1]))
    for command in (("run", bundle, data[name]), ("verify", bundle), ("bench", bundle), ("build", bundle)):
        code, _, err = run(*command)
        assert (code, err.splitlines()[-1]) == (
            2,
            f"error: {bundle} is not signed, and {file} requires a signature; sign it ('tcja-deploy sign'), or take a "
            "bundle that is",
        )
    assert "The bundle is not signed. Hashes show that no file" in " ".join(run("inspect", bundle)[1].split())
    assert run("sign", bundle, "--key", private)[0] == 0
    assert run("run", bundle, data[name])[0] == 0
    assert "signed by key release.pub (SHA256:" in " ".join(run("inspect", bundle)[1].split())


def test_the_signature_is_for_the_bytes_that_are_read(bundle, keys, run):
    """Whoever seals a manifest again cannot sign it again."""
    private, public, _ = keys
    assert run("sign", bundle, "--key", private)[0] == 0
    reseal(bundle, labels="text-order")
    assert Bundle.open(bundle).manifest.labels == "text-order"  # without a key, nobody can tell
    with pytest.raises(BadInput, match="the signature of .* is wrong"):
        Bundle.open(bundle, Trust(public_keys=(public,)))


def test_a_bundle_that_another_process_changes_is_not_signed(run, bundle, keys):
    with locked(bundle):
        code, _, err = run("sign", bundle, "--key", keys[0])
    assert (code, err.splitlines()[-1]) == (2, f"error: another process is changing {bundle}; wait for its end")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "a bundle is signed with --key or through --sigstore; give one of them"),
        (["--key", "k", "--sigstore"], "a bundle is signed with --key or through --sigstore; give one of them"),
        (["--sigstore", "--certificate", "c"], "--certificate c is for a --key; give it, too"),
        (["--key", "k", "--certificate-chain", "c"], "--certificate-chain is for a --certificate; give it, too"),
        (["--key", "k", "--identity-token", "t"], "--identity-token is for --sigstore; give it, too, or leave the"),
    ],
)
def test_options_that_do_not_belong_together(run, options, said):
    code, _, err = run("sign", "a.bundle", *options)
    assert code == 2
    assert said in err


@pytest.mark.releases
def test_openssf_signs_and_checks_bundles(run, bundle, tmp_path):
    pytest.importorskip("model_signing", reason="model-signing is not installed")
    private, public = signing.pem_key(tmp_path)
    code, out, err = run("sign", bundle, "--key", private, "--json")
    assert (code, json.loads(out)["files"]) == (0, ["manifest.json.sig", "model.sig"]), err
    command = [sys.executable, "-m", "model_signing", "verify", "key", bundle, "--signature", bundle / "model.sig"]
    checked = signing.run(*command, "--public_key", public, "--ignore_unsigned_files")
    assert checked.startswith(b"Verification succeeded")
    (bundle / "manifest.json.sig").unlink()
    Bundle.open(bundle, Trust(public_keys=(public,)))
    reseal(bundle, labels="text-order")
    with pytest.raises(BadInput, match="the signature of .* is wrong"):
        Bundle.open(bundle, Trust(public_keys=(public,)))
    (bundle / "model.sig").unlink()
    key, certificate, root = signing.authority(tmp_path)
    assert run("sign", bundle, "--key", key, "--certificate", certificate)[0] == 0
    (bundle / "manifest.json.sig").unlink()
    opened = Bundle.open(bundle, Trust(public_keys=(root,)))
    assert str(opened.origin.manifest).startswith("signed by certificate root.crt (SHA256:")
    (bundle / "model.sig").unlink()
    ed, _ = signing.pem_key(tmp_path, "ed", "ED25519")
    code, _, err = run("sign", bundle, "--key", ed)
    assert code == 0
    assert f"model.sig is not written: --key {ed} cannot make model.sig: it is of another kind; it takes" in err


def test_without_model_signing_its_signature_is_not_checked(run, bundle, tmp_path, monkeypatch):
    _, public = signing.pem_key(tmp_path)
    (bundle / "model.sig").write_text("{}")
    monkeypatch.setitem(sys.modules, "model_signing", None)
    for name in [name for name in sys.modules if name.startswith("model_signing.")]:
        monkeypatch.delitem(sys.modules, name)
    code, _, err = run("verify", bundle, "--public-key", public)
    assert code == 3
    assert "is not installed: run pip install 'tcja-deploy[sign]'" in err
    monkeypatch.setenv("TCJA_PUBLIC_KEYS", str(public))
    said = " ".join(run("inspect", bundle)[1].split())
    assert "The bundle is signed; the signature was not checked: model-signing, or a package that it needs, is" in said
