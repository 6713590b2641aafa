"""Whether pip can install tcja-deploy on a Jetson from wheels alone: nothing is built there, and torch is not needed.

    python tools/aarch64_install.py

For the Python and the CUDA of each supported JetPack (`tcja_runtime.machine.jetpack`), pip resolves the dependencies of
pyproject.toml with the extra `events`, the CUDA binding and ONNX Runtime for aarch64, and the wheels it would take are
printed. Nothing is installed. pip takes the wheels of the other Python, but decides by this one which conditional
requirements hold.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib

from tcja_runtime.machine.jetpack import JETPACKS

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
GLIBC = {"22.04": 35, "24.04": 39}
"""Minor version of the GNU C library 2 that an Ubuntu has; wheels for older ones run on it (PEP 600)."""


def systems() -> list[tuple[str, str, str]]:
    """Python, Ubuntu and CUDA binding of the supported JetPacks, each combination once."""
    return list(dict.fromkeys((row.python, row.ubuntu, row.cuda_binding) for row in JETPACKS if row.supported))


def dependencies(*extras: str) -> list[str]:
    """What the base install needs, and these extras beside it."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    needed: list[str] = project["dependencies"]
    return needed + [each for extra in extras for each in project["optional-dependencies"][extra]]


def resolved(python: str, ubuntu: str, requirements: list[str]) -> list[str]:
    """File names of the wheels that pip would install on aarch64.

    Raises:
        SystemExit: there is a requirement that no wheels meet; the text is pip's.
    """
    platforms = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, GLIBC[ubuntu] + 1))]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--disable-pip-version-check", "--report", str(report), "--target", folder]
        command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
        command += [word for platform in platforms for word in ("--platform", platform)]
        done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        installed = json.loads(report.read_text())["install"]
    return sorted(each["download_info"]["url"].rpartition("/")[2] for each in installed)


def main() -> None:
    for python, ubuntu, binding in systems():
        wheels = resolved(python, ubuntu, [*dependencies("events"), binding, "onnxruntime"])
        print(f"Python {python}, Ubuntu {ubuntu}, {binding}: {len(wheels)} wheels")
        print(*(f"  {wheel}" for wheel in wheels), sep="\n")


if __name__ == "__main__":
    main()
