"""The Jetson modules: their peak speeds and their power, as NVIDIA publishes them.

A GPU with S streaming multiprocessors (SMs) at clock f computes at most this many operations a second:

    fp32    S * 128 * 2 f     CUDA cores, one multiply-add each a clock (64 cores an SM before Ampere)
    fp16    S * k16 * f       tensor cores, dense, k16 operations an SM a clock
    int8    S * k8 * f        tensor cores, dense, k8 operations an SM a clock

A memory bus of B bits moves B / 8 * 2 f_memory bytes a second, because LPDDR transfers twice a clock. Float32 does not
use the tensor cores: they would compute in TF32, which is off in engines that must agree with float32. The deep
learning accelerators (DLA) are not counted, because the networks run on the GPU.

k16 and k8 depend on the architecture: Volta 1024 and 2048, Ampere 2048 and 4096, Thor's Blackwell 8192 and 16384. With
the clocks they give the totals in the data sheets; the tests check this. The "sparse" figures of a data sheet are twice
as high. They are only for weights that are pruned 2:4, which these networks do not have.

`SOURCES` names the sources. The figures of Orin Nano and Orin NX are from the data sheets, those of the other modules
from transcriptions of the data sheets. "Not verified" marks a figure that was found in no source.
"""

from __future__ import annotations

import dataclasses

from tcja_runtime.errors import BadInput

SOURCES = {
    "ONANO": "Jetson Orin Nano Series Modules Data Sheet, DS-11105-001 v1.5, 2.1, 2.3 and 2.4",
    "ONX": "Jetson Orin NX Series Modules Data Sheet, DS-10712-001 v1.5, 2.1, 2.4 and 2.5",
    "AGX": "Jetson AGX Orin Series Technical Brief v1.2 and the Jetson Orin modules' table at nvidia.com",
    "XAVIER": "Jetson AGX Xavier and Xavier NX Data Sheets, Jetson Linux Developer Guide r32 (power modes)",
    "THOR": "Jetson T5000 Module Data Sheet, NVIDIA's technical blog on T4000 and JetPack 7.1",
    "ORIN_MODES": "Jetson Linux Developer Guide r36.5, Platform Power and Performance",
    "THOR_MODES": "Jetson Linux Developer Guide r38.4, Platform Power and Performance",
}
"""The publications of NVIDIA that contain the figures, by a short name."""


@dataclasses.dataclass(frozen=True)
class Mode:
    """A power mode of nvpmodel.

    Attributes:
        name: the name of the mode in nvpmodel, such as "15W".
        watts: the power budget of the module; for a mode without one (MAXN), the module's highest published power.
        gpu_mhz: the highest clock of the GPU, in MHz.
        memory_mhz: the highest clock of the memory, in MHz.
        sms: the number of streaming multiprocessors (SMs) that are switched on.
    """

    name: str
    watts: float
    gpu_mhz: float
    memory_mhz: float
    sms: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    """A Jetson module.

    Attributes:
        name: the name of the board in the argument `device`, such as "orin-nano".
        title: the full name of the module.
        cores: the number of CUDA cores of an SM.
        fp16: the dense FP16 operations of an SM's tensor cores a clock; a multiply-add is two operations.
        int8: the dense INT8 operations of an SM's tensor cores a clock.
        bus: the width of the memory bus, in bits.
        memory: the size of the memory that GPU and processor share, in bytes.
        modes: the power modes; the first one is the default.
        sources: the sources of the figures, keys of `SOURCES`.
    """

    name: str
    title: str
    cores: int
    fp16: int
    int8: int
    bus: int
    memory: int
    modes: tuple[Mode, ...]
    sources: tuple[str, ...]

    def mode(self, name: str | None = None) -> Mode:
        """Return the power mode with a name, in upper or lower case; for None, the default mode.

        Raises:
            BadInput: the board has no mode of that name.
        """
        if name is None:
            return self.modes[0]
        for mode in self.modes:
            if mode.name.lower() == name.lower():
                return mode
        raise BadInput(f"`device` {self.name}:{name}: {self.name} has the power modes {_names(self.modes)}")


_GB = 10**9
_VOLTA = {"cores": 64, "fp16": 1024, "int8": 2048}
_AMPERE = {"cores": 128, "fp16": 2048, "int8": 4096}
# Thor's int8 rate is not verified: its data sheet prints FP4 and FP8 only. This is the rate of FP8.
_BLACKWELL = {"cores": 128, "fp16": 8192, "int8": 16384}

_BOARDS = (
    Board(
        name="orin-nano",
        title="Jetson Orin Nano 8GB",
        **_AMPERE,
        bus=128,
        memory=8 * _GB,
        modes=(Mode("15W", 15, 624.75, 2133, 8), Mode("7W", 7, 408, 2133, 8)),  # all SMs on at 7W: not verified
        sources=("ONANO", "ORIN_MODES"),
    ),
    Board(
        name="orin-nano-4gb",
        title="Jetson Orin Nano 4GB",
        **_AMPERE,
        bus=64,
        memory=4 * _GB,
        modes=(Mode("10W", 10, 624.75, 2133, 4), Mode("7W_AI", 7, 408, 2133, 4)),  # all SMs on at 7W: not verified
        sources=("ONANO", "ORIN_MODES"),
    ),
    Board(
        name="orin-nano-super",
        title="Jetson Orin Nano 8GB, Super",
        **_AMPERE,
        bus=128,
        memory=8 * _GB,
        modes=(Mode("MAXN_SUPER", 25, 1020, 3199, 8), Mode("25W", 25, 918, 3199, 8)),
        sources=("ONANO", "ORIN_MODES"),
    ),
    Board(
        name="orin-nano-4gb-super",
        title="Jetson Orin Nano 4GB, Super",
        **_AMPERE,
        bus=64,
        memory=4 * _GB,
        modes=(Mode("MAXN_SUPER", 25, 1020, 3199, 4), Mode("25W", 25, 1020, 3199, 4)),
        sources=("ONANO", "ORIN_MODES"),
    ),
    Board(
        name="orin-nx",
        title="Jetson Orin NX 16GB",
        **_AMPERE,
        bus=128,
        memory=16 * _GB,
        modes=(
            Mode("MAXN", 25, 918, 3200, 8),
            Mode("25W", 25, 408, 3200, 8),
            Mode("15W", 15, 612, 3200, 8),  # all SMs on: not verified
            Mode("10W", 10, 612, 2133, 4),  # half the SMs off: not verified
        ),
        sources=("ONX", "ORIN_MODES"),
    ),
    Board(
        name="orin-nx-8gb",
        title="Jetson Orin NX 8GB",
        **_AMPERE,
        bus=128,
        memory=8 * _GB,
        modes=(
            Mode("MAXN", 20, 765, 3200, 8),
            Mode("20W", 20, 408, 3200, 8),
            Mode("15W", 15, 612, 3200, 8),  # all SMs on: not verified
            Mode("10W", 10, 612, 2133, 4),  # half the SMs off: not verified
        ),
        sources=("ONX", "ORIN_MODES"),
    ),
    Board(
        name="orin-nx-super",
        title="Jetson Orin NX 16GB, Super",
        **_AMPERE,
        bus=128,
        memory=16 * _GB,
        modes=(Mode("MAXN_SUPER", 40, 1173, 3200, 8), Mode("40W", 40, 1173, 3200, 8)),
        sources=("ONX", "ORIN_MODES"),
    ),
    Board(
        name="orin-nx-8gb-super",
        title="Jetson Orin NX 8GB, Super",
        **_AMPERE,
        bus=128,
        memory=8 * _GB,
        modes=(Mode("MAXN_SUPER", 40, 1173, 3200, 8), Mode("40W", 40, 1173, 3200, 8)),
        sources=("ONX", "ORIN_MODES"),
    ),
    Board(
        name="agx-orin",
        title="Jetson AGX Orin 64GB",
        **_AMPERE,
        bus=256,
        memory=64 * _GB,
        modes=(
            Mode("MAXN", 60, 1301, 3200, 16),
            Mode("50W", 50, 816, 3200, 16),
            Mode("30W", 30, 612, 3200, 8),  # half the SMs off: not verified
            Mode("15W", 15, 408, 2133, 6),  # ten SMs off: not verified
        ),
        sources=("AGX", "ORIN_MODES"),
    ),
    Board(
        name="agx-orin-32gb",
        title="Jetson AGX Orin 32GB",
        **_AMPERE,
        bus=256,
        memory=32 * _GB,
        modes=(
            Mode("MAXN", 40, 930.75, 3200, 14),
            Mode("40W", 40, 816, 3200, 14),
            Mode("30W", 30, 612, 3200, 8),  # six SMs off: not verified
            Mode("15W", 15, 408, 2133, 6),  # eight SMs off: not verified
        ),
        sources=("AGX", "ORIN_MODES"),
    ),
    Board(
        name="agx-xavier",
        title="Jetson AGX Xavier 32GB",
        **_VOLTA,
        bus=256,
        memory=32 * _GB,
        modes=(
            Mode("MAXN", 30, 1377, 2133, 8),  # NVIDIA gives MAXN no power; 30 W, the module's highest budget
            Mode("30W", 30, 900, 1600, 8),
            Mode("15W", 15, 670, 1333, 8),
            Mode("10W", 10, 520, 1066, 4),
        ),
        sources=("XAVIER",),
    ),
    Board(
        name="xavier-nx",
        title="Jetson Xavier NX",
        **_VOLTA,
        bus=128,
        memory=8 * _GB,  # there is a variant with 16 GB, otherwise the same
        modes=(Mode("20W_6CORE", 20, 1100, 1866, 6),),
        sources=("XAVIER",),
    ),
    Board(
        name="thor",
        title="Jetson T5000 (AGX Thor)",
        **_BLACKWELL,
        bus=256,
        memory=128 * _GB,
        modes=(
            Mode("120W", 120, 1386, 4266, 20),
            Mode("MAXN", 130, 1575, 4266, 20),
            Mode("90W", 90, 1530, 4266, 12),
            Mode("70W", 70, 1530, 4266, 12),
        ),
        sources=("THOR", "THOR_MODES"),
    ),
    Board(
        name="thor-t4000",
        title="Jetson T4000",
        **_BLACKWELL,
        bus=256,
        memory=64 * _GB,
        modes=(Mode("70W", 70, 1530, 4266, 12),),
        sources=("THOR", "THOR_MODES"),
    ),
)

BOARDS = {board.name: board for board in _BOARDS}
"""The boards by name. A Super mode needs another flashed image, so a module in Super mode is a separate board."""

_OTHER_NAMES = {
    "orin-nano-8gb": "orin-nano",
    "orin-nx-16gb": "orin-nx",
    "agx-orin-64gb": "agx-orin",
    "thor-t5000": "thor",
}


@dataclasses.dataclass(frozen=True)
class Device:
    """A board in one of its power modes.

    Attributes:
        board: the board.
        mode: the power mode, one of `board.modes`.
    """

    board: Board
    mode: Mode

    @classmethod
    def named(cls, device: str) -> Device:
        """Return the device with a name: NAME or NAME:MODE, such as "orin-nano" or "agx-orin:30W".

        Raises:
            BadInput: no board has this name, or the board has no such mode.
        """
        given, _, mode = device.partition(":")
        name = given.lower()
        board = BOARDS.get(_OTHER_NAMES.get(name, name))
        if board is None:
            raise BadInput(f"`device` {device} is not known; there are {', '.join(BOARDS)}")
        return cls(board, board.mode(mode or None))

    def peak(self, precision: str) -> float:
        """Return the peak speed: the highest number of dense operations a second; a multiply-add is two operations.

        Args:
            precision: the precision, one of `tcja_runtime.choices.PRECISIONS`.
        """
        board, mode = self.board, self.mode
        rate = {"fp32": 2 * board.cores, "fp16": board.fp16, "int8": board.int8}[precision]
        return mode.sms * rate * mode.gpu_mhz * 1e6

    @property
    def bandwidth(self) -> float:
        """The highest number of bytes a second between memory and GPU."""
        return self.board.bus / 8 * 2 * self.mode.memory_mhz * 1e6


def _names(modes: tuple[Mode, ...]) -> str:
    return ", ".join(mode.name for mode in modes)
