"""The CUDA kernel of a spiking layer: its source (`lif.cu` with the constants of a neuron), its PTX, and its launch.

The constants are part of the source, because an engine does not store the attributes of a plugin that is compiled ahead
of time. The arguments of a kernel, in TensorRT's order (inputs, integers, outputs), are

    current, T, neurons of a step, spikes or membranes     without pooling
    current, T, planes N*C, height, width, spikes          with k x k maximum pooling after the neurons

If the kernel is traced, the membranes are the last argument.

PTX names the version of the PTX language that it is written in. A driver refuses versions that are newer than the
driver. NVRTC writes the newest version that it knows. Here this version is replaced by the oldest version that knows
the GPU (`ISA`), so that every driver for the GPU accepts the PTX. The kernels use no features of newer versions: in the
tests, NVIDIA's ptxas assembles all of them and checks this.

Source: NVIDIA, PTX ISA, "Release Notes" (first version of each target).
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import math
import re
from typing import Any

import numpy as np

from tcja_runtime.errors import Unavailable
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.tensorrt.plugin import nvrtc

THREADS = 256
"""The number of threads of a block. The kernel is limited by memory, so other numbers that fill the GPU are as fast."""

VECTOR = 16
"""The largest number of bytes that a thread reads or writes in one access to memory."""

ISA = {"72": "6.1", "75": "6.3", "80": "7.0", "86": "7.1", "87": "7.4", "89": "7.8", "90": "7.8", "110": "9.0"}
"""The oldest version of PTX that knows a GPU, by compute capability. For other GPUs, NVRTC's version is kept."""

_POOLS = range(1, 9)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A spiking layer's kernel.

    Attributes:
        spec: the neuron; the kernel computes with its constants in float32.
        half: whether currents and spikes are float16; else they are float32. The membrane is always float32.
        width: the number of adjacent neurons that a thread reads at once, from the function `width`.
        pool: the k of the k x k maximum pooling after the neurons; 1 if there is none.
        traced: whether the kernel also writes the membranes before firing, in float32.
        ahead: the number of time steps whose currents a thread reads at once. With a pooling larger than 2 x 2 it is 1,
            because the registers have no room for more.
    """

    spec: NeuronSpec
    half: bool = False
    width: int = 1
    pool: int = 1
    traced: bool = False
    ahead: int = 4

    def __post_init__(self) -> None:
        if self.spec.arrays:
            raise ValueError(f"a kernel has one value of each constant, got {', '.join(self.spec.arrays)} as arrays")
        if self.pool not in _POOLS:
            raise ValueError(f"a kernel pools {_POOLS[0]} to {_POOLS[-1]} neurons a side, got {self.pool}")
        if self.pool > 1 and self.pool % self.width:
            raise ValueError(f"the {self.pool} neurons of a pooled row cannot be read {self.width} at a time")
        if self.spec.integrates and (self.half or self.pool > 1):
            raise ValueError("the kernel of an integrator computes in float32, without pooling")

    @property
    def name(self) -> str:
        """The name of the kernel's function in the PTX."""
        return f"tcja_lif_{'f16' if self.half else 'f32'}{f'_pool{self.pool}' if self.pool > 1 else ''}"

    @property
    def source(self) -> str:
        """The source of the kernel in CUDA C++."""
        spec = self.spec
        defined = {
            "Io": "unsigned short" if self.half else "float",
            "HALF": int(self.half),
            "CHARGE": spec.charge_order.upper(),
            "RESET": spec.reset.upper(),
            "STRICT": int(spec.strict),
            "MEMBRANES": int(spec.integrates),
            "DIVIDES": int(spec.tau is not None),
            "DECAY": _float(spec.decay),
            "GAIN": _float(spec.gain),
            "BIAS": _float(spec.bias or -0.0),  # the compiler removes an addition of -0.0, because it changes no bit
            "THRESHOLD": _float(spec.threshold),
            "V_RESET": _float(spec.v_reset),
            "V_INITIAL": _float(spec.v_initial),
            "V_REST": _float(spec.v_rest),
            "RATE": _float(spec.rate),
            "TAU": _float(spec.tau or 1.0),
            "RECTIFIES": int(spec.slope is not None),
            "RESCALES": int(spec.rescales),
            "SLOPE": _float(spec.slope or 1.0),
            "WIDTH": self.width,
            "POOL": self.pool,
            "AHEAD": self.ahead if self.pool <= 2 else 1,
            "TRACED": int(self.traced),
            "KERNEL": self.name,
        }
        head = "".join(f"#define {name} {value}\n" for name, value in defined.items())
        return head + importlib.resources.files(__package__).joinpath("lif.cu").read_text()

    def ptx(self, sm: str, library: str | None = None) -> str:
        """Compile the kernel, and return its PTX.

        Args:
            sm: the compute capability of the GPU without the dot, such as "87" for 8.7.
            library: the file of NVRTC; None for the first one that is found.

        Raises:
            Unavailable: NVRTC is missing, or does not know the GPU.
        """
        options = [f"--gpu-architecture=compute_{sm}", "--fmad=false", "--std=c++17", "--prec-div=true", "--ftz=false"]
        try:
            text = nvrtc.compiled(self.source, f"{self.name}.cu", options, library)
        except ValueError as error:
            raise Unavailable(f"the neuron's kernel does not compile for sm_{sm}: {error}") from None
        return re.sub(r"(?m)^\.version .*$", lambda own: f".version {ISA[sm]}" if sm in ISA else own[0], text, count=1)

    def sizes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the integer arguments of the kernel for currents [T, ...]; with pooling, currents [T, ..., H, W]."""
        if self.pool == 1:
            return shape[0], math.prod(shape[1:])
        return shape[0], math.prod(shape[1:-2]), *shape[-2:]

    def blocks(self, shape: tuple[int, ...]) -> int:
        """Returns the number of blocks of `THREADS` threads to launch, for currents of shape [T, ...]."""
        if self.pool == 1:
            threads = math.prod(shape[1:]) // self.width
        else:
            threads = math.prod(shape[1:-2]) * math.prod(size // self.pool for size in shape[-2:])
        return -(-threads // THREADS)


def width(shape: tuple[int, ...], half: bool, pool: int = 1) -> int:
    """Returns the number of neurons that a thread can read at once, for every batch size.

    Args:
        shape: the shape of the currents of one window and time step, (C, H, W).
        half: whether the currents are float16; else they are float32.
        pool: the k of the k x k maximum pooling after the neurons; 1 if there is none.
    """
    most = VECTOR // (2 if half else 4)
    run = math.prod(shape) if pool == 1 else math.gcd(shape[-1], pool)
    return math.gcd(run, most)


def _float(value: Any) -> str:
    """Returns a literal of C++ for a number that is rounded to float32. The literal is exact (hexadecimal)."""
    with np.errstate(over="ignore"):
        return f"{float(np.float32(value)).hex()}f"
