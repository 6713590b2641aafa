"""Signatures beside a file, such as manifest.json.sig, which `ssh-keygen` or `openssl` makes and checks.

Everybody can check them without tcja-deploy:

    echo "tcja-deploy $(cat release.pub)" > signers
    ssh-keygen -Y verify -f signers -I tcja-deploy -n tcja-deploy -s manifest.json.sig < manifest.json
    openssl pkeyutl -verify -pubin -inkey release.pub.pem -rawin -in manifest.json -sigfile manifest.json.sig

The first form is a text of OpenSSH (PROTOCOL.sshsig), whose namespace is "tcja-deploy". The second is the bytes of the
signature alone: ECDSA or RSA (PKCS #1 v1.5) of the SHA-256, which `openssl dgst -sha256` checks, too, or Ed25519.
"""

from __future__ import annotations

from pathlib import Path

from tcja_runtime.errors import BadInput
from tcja_runtime.signing.keys import KeyKind, PublicKey, private_kind
from tcja_runtime.signing.programs import in_memory, run, said

NAMESPACE = "tcja-deploy"
SUFFIX = ".sig"
_SSH = b"-----BEGIN SSH SIGNATURE-----"


def sign(content: bytes, key: Path) -> bytes:
    """Returns the signature of bytes. A key with a passphrase is asked for on the terminal.

    Args:
        content: the bytes to sign.
        key: a private key of OpenSSH or in PEM; or a public key of OpenSSH whose private key ssh-agent has.

    Raises:
        BadInput: the key cannot be read, or cannot sign.
        Unavailable: `ssh-keygen` or `openssl` is missing.
    """
    if private_kind(key) is KeyKind.SSH:
        done = run(["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE], content)
    else:
        with in_memory(content) as file:
            done = run(["openssl", "pkeyutl", "-sign", "-inkey", str(key), "-rawin", "-in", file])
    if done.returncode or not done.stdout:
        needs = "it must be a private key that this user can read; a passphrase needs a terminal"
        raise BadInput(f"`key` {key} cannot sign: {said(done)}; {needs}")
    return done.stdout


def kind(signature: bytes) -> KeyKind:
    """Returns the kind of the key that made a signature."""
    return KeyKind.SSH if signature.startswith(_SSH) else KeyKind.PEM


def is_by(content: bytes, signature: bytes, key: PublicKey) -> bool:
    """Whether a signature of bytes was made with the private key of a public key.

    Raises:
        Unavailable: `ssh-keygen` or `openssl` is missing.
    """
    if key.kind is not kind(signature):
        return False
    if key.kind is KeyKind.SSH:
        allowed = f'{NAMESPACE} namespaces="{NAMESPACE}" '.encode() + key.content + b"\n"
        with in_memory(allowed) as signers, in_memory(signature) as file:
            named = ["-I", NAMESPACE, "-n", NAMESPACE]
            return run(["ssh-keygen", "-Y", "verify", "-f", signers, *named, "-s", file], content).returncode == 0
    with in_memory(content) as data, in_memory(signature) as file, in_memory(key.content) as public:
        given = ["-rawin", "-in", data, "-sigfile", file]
        return run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, *given]).returncode == 0
