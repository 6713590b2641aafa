"""JetPack, the system of a Jetson: which release is installed, and what belongs to it.

A board says which Jetson Linux (L4T) it runs; JetPack, CUDA, TensorRT and Python follow from that. The rows of
`JETPACKS` are from NVIDIA's release notes and its JetPack archive (https://developer.nvidia.com/embedded/jetpack-archive).
Of 7.2 the sources do not agree which 39.x are early access, so only releases that all of them name are here; whatever
is in no row is unknown, and nothing is concluded of it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

from tcja_runtime.machine.gpu import chip

RELEASE = Path("/etc/nv_tegra_release")
OLDEST_TENSORRT = (10, 3)
"""Older ones do not take the strongly typed networks that engines are built from."""

ORIN, XAVIER, THOR = "tegra234", "tegra194", "tegra264"

_SYSTEM_PACKAGES = Path("/usr/lib")

L4t = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class JetPack:
    """A release, or several that hold the same.

    Attributes:
        name: its number.
        first: the first Jetson Linux of it.
        last: the last one of it; those between belong to it, too.
        cuda: version of CUDA.
        tensorrt: version of TensorRT.
        python: version of the system's Python, the one that JetPack's TensorRT is for.
        ubuntu: version of Ubuntu.
        chips: that it runs on.
    """

    name: str
    first: L4t
    last: L4t
    cuda: str
    tensorrt: str
    python: str
    ubuntu: str
    chips: tuple[str, ...]

    @property
    def supported(self) -> bool:
        """Whether its TensorRT takes the engines that are built here."""
        return tuple(int(part) for part in self.tensorrt.split(".")[:2]) >= OLDEST_TENSORRT

    @property
    def cuda_binding(self) -> str:
        """The CUDA binding that fits, as pip takes it."""
        return f"cuda-bindings=={self.cuda.partition('.')[0]}.*"


_JETPACK_5 = ("11.4", "8.5.2", "3.8", "20.04", (XAVIER, ORIN))
_JETPACK_6 = ("12.6", "10.3", "3.10", "22.04", (ORIN,))
_JETPACK_7 = ("13.0", "10.13.3", "3.12", "24.04", (THOR,))
_JETPACK_7_2 = ("13.2", "10.16.2", "3.12", "24.04", (ORIN, THOR))

JETPACKS = (
    JetPack("5.1", (35, 2, 1), (35, 6, 5), *_JETPACK_5),
    JetPack("6.0", (36, 3, 0), (36, 3, 0), "12.2", "8.6.2", "3.10", "22.04", (ORIN,)),
    JetPack("6.1", (36, 4, 0), (36, 4, 0), *_JETPACK_6),
    JetPack("6.1 rev1", (36, 4, 2), (36, 4, 2), *_JETPACK_6),
    JetPack("6.2", (36, 4, 3), (36, 4, 3), *_JETPACK_6),
    JetPack("6.2.1", (36, 4, 4), (36, 4, 7), *_JETPACK_6),
    JetPack("6.2.2", (36, 5, 0), (36, 5, 0), *_JETPACK_6),
    JetPack("6.2.3", (36, 5, 2), (36, 5, 2), *_JETPACK_6),
    JetPack("7.0", (38, 2, 0), (38, 2, 9), *_JETPACK_7),
    JetPack("7.1", (38, 4, 0), (38, 4, 0), *_JETPACK_7),
    JetPack("7.2", (39, 2, 0), (39, 2, 0), *_JETPACK_7_2),
    JetPack("7.2.1", (39, 2, 1), (39, 2, 1), *_JETPACK_7_2),
    JetPack("7.2.2", (39, 2, 2), (39, 2, 2), *_JETPACK_7_2),
)


@dataclasses.dataclass(frozen=True)
class System:
    """What a Jetson runs.

    Attributes:
        l4t: its Jetson Linux, "36.4.3"; None if the board does not say it in a form that is known.
        jetpack: that belongs to it; None if that is not known.
        chip: "tegra234" for Orin; None if it is not known.
    """

    l4t: str | None
    jetpack: JetPack | None
    chip: str | None

    @property
    def title(self) -> str:
        """For people: "JetPack 6.2 (Jetson Linux 36.4.3)"."""
        name = self.jetpack.name if self.jetpack else "unknown"
        return f"JetPack {name} (Jetson Linux {self.l4t or 'unknown'})"

    @property
    def int8_fails(self) -> bool:
        """Whether int8 networks are known to fail here: TensorRT 10.16.2 on Orin, NVIDIA/TensorRT#4832."""
        return self.chip == ORIN and self.jetpack is not None and self.jetpack.tensorrt == "10.16.2"


def system() -> System | None:
    """What this Jetson runs; None on another machine."""
    try:
        said = RELEASE.read_text()
    except OSError:
        return None
    release = l4t(said)
    return System(release and ".".join(map(str, release)), jetpack(release) if release else None, chip())


def l4t(said: str) -> L4t | None:
    """The release that /etc/nv_tegra_release says: "# R36 (release), REVISION: 4.3, ..." is (36, 4, 3)."""
    found = re.search(r"R(\d+) \(release\), REVISION: (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def jetpack(release: L4t) -> JetPack | None:
    """What a Jetson Linux belongs to; None if that is not known."""
    return next((row for row in JETPACKS if row.first <= release <= row.last), None)


def sees_tensorrt() -> bool:
    """Whether this Python can import the module `tensorrt`."""
    return importlib.util.find_spec("tensorrt") is not None


def has_tensorrt() -> bool:
    """Whether JetPack's own TensorRT is installed for the system's Python, whether or not this Python sees it."""
    return any(_SYSTEM_PACKAGES.glob("python3*/dist-packages/tensorrt"))
