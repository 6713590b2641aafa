"""Writes requirements.txt: what CI installs, with the hashes of all files of each version.

    python tools/lock.py WHEEL... > requirements.txt     # needs uv; WHEEL is a CPU build of PyTorch

The versions are those of constraints.txt, with all that they need, for every Python that pyproject.toml allows. PyTorch
is not taken from the package index, whose builds for Linux need CUDA: its hashes are those of the wheels that are
given. A Python without such a wheel installs without hashes.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("export", "rtx", "events", "images", "dev")
HEAD = """\
# What CI installs, with hashes (make HASHES=1); made by tools/lock.py. PyTorch: the CPU builds that are named last.
"""
_TORCH = """\
[[dependency-metadata]]
name = "torch"
version = "{version}"
requires-dist = ["filelock", "typing-extensions", "setuptools", "sympy", "networkx", "jinja2", "fsspec"]
"""
"""What the CPU builds need, which the package index does not say."""


def torch(wheel: Path) -> str:
    """Return the line of a wheel of PyTorch."""
    _, version, tag, *_ = wheel.name.split("-")
    minor = int(tag.removeprefix("cp3"))
    python = f"python_full_version >= '3.{minor}' and python_full_version < '3.{minor + 1}'"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"torch=={version.partition('+')[0]} ; {python} \\\n    --hash=sha256:{digest}\n"


def resolved() -> str:
    """Return the lines of all packages but PyTorch."""
    version = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert version is not None  # noqa: S101  # constraints.txt has it
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "uv.toml"
        settings.write_text(_TORCH.format(version=version[1]))
        command = ["uv", "pip", "compile", "--quiet", "--config-file", str(settings), "--universal"]
        command += ["--python-version", "3.10", "--generate-hashes", "--no-header", "--no-annotate"]
        command += ["--no-emit-package", "torch", "--constraints", "constraints.txt", "pyproject.toml"]
        command += [word for extra in EXTRAS for word in ("--extra", extra)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def main() -> int:
    """Print the file."""
    wheels = sorted(map(Path, sys.argv[1:]))
    sys.stdout.write(HEAD + re.sub(r"^#.*\n", "", resolved(), flags=re.MULTILINE) + "".join(map(torch, wheels)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
