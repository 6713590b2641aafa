"""The engines of a bundle: which of them may be loaded on this machine, and why not.

An engine is native code, so it is loaded only if its hash is known, and only where it was built for: an engine of full
TensorRT is tied to one version of it and one GPU, unless it was built to be compatible
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html, "Version Compatibility",
"Hardware Compatibility"). engine.json, beside it, says what it was built with.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from tcja_runtime.bundle.bundle import ENGINES, MODEL, PLAIN_MODEL, Bundle, sha256
from tcja_runtime.bundle.manifest import check_sidecar
from tcja_runtime.choices import ENGINE_TARGETS
from tcja_runtime.errors import BadInput, TcjaError, Unavailable
from tcja_runtime.machine.gpu import Gpu, gpu

ENGINE, SIDECAR = "model.engine", "engine.json"
_AMPERE = 80


@dataclasses.dataclass(frozen=True)
class Engine:
    """An engine of a bundle.

    Attributes:
        bundle: its path, for messages.
        name: of its folder.
        sidecar: what engine.json says of it.
    """

    bundle: Path
    name: str
    sidecar: dict[str, Any]

    @property
    def file(self) -> Path:
        """Its plan."""
        return self.bundle / ENGINES / self.name / ENGINE

    @property
    def target(self) -> str:
        """The target that it was built for, one of `tcja_runtime.choices.ENGINE_TARGETS`."""
        return next(name for name, module in ENGINE_TARGETS.items() if module == self.sidecar["module"])

    @property
    def plugin(self) -> str | None:
        """Which form of the plugin it has (`tcja_runtime.tensorrt.plugin`); None for none."""
        return (self.sidecar.get("plugin") or {}).get("form")

    def plan(self) -> bytes:
        """The engine itself, if its every byte is as it was built.

        Raises:
            BadInput: it was changed, cut off or is missing.
        """
        try:
            content = self.file.read_bytes()
        except OSError as error:
            raise BadInput(f"{self.file} cannot be read: {error.strerror}; {self._again}") from error
        if len(content) != self.sidecar["bytes"]:
            raise BadInput(
                f"{self.file} has {len(content)} bytes, it was built with {self.sidecar['bytes']}; {self._again}"
            )
        if hashlib.sha256(content).hexdigest() != self.sidecar["sha256"]:
            raise BadInput(f"{self.file} was changed after it was built; {self._again}")
        return content

    def refusal(self) -> TcjaError | None:
        """Why this machine cannot load it, with the command that makes one that it can; None if it can."""
        built, model = str(self.sidecar["version"]), self.sidecar["model_sha256"]
        if model != sha256(self.bundle / (MODEL if self.plugin else PLAIN_MODEL)):
            return Unavailable(f"engine {self.name} was built from another model than this bundle's; {self._again}")
        try:
            here = str(require(self.sidecar["module"]).__version__)
        except Unavailable as error:
            return Unavailable(f"engine {self.name} cannot be loaded: {error}")
        later = (
            self.sidecar["version_compatible"] and _major(here) == _major(built) and _ordered(here) >= _ordered(built)
        )
        if here != built and not later:
            return Unavailable(
                f"engine {self.name} was built with {self.target} {built}, this machine has {here}; {self._again}"
            )
        found = gpu()
        if found is None:
            return Unavailable(
                f"engine {self.name} was built for {self.sidecar['device']}, and no GPU was found on this machine: run "
                f"it, or 'tcja-deploy build {self.bundle}', on one that has it"
            )
        if not self._fits(found):
            again = self._build("tensorrt")  # TensorRT-RTX would build the same once more
            return Unavailable(
                f"engine {self.name} was built for {self.sidecar['device']}, this is {found.slug}; {again}"
            )
        return None

    def _fits(self, found: Gpu) -> bool:
        device, hardware = str(self.sidecar["device"]), self.sidecar.get("hardware")
        if self.target == "tensorrt-rtx":  # which names the generations it was compiled for
            generations = [int(sm) for sm in re.findall(r"sm(\d+)", device)]
            return int(found.sm) in generations or int(found.sm) > max(generations, default=1000)
        if hardware == "AMPERE_PLUS":
            return int(found.sm) >= _AMPERE
        if hardware == "SAME_COMPUTE_CAPABILITY":
            return device.endswith(f"-sm{found.sm}")
        return device == found.slug

    @property
    def _again(self) -> str:
        return self._build(self.target)

    def _build(self, target: str) -> str:
        return f"run 'tcja-deploy build {self.bundle} --target {target}' here"


def engines(bundle: Bundle, *, trust_engine: bool = False) -> list[Engine]:
    """A bundle's engines, the last built first.

    Args:
        bundle: opened, with or without engines that its manifest does not know.
        trust_engine: whether to take those too that its manifest does not know, after what is beside them.

    Raises:
        BadInput: what is beside such an engine is damaged.
    """
    known = bundle.manifest.engines
    if trust_engine:
        found = sorted((bundle.path / ENGINES).glob(f"*/{SIDECAR}"))
        known = known | {file.parent.name: _sidecar(file) for file in found}
    return [Engine(bundle.path, name, sidecar) for name, sidecar in reversed(known.items())]


def require(module: str) -> Any:
    """The Python module of an installed TensorRT.

    Raises:
        Unavailable: it, or a library that it needs, is missing.
    """
    target = next(name for name, its in ENGINE_TARGETS.items() if its == module)
    if importlib.util.find_spec(module) is None:
        raise Unavailable(f"{target} is not installed: run 'pip install {target}'; on a Jetson JetPack has it")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unavailable(f"{target} cannot be imported: {error}") from error


def _sidecar(file: Path) -> dict[str, Any]:
    try:
        sidecar: dict[str, Any] = json.loads(file.read_bytes())
        check_sidecar(sidecar)
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} is damaged ({error}); remove {file.parent}") from error
    return sidecar


def _major(version: str) -> int:
    return _ordered(version)[0]


def _ordered(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]
