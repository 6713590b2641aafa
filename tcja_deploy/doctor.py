"""What this machine can do, and what to install for the rest."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path

from tcja_deploy.versions import producer, version
from tcja_runtime.machine import gpu
from tcja_runtime.plugin import NEVER_RUN, nvrtc
from tcja_runtime.sessions import onnxruntime

_JETPACK = Path("/etc/nv_tegra_release")
_EXPORT = ("torch", "onnx", "onnxscript", "onnx-graphsurgeon")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing this machine can or cannot do.

    Attributes:
        what: the ability.
        able: whether it is there.
        detail: what it rests on, or what is missing.
        fix: what to run for it; empty if it is there or nothing helps.
    """

    what: str
    able: bool
    detail: str
    fix: str = ""


def examine() -> list[Finding]:
    """Look at this machine without importing anything heavy."""
    return [
        Finding("run tcja-deploy", True, f"{producer()}, Python {platform.python_version()}, {platform.machine()}"),
        _verify(),
        _export(),
        _engine("tensorrt", "build engines for this machine's GPU"),
        _engine("tensorrt-rtx", "build engines for desktop RTX GPUs, without a GPU"),
        _plugin(),
        _device(),
    ]


def _verify() -> Finding:
    what = "verify bundles"
    found = onnxruntime.installed()
    if len(found) > 1:
        return Finding(
            what,
            False,
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other",
            "pip uninstall onnxruntime onnxruntime-gpu, then install one of them",
        )
    if not found:
        return Finding(what, False, "onnxruntime is not installed", "pip install onnxruntime")
    return Finding(what, True, _listed(found))


def _export() -> Finding:
    found = {name: version(name) for name in _EXPORT}
    missing = [name for name, number in found.items() if number is None]
    if missing:
        fix = "pip install 'tcja-deploy[export]'"
        return Finding("export checkpoints", False, f"{', '.join(missing)} not installed", fix)
    return Finding("export checkpoints", True, _listed(found))


def _engine(package: str, what: str) -> Finding:
    number = version(package)
    if number is None:
        return Finding(what, False, f"{package} is not installed", f"pip install {package}")
    if package == "tensorrt" and gpu() is None:
        return Finding(what, False, f"{package} {number} is installed, but its builder needs a GPU")
    return Finding(what, True, f"{package} {number}")


def _plugin() -> Finding:
    what = "build engines with the plugin for this machine's GPU"
    compiler = nvrtc.installed()
    if version("tensorrt") is None:
        return Finding(what, False, f"tensorrt is not installed; {NEVER_RUN}", "pip install tensorrt")
    if compiler is None:
        return Finding(what, False, f"NVRTC is not installed; {NEVER_RUN}", nvrtc.INSTALL)
    if gpu() is None:
        return Finding(what, False, f"NVRTC is {compiler}, but the builder needs a GPU; {NEVER_RUN}")
    return Finding(what, True, f"NVRTC is {compiler}; {NEVER_RUN}, so verify the engine")


def _device() -> Finding:
    found = gpu()
    if found is None:
        return Finding("use a GPU", False, "none was found, so no engine can be run")
    board = f", {_JETPACK.read_text().strip().splitlines()[0]}" if _JETPACK.exists() else ""
    return Finding("use a GPU", True, f"{found.name}, compute capability {found.sm[:-1]}.{found.sm[-1]}{board}")


def _listed(found: dict[str, str] | dict[str, str | None]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items())
