"""JetPack, the system of a Jetson: the release that is installed, and the versions of CUDA, TensorRT and Python in it.

The release of Jetson Linux (L4T) is read from a file of the board. The versions of JetPack, CUDA, TensorRT and Python
for this release are in the table `JETPACKS`. Its rows are from NVIDIA's release notes and JetPack archive
(https://developer.nvidia.com/embedded/jetpack-archive). For JetPack 7.2 these sources disagree about which releases
39.x are early access, so the table has only the releases that all sources name. A release that is not in the table is
unknown.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from tcja_runtime.machine.gpu import board, chip
from tcja_runtime.machine.versions import numbers, too_old

RELEASE = Path("/etc/nv_tegra_release")
ORIN, XAVIER, THOR = "tegra234", "tegra194", "tegra264"

_SYSTEM_PACKAGES = Path("/usr/lib")

L4t = tuple[int, int, int]

_TENSORRT_11, _WITH_TENSORRT_11 = (11, 4, 1), (39, 2, 2)
"""The oldest TensorRT 11 that NVIDIA supports on a Jetson, and the release of JetPack 7.2.2, the oldest that takes it.

It is not a part of JetPack: one package, Linux SBSA, is for AGX Orin and Thor
(https://docs.nvidia.com/deeplearning/tensorrt/11.4.1/api/migration/tensorrt-10x-to-11x-jetson.html).
"""


@dataclasses.dataclass(frozen=True)
class JetPack:
    """A release of JetPack.

    Attributes:
        name: the number of the release, "6.2.1".
        first: the first release of Jetson Linux that belongs to it.
        last: the last release of Jetson Linux that belongs to it. All releases from `first` to `last` belong to it.
        cuda: the version of CUDA.
        tensorrt: the version of TensorRT.
        python: the version of the system's Python, for which JetPack's TensorRT is made.
        ubuntu: the version of Ubuntu.
        chips: the chips that the release runs on, keys of `tcja_runtime.machine.gpu.TEGRA_SM`.
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
        """Whether the TensorRT of this release is new enough to build engines."""
        return too_old("tensorrt", self.tensorrt) is None

    @property
    def cuda_binding(self) -> str:
        """The requirement for pip of the CUDA binding that fits this CUDA, such as "cuda-bindings==12.*"."""
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
    """The system of a Jetson.

    Attributes:
        l4t: the release of Jetson Linux, "36.4.3"; None if the board's file has a form that is not known.
        jetpack: the JetPack that this release belongs to; None if it is not in `JETPACKS`.
        chip: the chip, "tegra234" for Orin; None if it is not known.
        board: the name of the board, "NVIDIA Jetson AGX Orin Developer Kit"; empty if it is not known.
    """

    l4t: str | None
    jetpack: JetPack | None
    chip: str | None
    board: str = ""

    @property
    def title(self) -> str:
        """The name of the system in messages, such as "JetPack 6.2 (Jetson Linux 36.4.3)"."""
        name = self.jetpack.name if self.jetpack else "unknown"
        return f"JetPack {name} (Jetson Linux {self.l4t or 'unknown'})"

    @property
    def takes_tensorrt_11(self) -> bool:
        """Whether NVIDIA supports TensorRT 11.4.1 on this system: JetPack 7.2.2 or later, on AGX Orin or Thor."""
        new = self.l4t is not None and numbers(self.l4t) >= _WITH_TENSORRT_11
        return new and (self.chip == THOR or (self.chip == ORIN and "AGX" in self.board))

    def supports(self, tensorrt: str) -> bool:
        """Whether NVIDIA supports a version of TensorRT on this system, as far as that is known.

        A version below 11 is taken for JetPack's own. A JetPack that is not in `JETPACKS` may have any version.
        """
        if self.jetpack is None or numbers(tensorrt) < (11,):
            return True
        return self.takes_tensorrt_11 and numbers(tensorrt) >= _TENSORRT_11

    def int8_fails(self, tensorrt: str | None = None) -> bool:
        """Whether int8 engines are known to fail on this system: TensorRT 10.16.2 on Orin (NVIDIA/TensorRT#4832).

        Args:
            tensorrt: the version of TensorRT that is installed; None for the one of JetPack.
        """
        used = numbers(tensorrt or "") or numbers(self.jetpack.tensorrt if self.jetpack else "")
        return self.chip == ORIN and used[:3] == (10, 16, 2)


def system() -> System | None:
    """Returns the system of this Jetson; None on any other machine."""
    try:
        text = RELEASE.read_text()
    except OSError:
        return None
    release = l4t(text)
    return System(release and ".".join(map(str, release)), jetpack(release) if release else None, chip(), board())


def l4t(text: str) -> L4t | None:
    """Returns the release of Jetson Linux from the text of /etc/nv_tegra_release; None if the text has another form.

    Example: (36, 4, 3) for "# R36 (release), REVISION: 4.3, ...".
    """
    found = re.search(r"R(\d+) \(release\), REVISION: (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def jetpack(release: L4t) -> JetPack | None:
    """Returns the JetPack that a release of Jetson Linux belongs to; None if the release is not in `JETPACKS`."""
    return next((row for row in JETPACKS if row.first <= release <= row.last), None)


SEES_SYSTEM = "python3 -m venv --system-site-packages .venv"
"""The command that makes an environment which sees JetPack's TensorRT."""


def how_to_get(package: str) -> str:
    """Returns how TensorRT's package "tensorrt" or "tensorrt-rtx" is installed on this machine, for messages."""
    if system() is None:
        return f"run 'pip install {package}'"
    if package == "tensorrt-rtx":
        return "it is for desktop RTX GPUs; on this board, use TensorRT (`target` tensorrt)"
    return f"JetPack has it; install tcja-deploy in an environment that sees it: {SEES_SYSTEM}"


def has_tensorrt() -> bool:
    """Whether JetPack's TensorRT is installed for the system's Python.

    The Python that runs this program may be another one (a virtual environment), which does not find it.
    """
    return any(_SYSTEM_PACKAGES.glob("python3*/dist-packages/tensorrt"))
