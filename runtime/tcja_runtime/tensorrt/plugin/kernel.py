"""The CUDA kernel of a spiking layer: its source (`lif.cu` with the constants of a neuron), its PTX, and its launch.

The constants are part of the source, because a plugin that is compiled ahead of time keeps no attributes in an engine.
The arguments of a kernel, in TensorRT's order (inputs, integers, outputs), are

    current, T, neurons of a step, spikes                  without pooling
    current, T, planes N*C, height, width, spikes          with k x k maximum pooling behind it

and the membranes as the last one if the kernel is traced.

PTX is labelled with a version of the PTX language, and a driver refuses versions that are later than its own. NVRTC
labels its PTX with the latest version that it knows. Here the label is replaced by the earliest version that knows the
GPU (`ISA`), so that every driver for the GPU takes the PTX. The kernels use nothing of later versions: in the tests
NVIDIA's ptxas, which checks that, assembles all of them.

Source: NVIDIA, PTX ISA, "Release Notes" (first version of each target).
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import math
import re

import numpy as np

from tcja_runtime.errors import Unavailable
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.tensorrt.plugin import nvrtc

THREADS = 256
"""The threads of a block. A kernel that waits for memory is as fast with any number that fills the GPU."""

VECTOR = 16
"""The widest access to memory, in bytes."""

ISA = {"72": "6.1", "75": "6.3", "80": "7.0", "86": "7.1", "87": "7.4", "89": "7.8", "90": "7.8", "110": "9.0"}
"""The first version of PTX that knows a GPU, by compute capability. For other GPUs NVRTC's own label is kept."""

_POOLS = range(1, 9)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A spiking layer's kernel.

    Attributes:
        spec: the neuron; the kernel computes with its constants in float32.
        half: whether currents and spikes are float16; else they are float32. The membrane is always float32.
        width: the number of adjacent neurons that a thread reads at once, from the function `width`.
        pool: the k of the k x k maximum pooling behind the neurons; 1 for none.
        traced: whether the kernel also writes the membranes before firing, in float32.
        ahead: the number of time steps whose currents a thread reads at once; 1 with a pooling larger than 2 x 2,
            because the registers hold no more.
    """

    spec: NeuronSpec
    half: bool = False
    width: int = 1
    pool: int = 1
    traced: bool = False
    ahead: int = 4

    def __post_init__(self) -> None:
        if self.pool not in _POOLS:
            raise ValueError(f"a kernel pools {_POOLS[0]} to {_POOLS[-1]} neurons a side, got {self.pool}")
        if self.pool > 1 and self.pool % self.width:
            raise ValueError(f"the {self.pool} neurons of a pooled row cannot be read {self.width} at a time")

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
            "DIVIDES": int(spec.tau is not None),
            "DECAY": _float(spec.decay),
            "GAIN": _float(spec.gain),
            "BIAS": _float(spec.bias or -0.0),  # the compiler leaves out a sum with -0.0, which changes no bit
            "THRESHOLD": _float(spec.threshold),
            "V_RESET": _float(spec.v_reset),
            "RATE": _float(spec.rate),
            "TAU": _float(spec.tau or 1.0),
            "WIDTH": self.width,
            "POOL": self.pool,
            "AHEAD": self.ahead if self.pool <= 2 else 1,
            "TRACED": int(self.traced),
            "KERNEL": self.name,
        }
        head = "".join(f"#define {name} {value}\n" for name, value in defined.items())
        return head + importlib.resources.files(__package__).joinpath("lif.cu").read_text()

    def ptx(self, sm: str, library: str | None = None) -> str:
        """Compile the kernel.

        Args:
            sm: the compute capability of the GPU without the dot, "87" for 8.7.
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
        """The integer arguments for currents of shape [T, ...], or with pooling [T, ..., H, W]."""
        if self.pool == 1:
            return shape[0], math.prod(shape[1:])
        return shape[0], math.prod(shape[1:-2]), *shape[-2:]

    def blocks(self, shape: tuple[int, ...]) -> int:
        """The number of blocks of `THREADS` threads, for currents of shape [T, ...]."""
        if self.pool == 1:
            threads = math.prod(shape[1:]) // self.width
        else:
            threads = math.prod(shape[1:-2]) * math.prod(size // self.pool for size in shape[-2:])
        return -(-threads // THREADS)


def width(shape: tuple[int, ...], half: bool, pool: int = 1) -> int:
    """The number of neurons that a thread can read at once, for every batch size.

    Args:
        shape: the shape of the currents of one window and step, (C, H, W).
        half: whether the currents are float16; else they are float32.
        pool: the k of the k x k maximum pooling behind the neurons; 1 for none.
    """
    most = VECTOR // (2 if half else 4)
    run = math.prod(shape) if pool == 1 else math.gcd(shape[-1], pool)
    return math.gcd(run, most)


def _float(value: float) -> str:
    """A number rounded to float32, as an exact literal."""
    with np.errstate(over="ignore"):
        return f"{float(np.float32(value)).hex()}f"
