"""Keys that ssh-keygen and openssl make, for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path


def run(*command: object, given: bytes = b"") -> bytes:
    return subprocess.run(list(map(str, command)), input=given, capture_output=True, check=True).stdout


def ssh_key(folder: Path, name: str = "release") -> tuple[Path, Path]:
    """A key of OpenSSH: the files of its private and its public part."""
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name}@example", "-f", folder / name)
    return folder / name, folder / f"{name}.pub"


def pem_key(folder: Path, name: str = "pem", kind: str = "P-256") -> tuple[Path, Path]:
    """A key in PEM: the files of its private and its public part."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    how = ["ED25519"] if kind == "ED25519" else ["EC", "-pkeyopt", f"ec_paramgen_curve:{kind}"]
    run("openssl", "genpkey", "-algorithm", *how, "-out", private)
    run("openssl", "pkey", "-in", private, "-pubout", "-out", public)
    return private, public


def authority(folder: Path) -> tuple[Path, Path, Path]:
    """A key that signs, its certificate, and that of the authority which made it."""
    root_key, root = folder / "root.pem", folder / "root.crt"
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"),
        *("-subj", "/CN=Authority", "-keyout", root_key, "-out", root),
    )
    key, _ = pem_key(folder, "leaf")
    request = run("openssl", "req", "-new", "-key", key, "-subj", "/CN=Release")
    extensions, certificate = folder / "leaf.ext", folder / "leaf.crt"
    extensions.write_text("keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n")
    run(
        *("openssl", "x509", "-req", "-CA", root, "-CAkey", root_key, "-days", "20"),
        *("-extfile", extensions, "-out", certificate),
        given=request,
    )
    return key, certificate, root
