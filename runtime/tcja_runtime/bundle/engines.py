"""The engines of a bundle, and whether this machine can load them.

An engine is native code. So it is loaded only if the bundle lists its hash, only if its origin is known (someone whom
the user trusts signed it, or it was built here), and only on a machine that it was built for. An engine of full
TensorRT (not TensorRT-RTX) is for one version of TensorRT and one type of GPU, unless it was built to be compatible
with more (https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html, "Version
Compatibility", "Hardware Compatibility"). The sidecar of an engine stores the version and the GPU.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import re
from pathlib import Path, PurePosixPath
from typing import Any

from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL, Bundle
from tcja_runtime.bundle.origin.engine_list import ENGINE, ENGINES, engine_file
from tcja_runtime.bundle.origin.origin import UNKNOWN, EngineOrigin
from tcja_runtime.bundle.sidecar import SIDECAR, EngineInfo
from tcja_runtime.choices import ENGINE_TARGETS, Hardware
from tcja_runtime.counting import counted
from tcja_runtime.errors import BadInput, Unavailable, user_error
from tcja_runtime.files.limits import in_bundle
from tcja_runtime.files.reading import names_inside, read_inside
from tcja_runtime.files.text import parsed
from tcja_runtime.machine import jetpack
from tcja_runtime.machine.gpu import Gpu, gpu
from tcja_runtime.machine.versions import too_old

_AMPERE = 80
_PARTS = 3  # of the path of a sidecar: engines, the name of the engine, engine.json


class Unfit(Unavailable):
    """An engine cannot be loaded on this machine.

    Args:
        engine: the name of the engine.
        why: the end of the sentence that begins with the engine, for a user who asked for it.
        reason: the reason without alarm, for a user who did not ask for it; if empty, it is `why`.

    Attributes:
        reason: the reason, such as "it was built for orin-sm87, this is thor-sm110".
        not_run: a line that says that the engine is skipped, and the reason.
    """

    def __init__(self, engine: str, why: str, reason: str = "") -> None:
        super().__init__(f"engine {engine} {why}")
        self.reason = reason or f"it {why}"
        self.not_run = f"engine {engine} skipped: {self.reason}"


class UnknownOrigin(BadInput):
    """An engine is not loaded, as nobody whom the user trusts signed it, and this user did not build it here.

    Args:
        engine: the name of the engine.
        build: the command that builds it here.

    Attributes:
        reason: the reason, without the engine.
        not_run: a line that says that the engine is skipped, the reason, and what to do.
    """

    def __init__(self, engine: str, build: str) -> None:
        self.reason = "its origin is unknown"
        why = f"{UNKNOWN}: no key that is trusted here signed it, and this user did not build it here"
        what = f"{build}, or pass `trust_engine` if you trust where it comes from"
        super().__init__(f"engine {engine} is {why}; {what}")
        self.not_run = f"engine {engine} skipped: it is {why}; {what}"


@dataclasses.dataclass(frozen=True)
class Engine:
    """An engine on disk.

    Attributes:
        folder: the folder with the engine and its sidecar, BUNDLE/engines/NAME.
        info: the content of the sidecar.
        model_sha256: the sha256 of the model that an engine of its bundle is built from; empty if it is not known.
        origin: what is known of where it comes from.
        trusted: whether the user loads it even if nothing is known of that.
        bundle_sha256: the hash of what was exported, `Bundle.sha256` of its bundle; empty if it is not known.
    """

    folder: Path
    info: EngineInfo
    model_sha256: str = ""
    origin: EngineOrigin = UNKNOWN
    trusted: bool = False
    bundle_sha256: str = ""

    @property
    def name(self) -> str:
        """The name of the engine: what it is, such as "orin-sm87-trt10.3.0-fp16"."""
        return self.folder.name

    @property
    def file(self) -> Path:
        """The file model.engine, which contains the serialised engine (TensorRT's "plan")."""
        return self.folder / ENGINE

    @property
    def target(self) -> str:
        """The target that the engine was built for, one of `tcja_runtime.choices.ENGINE_TARGETS`."""
        return next(name for name, module in ENGINE_TARGETS.items() if module == self.info.module)

    def plan(self) -> bytes:
        """Returns the content of model.engine, after its size and hash were compared with those in the sidecar.

        Raises:
            BadInput: the file is missing, or it was changed after it was built.
        """
        try:
            content = read_inside(self._bundle, engine_file(self.name), in_bundle(ENGINE))
        except OSError as error:
            raise BadInput(f"{self.file} cannot be read: {error.strerror}; {self._again}") from error
        if len(content) != self.info.bytes:
            raise BadInput(
                f"{self.file} has {counted(len(content), 'byte')}, it had {self.info.bytes} when it was built; "
                f"{self._again}"
            )
        if hashlib.sha256(content).hexdigest() != self.info.sha256:
            raise BadInput(f"{self.file} was changed after it was built; {self._again}")
        return content

    def refusal(self) -> Unfit | UnknownOrigin | None:
        """Returns an error with the reason why the engine is not loaded here, and what to do; None if it can be loaded.

        An engine that this machine cannot load is an `Unfit` one, whatever its origin is.
        """
        unfit = self._unfit()
        if unfit or self.trusted or self.origin.known:
            return unfit
        return UnknownOrigin(self.name, self._again)

    def _unfit(self) -> Unfit | None:
        if self.info.model_sha256 != self.model_sha256:
            return Unfit(self.name, f"was built from another model than this bundle's; {self._again}")
        found = gpu()
        if self.target == "tensorrt-rtx" and jetpack.system():
            again = f"'tcja-deploy build {self._bundle}' makes one for this board"
            return Unfit(self.name, f"is for desktop RTX GPUs; {again}", f"for desktop RTX GPUs; {again}")
        if found is None:
            return Unfit(
                self.name,
                f"was built for {self.info.device}, and no GPU was found on this machine: run "
                f"it, or 'tcja-deploy build {self._bundle}', on a machine that has that GPU",
                "for a machine with a GPU",
            )
        try:
            here = str(require(self.target).__version__)
        except Unavailable as error:
            return Unfit(self.name, f"cannot be loaded: {error}")
        if not self._takes_version(here):
            return Unfit(
                self.name, f"was built with {self.target} {self.info.version}, this machine has {here}; {self._again}"
            )
        if not self._takes_gpu(found):
            again = self._build_with("tensorrt")  # with TensorRT-RTX, another build is for the same GPUs
            return Unfit(self.name, f"was built for {self.info.device}, this is {found.slug}; {again}")
        return None

    def _takes_version(self, version: str) -> bool:
        here, built = _numbers(version), _numbers(self.info.version)
        return version == self.info.version or (self.info.version_compatible and here[0] == built[0] and here >= built)

    def _takes_gpu(self, found: Gpu) -> bool:
        device, hardware = self.info.device, self.info.hardware
        if self.target == "tensorrt-rtx":  # `device` lists GPU generations, such as "sm80-sm86"
            generations = [int(sm) for sm in re.findall(r"sm(\d+)", device)]
            return int(found.sm) in generations or int(found.sm) > max(generations, default=1000)
        if hardware == Hardware.AMPERE_PLUS.name:
            return int(found.sm) >= _AMPERE
        if hardware == Hardware.SAME_COMPUTE_CAPABILITY.name:
            return device.endswith(f"-sm{found.sm}")
        return device == found.slug

    @property
    def _bundle(self) -> Path:
        return self.folder.parent.parent

    @property
    def _again(self) -> str:
        return self._build_with(self.target)

    def _build_with(self, target: str) -> str:
        return f"run 'tcja-deploy build {self._bundle} --target {target}' here"


def engines(bundle: Bundle) -> list[Engine]:
    """Returns the engines of a bundle, the last built first.

    Args:
        bundle: an opened bundle. If it was opened with `trust_engine`, engines that it does not list are included;
            their sidecars are then read from the files engine.json.

    Raises:
        BadInput: the file engine.json of an engine that the bundle does not list is damaged.
    """
    trust_engine, origin = bundle.origin.trust.trust_engine, bundle.origin
    known, sha256 = bundle.manifest.engines, bundle.sha256
    if trust_engine:
        names = (PurePosixPath(name) for name in _names(bundle))
        found = [name.parent.name for name in names if name.name == SIDECAR and len(name.parts) == _PARTS]
        known = known | {name: _read(bundle, name) for name in found}
    return [
        Engine(
            folder=bundle.path / ENGINES / name,
            info=info,
            model_sha256=bundle.files[MODEL if info.plugin else PLAIN_MODEL]["sha256"],
            origin=origin.of_engine(name, info),
            trusted=trust_engine,
            bundle_sha256=sha256,
        )
        for name, info in reversed(known.items())
    ]


def require(target: str) -> Any:
    """Import the Python module of TensorRT for a target.

    Args:
        target: one of `tcja_runtime.choices.ENGINE_TARGETS`.

    Returns:
        The Python module, `tensorrt` or `tensorrt_rtx`.

    Raises:
        Unavailable: the module, or a library that it needs, is missing.
    """
    module = ENGINE_TARGETS[target]
    if importlib.util.find_spec(module) is None:
        raise Unavailable(f"{target} is not installed for this Python: {jetpack.how_to_get(target)}")
    try:
        found = importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise user_error(error) or error from error
    if old := too_old(target, str(found.__version__)):
        raise Unavailable(f"{old}: install a newer one; on a Jetson, JetPack 6.1 or later has it")
    return found


def _names(bundle: Bundle) -> list[str]:
    """Returns the names of all files of engines, listed or not."""
    try:
        return names_inside(bundle.path, ENGINES)
    except OSError as error:
        raise user_error(error) or error from error


def _read(bundle: Bundle, name: str) -> EngineInfo:
    """Returns the sidecar in the folder of an engine."""
    file = f"{ENGINES}/{name}/{SIDECAR}"
    sidecar = bundle.path / file
    try:
        return EngineInfo.from_dict(parsed(read_inside(bundle.path, file, in_bundle(file))))
    except ValueError as error:
        raise BadInput(f"{sidecar} is damaged: {error}; remove {sidecar.parent}") from error
    except OSError as error:
        raise user_error(error) or error from error


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]
