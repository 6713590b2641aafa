"""The abilities of this machine: what tcja-deploy can do on it, and what to install for the rest."""

from __future__ import annotations

import dataclasses
import importlib.util
import platform
from collections.abc import Mapping

from tcja_deploy.packages import EXTRAS, producer
from tcja_runtime import extensions
from tcja_runtime.backends import onnxruntime
from tcja_runtime.bundle.origin import built_here
from tcja_runtime.choices import ENGINE_TARGETS
from tcja_runtime.counting import counted
from tcja_runtime.data.images import decoding
from tcja_runtime.errors import BadInput
from tcja_runtime.events import FORMATS
from tcja_runtime.events.formats import registry
from tcja_runtime.machine import jetpack
from tcja_runtime.machine.conditions import power_mode
from tcja_runtime.machine.gpu import free_memory, gpu, gpu_clocks, swap
from tcja_runtime.machine.jetpack import System
from tcja_runtime.machine.versions import OLDEST, too_old, version
from tcja_runtime.signing import programs
from tcja_runtime.signing.trust import Trust, Trusted
from tcja_runtime.tensorrt.plugin import NEVER_RUN, nvrtc


@dataclasses.dataclass(frozen=True)
class Finding:
    """An ability that this machine has or lacks.

    Attributes:
        what: the ability, such as "verify bundles".
        able: whether this machine has it.
        detail: the versions of the packages and devices that give the ability, or the thing that is missing.
        fix: the command or step that adds the ability; empty if the machine has it, or if nothing can add it.
    """

    what: str
    able: bool
    detail: str
    fix: str = ""


def examine() -> list[Finding]:
    """Return the findings on this machine. torch, onnx and TensorRT are searched for, but not imported."""
    return [
        Finding("run tcja-deploy", True, f"{producer()}, Python {platform.python_version()}, {platform.machine()}"),
        _verify(),
        _export(),
        _engine("tensorrt", "build engines for this machine's GPU"),
        _engine("tensorrt-rtx", "build engines for desktop RTX GPUs, without a GPU"),
        _plugin(),
        _device(),
        _run_engines(),
        *_recordings(),
        _package("read pictures (PNG, JPEG)", decoding.PACKAGE),
        _package("export NIR graphs", "nir"),
        *_signatures(),
        _built_here(),
        *_extensions(),
        *_board(),
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
    return _dated(what, found, f"pip install -U {next(iter(found))}")


def _dated(what: str, found: Mapping[str, str], fix: str) -> Finding:
    """Return that this machine has an ability, unless one of its packages, given with their versions, is too old."""
    old = [words for name, number in found.items() if (words := too_old(name, number))]
    return Finding(what, False, "; ".join(old), fix) if old else Finding(what, True, _listed(found))


def _export() -> Finding:
    what, found = "export checkpoints", {name: version(name) for name in EXTRAS["export"]}
    missing = [name for name, number in found.items() if number is None]
    if missing:
        fix = "pip install 'tcja-deploy[export]'"
        return Finding(what, False, f"{', '.join(missing)} not installed", fix)
    return _dated(what, {name: number or "" for name, number in found.items()}, "pip install -U 'tcja-deploy[export]'")


def _engine(package: str, what: str) -> Finding:
    number, system = _tensorrt(package), jetpack.system()
    if system and package == "tensorrt-rtx":
        return Finding(what, False, "for desktop RTX GPUs; a board builds its own engines with tensorrt")
    if number is None:
        fix = _VENV if system else f"pip install {package}"
        return Finding(what, False, f"{package} is not installed for this Python", fix)
    if old := too_old(package, number):
        return Finding(what, False, old, "" if system else f"pip install -U {package}")
    if package == "tensorrt" and gpu() is None:
        return Finding(what, False, f"{package} {number} is installed, but its builder needs a GPU")
    return Finding(what, True, f"{package} {number}")


def _plugin() -> Finding:
    what = "build engines with the plugin for this machine's GPU"
    compiler = nvrtc.installed()
    if _tensorrt("tensorrt") is None:
        fix = _VENV if jetpack.system() else "pip install tensorrt"
        return Finding(what, False, f"tensorrt is not installed for this Python; {NEVER_RUN}", fix)
    if compiler is None:
        return Finding(what, False, f"NVRTC is not installed; {NEVER_RUN}", nvrtc.INSTALL)
    if gpu() is None:
        return Finding(what, False, f"NVRTC is {compiler}, but the builder needs a GPU; {NEVER_RUN}")
    return Finding(what, True, f"NVRTC is {compiler}; {NEVER_RUN}, so verify the engine")


def _device() -> Finding:
    found = gpu()
    if found is None:
        return Finding("use a GPU", False, "no GPU was found, so no engine can run")
    return Finding("use a GPU", True, f"{found.name}, compute capability {found.sm[:-1]}.{found.sm[-1]}")


def _recordings() -> list[Finding]:
    """Return the findings on formats of recordings: one for all that need only numpy, one for each needed package."""
    alone = [each.title for each in FORMATS.values() if each.package is None]
    found = [Finding("read event recordings", True, f"with numpy alone: {'; '.join(alone)}")]
    for each in FORMATS.values():
        needed = {
            f"read {each.title}": each.package,
            f"read {each.title}, if compressed with blosc, zstd and others": each.codecs,
        }
        found += [_package(what, package) for what, package in needed.items() if package is not None]
    return found


def _signatures() -> list[Finding]:
    """Return what can check signatures here, and whose signatures are trusted."""
    found = [
        Finding(
            f"check signatures with {program}",
            programs.installed(program),
            f"{kind} keys" if programs.installed(program) else f"{program} is not installed",
            "" if programs.installed(program) else programs.how_to_install(program),
        )
        for program, kind in (("ssh-keygen", "OpenSSH"), ("openssl", "PEM"))
    ]
    what = "know whose bundles to trust"
    try:
        trusted = Trusted.of(Trust())
    except BadInput as error:
        return [*found, Finding(what, False, str(error), "correct the configuration")]
    if not trusted:
        fix = "docs/how-to/signing.md shows how to name public keys"
        return [*found, Finding(what, False, f"no public key is named here{_required(trusted)}", fix)]
    named = ", ".join(map(str, (*trusted.keys, *trusted.identities)))
    return [*found, Finding(what, True, f"{named}{_required(trusted)}")]


def _required(trusted: Trusted) -> str:
    return f"; {trusted.why} requires a signature" if trusted.required else "; no signature is required"


def _built_here() -> Finding:
    what, file = "know the engines that were built here", built_here.file()
    if file is None:
        return Finding(what, False, "this user has no home folder for the list", "set XDG_STATE_HOME")
    try:
        return Finding(what, True, f"{counted(len(built_here.known()), 'engine')} in {file}")
    except BadInput as error:
        return Finding(what, False, str(error), f"rm {file}")


def _extensions() -> list[Finding]:
    """Return a finding for each thing that an extension adds. Extensions are not imported."""
    found = []
    for each in (each for kind in extensions.GROUPS for each in extensions.installed(kind)):
        what, detail, fix = f"use the {each.kind} {each.name}", f"{each.package} {each.version} adds it", ""
        try:
            extensions.find(each.kind, each.name, registry.OURS if each.kind == registry.KIND else ())
        except BadInput as error:
            detail, fix = str(error), f"pip uninstall {each.package}"
        found.append(Finding(what, not fix, detail, fix))
    return found


def _package(what: str, package: str) -> Finding:
    """Return the finding on an ability that one package gives."""
    number = version(package)
    if number is None:
        return Finding(what, False, f"{package} is not installed", f"pip install {package}")
    return _dated(what, {package: number}, f"pip install -U {package}")


def _tensorrt(package: str) -> str | None:
    """Return the version of a TensorRT package, "tensorrt" or "tensorrt-rtx"; None if this Python does not find it."""
    if importlib.util.find_spec(ENGINE_TARGETS[package]) is None:
        return None
    return version(package) or "of unknown version"


def _run_engines() -> Finding:
    """Return whether engines can run: they need a GPU, TensorRT's Python module and NVIDIA's CUDA binding."""
    what, system = "run engines on the GPU", jetpack.system()
    numbers = {package: _tensorrt(package) for package in ENGINE_TARGETS}
    found = [name for name, number in numbers.items() if number and not too_old(name, number)]
    binding, wanted = version("cuda-bindings"), _binding(system)
    if gpu() is None:
        return Finding(what, False, "no GPU was found")
    if not found:
        old = [words for name, number in numbers.items() if number and (words := too_old(name, number))]
        detail = "; ".join(old) or "no TensorRT is installed for this Python"
        return Finding(what, False, detail, _VENV if system and not old else "")
    if binding is None:
        return Finding(what, False, "NVIDIA's CUDA binding is not installed", wanted)
    if outdated := too_old("cuda-bindings", binding):
        return Finding(what, False, outdated, wanted)
    if system and system.jetpack and binding.partition(".")[0] != system.jetpack.cuda.partition(".")[0]:
        detail = f"cuda-bindings {binding} is for another CUDA; {system.title} has CUDA {system.jetpack.cuda}"
        return Finding(what, False, detail, wanted)
    return Finding(what, True, f"{', '.join(found)} through cuda-bindings {binding}")


def _binding(system: System | None) -> str:
    """Return the command that installs the CUDA binding for this machine's CUDA."""
    known = system.jetpack if system else None
    if known:
        return f'pip install "{known.cuda_binding}"'
    return 'pip install "cuda-bindings==12.*" for CUDA 12, "cuda-bindings==13.*" for CUDA 13'


def _board() -> list[Finding]:
    """Return the findings that only a Jetson has; an empty list on another machine."""
    system = jetpack.system()
    if system is None:
        return []
    return [
        _jetpack(system),
        _system_tensorrt(system),
        _memory(),
        _power(),
        *([_INT8] if system.int8_fails(_tensorrt("tensorrt")) else []),
    ]


_UNTRIED = "no release of tcja-deploy has been run on a Jetson yet"
_VENV = f"{jetpack.SEES_SYSTEM}, which sees JetPack's TensorRT; install tcja-deploy in it"
_INT8 = Finding(
    "build every int8 network",
    False,
    'TensorRT 10.16.2 on Orin refuses some, "Could not infer output types for operation: dequantize" '
    "(NVIDIA/TensorRT#4832)",
    "if 'tcja-deploy build' prints this error: tcja-deploy export --precision fp16",
)


def _jetpack(system: System) -> Finding:
    what, known = "use JetPack's TensorRT", system.jetpack
    if known is None:
        detail = f"{system.title}: its versions of CUDA and TensorRT are not in the table; {_UNTRIED}"
        return Finding(what, False, detail, "compare it with the table in docs/how-to/jetson.md")
    has = f"{system.title} has CUDA {known.cuda}, TensorRT {known.tensorrt}, Python {known.python}"
    if known.supported:
        more = "; NVIDIA supports TensorRT 11.4.1 here, too" if system.takes_tensorrt_11 else ""
        return Finding(what, True, f"{has}{more}; {_UNTRIED}")
    newer = [row.name for row in jetpack.JETPACKS if row.supported and system.chip in row.chips]
    oldest = ".".join(map(str, OLDEST["tensorrt"]))
    fix = f"install JetPack {newer[0]} or later" if newer else "run models in ONNX Runtime; NVIDIA has no newer JetPack"
    return Finding(what, False, f"{has}; engines need TensorRT {oldest} or later", fix)


def _system_tensorrt(system: System) -> Finding:
    what, here = "see JetPack's TensorRT from this Python", ".".join(platform.python_version_tuple()[:2])
    if number := _tensorrt("tensorrt"):
        if not system.supports(number):
            supported = "NVIDIA supports TensorRT 11 from 11.4.1 on, with JetPack 7.2.2 or later, on AGX Orin and Thor"
            detail = f"tensorrt {number} is not JetPack's; {supported}"
            return Finding(what, False, detail, f"remove it, and use JetPack's: {jetpack.SEES_SYSTEM}")
        return Finding(what, True, f"tensorrt {number}, Python {here}")
    if not jetpack.has_tensorrt():
        return Finding(what, False, "it is not installed", "sudo apt-get install python3-libnvinfer")
    if system.jetpack and system.jetpack.python != here:
        detail = f"this is Python {here}, JetPack's TensorRT is for {system.jetpack.python}"
        return Finding(what, False, detail, f"python{system.jetpack.python} -m venv --system-site-packages .venv")
    return Finding(what, False, "this environment does not see the system's packages", _VENV)


def _memory() -> Finding:
    free, swapped = free_memory(), swap()
    detail = f"{_gib(free)} of memory and {_gib(swapped and swapped[0])} of swap are free"
    if swapped and not swapped[1]:
        fix = "add swap as docs/how-to/jetson.md shows"
        return Finding("swap while building", False, f"{detail}; a build that needs more memory is killed", fix)
    return Finding("swap while building", True, detail)


def _power() -> Finding:
    mode, clocks = power_mode(), gpu_clocks()
    gpu_clock = f"the GPU's clock is {clocks[0]} MHz of {clocks[1]}" if clocks else "the GPU's clock is not known"
    if mode is None:
        detail = f"'nvpmodel -q' does not print it; {gpu_clock}"
        return Finding("read the power mode", False, detail, "sudo nvpmodel -q")
    return Finding("read the power mode", True, f"{mode}, {gpu_clock}")


def _gib(count: int | None) -> str:
    return "an unknown amount" if count is None else f"{count / 2**30:.1f} GiB"


def _listed(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items())
