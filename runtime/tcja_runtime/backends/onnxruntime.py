"""ONNX Runtime, on the CPU or with one of its providers for NVIDIA GPUs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.choices import PROVIDERS
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.model_file.subgraph import Dimensions, part

PACKAGES = ("onnxruntime", "onnxruntime-gpu")
"""Distributions that install the module `onnxruntime`; two of them overwrite each other's files."""

EXACT = {"CUDAExecutionProvider": {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}}
"""Options with which products of float32 are products of float32, and convolutions sums of them: whatever else cuDNN is
asked to choose by, it also takes Fourier transforms (docs/measurements/gpu.md), which make exact sums inexact."""

_REFUSED = re.compile(r"CUD\w+ failure \d+: [^;]*[^;\s]")
"""What ONNX Runtime says where a library of CUDA's refuses to work: one that is too new for the driver, say."""

_LACKS = ("NOT_IMPLEMENTED", "allocate", "bad_alloc", "out of memory", "CUDA")
"""What ONNX Runtime says where it, or the machine, is not enough."""

OLDEST = (1, 21)
"""Older ones do not find the weights of a model that is given as bytes, as a part of one is."""


def installed() -> dict[str, str]:
    """Version by distribution, of those among PACKAGES that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def require() -> Any:
    """The module `onnxruntime`.

    Raises:
        Unavailable: it is not installed, or twice, or too old.
    """
    found = installed()
    if len(found) > 1:
        raise Unavailable(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            "run 'pip uninstall onnxruntime onnxruntime-gpu', then install one of them"
        )
    for name, version in found.items():
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise Unavailable(f"{name} {version} is too old, {oldest} is needed: run 'pip install -U {name}'")
    try:
        import onnxruntime
    except ImportError as error:
        raise Unavailable(f"onnxruntime cannot be imported ({error}): run 'pip install onnxruntime'") from error
    return onnxruntime


def check_provider(onnxruntime: Any, backend: str) -> None:
    """Refuse a backend whose provider the installed ONNX Runtime was built without.

    Raises:
        Unavailable: it was.
    """
    provider = PROVIDERS[backend]
    if provider not in onnxruntime.get_available_providers():
        raise Unavailable(
            f"the installed ONNX Runtime has no {provider}: run 'pip uninstall onnxruntime', then "
            "'pip install onnxruntime-gpu' (for a Jetson, a build made for it)"
        )
    if provider != PROVIDERS["onnxruntime"]:
        # Where CUDA and cuDNN are packages of NVIDIA's, the dynamic linker does not know of them. What is not found is
        # printed, and said again, as an error, by the session.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    if provider == "TensorrtExecutionProvider":
        # It has no option for TF32; this is read by all of NVIDIA's libraries.
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"


class OnnxRuntimeSession:
    """A model, or a part of one, in ONNX Runtime.

    Args:
        model: path of the .onnx file; weights stored beside it are found.
        outputs: tensors to compute; none are the model's own outputs.
        given: tensors to take as inputs, each with its dimensions (`tcja_runtime.model_file.subgraph.part`).
        backend: one of `tcja_runtime.choices.PROVIDERS`.
        keeps_memory: whether it keeps the memory of a run for the next.

    Raises:
        Unavailable: ONNX Runtime, the provider, or what it needs is missing; nothing else is run in its place.
        BadInput: it cannot load the model.
    """

    def __init__(
        self,
        model: Path,
        outputs: Sequence[str] = (),
        given: Mapping[str, Dimensions] | None = None,
        *,
        backend: str = "onnxruntime",
        keeps_memory: bool = False,
    ) -> None:
        onnxruntime, provider = require(), PROVIDERS[backend]
        check_provider(onnxruntime, backend)
        self._model = model
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # nothing: its warnings are about its own rewriting, its errors are raised too
        onnxruntime.set_default_logger_severity(4)  # of what is logged outside sessions: a provider that is not loaded
        # Fresh pages take longer than a network's neurons, so what is run for long keeps them; what looks inside a
        # network lies in memory beside others. Planning the memory ahead would double it, and save nothing.
        options.enable_cpu_mem_arena = keeps_memory
        options.enable_mem_pattern = False
        # Quantised products are multiplied as floats, which is exact: in int8 their sums overflow on processors with
        # AVX2 and no VNNI (onnxruntime_session_options_config_keys.h), and what avoids that cannot share a weight.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(model.parent))
        try:
            content = model.read_bytes()
            content = part(content, outputs, given or {}) if outputs else content
            # Where it may fall back it prints that it does, and runs on the processor, from any run on.
            self._session = onnxruntime.InferenceSession(
                content, options, providers=[(provider, EXACT.get(provider, {}))], enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            if refused := _REFUSED.search(str(error)):
                raise Unavailable(
                    f"ONNX Runtime cannot use {provider} ({refused[0]}); choose `backend` onnxruntime for the CPU"
                ) from error
            raise BadInput(f"ONNX Runtime cannot load {model}: {_first_line(error)}") from error
        used = self._session.get_providers()[0]
        if used != provider:  # which it would else use without a word
            raise Unavailable(
                f"ONNX Runtime cannot use {provider} and would take {used}: the GPU's driver, or a library of CUDA, "
                "cuDNN or TensorRT that it needs, is missing; choose `backend` onnxruntime for the CPU"
            )
        self._types = {
            value.name: np.float16 if value.type == "tensor(float16)" else np.float32
            for value in self._session.get_inputs()
        }
        self.inputs: Sequence[str] = list(self._types)
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Its results by name, from its inputs by name.

        Raises:
            Unavailable: this version of ONNX Runtime, or this machine's memory, is not enough for the model.
            BadInput: the model is wrong.
        """
        try:
            values = self._session.run(
                None, {name: array.astype(self._types[name], copy=False) for name, array in feeds.items()}
            )
        except Exception as error:
            backend = " ".join(f"{name} {version}" for name, version in installed().items())
            lacks = any(sign in str(error) for sign in _LACKS)
            raise (Unavailable if lacks else BadInput)(
                f"{backend} cannot run {self._model}: {_first_line(error)}"
            ) from error
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Give its memory back."""
        del self._session


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
