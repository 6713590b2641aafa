"""NVRTC, NVIDIA's run-time compiler of CUDA C++. It compiles to PTX, and needs no GPU.

NVRTC is part of the CUDA toolkit, so JetPack has it. It can also be installed with pip. The package
nvidia-cuda-nvrtc-cu12 knows compute capabilities up to 9.0, and from version 12.8 on also 10 to 12. The package
nvidia-cuda-nvrtc of CUDA 13 knows 7.5 to 12.1, including 11.0 (Jetson Thor).

Source: NVIDIA, NVRTC documentation, "User Interface".
"""

from __future__ import annotations

import ctypes
import glob
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from tcja_runtime.errors import Unavailable

_NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so")
INSTALL = "pip install nvidia-cuda-nvrtc (CUDA 13) or nvidia-cuda-nvrtc-cu12; JetPack has it as cuda-nvrtc"
"""How to install NVRTC."""

_FOLDERS = ("/usr/local/cuda/lib64", "/usr/local/cuda/targets/*/lib")
"""The folders of CUDA toolkits in which the dynamic linker may not search."""


def compiled(source: str, name: str, options: Sequence[str], library: str | None = None) -> str:
    """Compile a CUDA C++ source, and return its PTX.

    Args:
        source: the source, whose kernels are `extern "C"`.
        name: the name of the source in messages.
        options: the options of the compiler, as for nvcc.
        library: the file of NVRTC; None for the first one that is found.

    Raises:
        Unavailable: NVRTC is not installed.
        ValueError: the source does not compile; the text is the compiler's message.
    """
    nvrtc = _loaded(library)
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None))
    try:
        arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if nvrtc.nvrtcCompileProgram(program, len(options), arguments):
            log = _text(nvrtc, program, "ProgramLog").strip()
            raise ValueError(" ".join(log.split()) or f"NVRTC refuses {' '.join(options)}")
        return _text(nvrtc, program, "PTX")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def installed() -> str | None:
    """Returns the file of the first NVRTC that can be loaded; None if there is none."""
    for file in _candidates():
        try:
            ctypes.CDLL(file)
        except OSError:
            continue
        return file
    return None


def _candidates() -> Iterator[str]:
    spec = importlib.util.find_spec("nvidia")  # NVIDIA's wheels put their libraries into this package
    places = spec.submodule_search_locations or () if spec else ()
    found = [file for place in places for file in Path(place).glob("*/lib/libnvrtc.so.*")]
    yield from map(str, sorted(found, key=lambda file: file.name, reverse=True))  # newest first: it knows most GPUs
    yield from _NAMES
    for folder in _FOLDERS:
        yield from sorted(glob.glob(f"{folder}/libnvrtc.so*"), reverse=True)  # noqa: PTH207  # the pattern is absolute


def _loaded(library: str | None) -> ctypes.CDLL:
    file = library or installed()
    if file is None:
        raise Unavailable(f"the neuron's kernel needs NVRTC of CUDA 12 or 13: {INSTALL}")
    # NVRTC opens the library of its builtins by name, without a folder. It finds the library if it is loaded already.
    for builtins in Path(file).parent.glob("libnvrtc-builtins.so.*") if "/" in file else ():
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(file)
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    return nvrtc


def _check(nvrtc: ctypes.CDLL, result: int) -> None:
    if result:
        raise ValueError(nvrtc.nvrtcGetErrorString(result).decode())


def _text(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, text))
    return text.value.decode()
