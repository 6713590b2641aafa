"""ONNX Runtime, on the CPU or with one of its providers for NVIDIA GPUs."""

from __future__ import annotations

import contextlib
import dataclasses
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
from tcja_runtime.errors import BadInput, TcjaError, Unavailable, first_line, user_error
from tcja_runtime.files.folder import model_in, readable
from tcja_runtime.machine.versions import too_old, version
from tcja_runtime.model_file.model import Model
from tcja_runtime.model_file.subgraph import Dimensions

PACKAGES = ("onnxruntime", "onnxruntime-gpu")
"""The packages that install the module `onnxruntime`. If both are installed, they overwrite each other's files."""

EXACT = {"CUDAExecutionProvider": {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}}
"""By provider, the options for float32 arithmetic: no TF32, and convolutions computed as sums of products.

With any other `cudnn_conv_algo_search`, cuDNN may compute a convolution with Fourier transforms. Then sums of exact
values are not exact (docs/measurements/gpu.md).
"""

_REFUSED = re.compile(r"CUD\w+ failure \d+: [^;]*[^;\s]")
"""The pattern of errors of CUDA libraries, for example if the library is too new for the driver."""

_LACKS = ("NOT_IMPLEMENTED", "allocate", "bad_alloc", "out of memory", "PosixThread", "CUDA")
"""Words in errors of ONNX Runtime. If an error has one of them, this version or this machine cannot run the model."""


_threads = 0  # of each session; 0: as many as the processor has cores


def limit_threads(count: int) -> None:
    """Let each session that this process opens from now on compute in so many threads; 0 takes one a core."""
    global _threads  # noqa: PLW0603  # as `torch.set_num_threads`
    _threads = count


def installed() -> dict[str, str]:
    """Returns the version of each installed package of `PACKAGES`, by the name of the package."""
    found = {name: version(name) for name in PACKAGES}
    return {name: number for name, number in found.items() if number is not None}


def require() -> Any:
    """Import the module `onnxruntime`, and tell it to report nothing.

    `tcja_runtime` sets a variable that keeps it from reporting, which it reads when it is imported. If a program
    imported it before `tcja_runtime`, it has reported this machine and its own start already, and nothing can take that
    back; what it would report of models is switched off here.

    Raises:
        Unavailable: the module is not installed, is installed by two packages, or is too old.
    """
    found = installed()
    if len(found) > 1:
        raise Unavailable(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            "run 'pip uninstall onnxruntime onnxruntime-gpu', then install one of them"
        )
    for name, number in found.items():
        if old := too_old(name, number):
            raise Unavailable(f"{old}: run 'pip install -U {name}'")
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise user_error(error) or error from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def check_provider(onnxruntime: Any, backend: str) -> None:
    """Check that the installed ONNX Runtime has the provider of a backend, and prepare the provider's libraries.

    Args:
        onnxruntime: the module `onnxruntime`.
        backend: one of `tcja_runtime.choices.PROVIDERS`.

    Raises:
        Unavailable: ONNX Runtime was built without the provider.
    """
    provider = PROVIDERS[backend]
    if provider not in onnxruntime.get_available_providers():
        raise Unavailable(
            f"the installed ONNX Runtime has no {provider}: run 'pip uninstall onnxruntime', then "
            "'pip install onnxruntime-gpu' (for a Jetson, a build made for it)"
        )
    if provider != PROVIDERS["onnxruntime"]:
        # The dynamic linker does not find CUDA and cuDNN where pip installed them. A library that is not found here is
        # printed; the session reports it again as an error.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    if provider == "TensorrtExecutionProvider":
        # The provider has no option for TF32. All of NVIDIA's libraries read this variable.
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"


@dataclasses.dataclass
class OnnxRuntimeSession:
    """A model, or a part of one, in ONNX Runtime.

    Attributes:
        inputs: the names of the inputs.
    """

    _session: Any
    _model: Path
    _types: dict[str, np.dtype[Any]]
    _outputs: list[str]
    inputs: Sequence[str]

    @classmethod
    def open(
        cls,
        model: Model | Path,
        outputs: Sequence[str] = (),
        given: Mapping[str, Dimensions] | None = None,
        *,
        backend: str = "onnxruntime",
        keeps_memory: bool = False,
    ) -> OnnxRuntimeSession:
        """Load a model, or a part of one.

        Args:
            model: the model, or an .onnx file that this process wrote, with its weights in the same folder.
            outputs: the names of the tensors to compute. If it is empty, the whole model is loaded.
            given: the tensors to take as inputs, by name with their dimensions
                (`tcja_runtime.model_file.subgraph.part`).
            backend: one of `tcja_runtime.choices.PROVIDERS`.
            keeps_memory: whether the session keeps the memory of a run for the next run.

        Raises:
            Unavailable: ONNX Runtime, the provider, or a library that it needs is missing. If the provider is missing,
                the CPU is not used in its place.
            BadInput: ONNX Runtime cannot load the model.
        """
        onnxruntime, provider = require(), PROVIDERS[backend]
        check_provider(onnxruntime, backend)
        model = model_in(model) if isinstance(model, Path) else model
        with readable(model):
            model = model.part(outputs, given or {})
            weights = model.tensors()
        try:
            # With a fallback, ONNX Runtime may run a model on the CPU, and would only print a line about it.
            session = onnxruntime.InferenceSession(
                model.content,
                _options(onnxruntime, weights, keeps_memory),
                providers=[(provider, EXACT.get(provider, {}))],
                enable_fallback=0,
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            if refused := _REFUSED.search(str(error)):
                raise Unavailable(
                    f"ONNX Runtime cannot use {provider} ({refused[0]}); choose `backend` onnxruntime for the CPU"
                ) from error
            raise _failure(f"load {model.path}", error) from error
        used = session.get_providers()[0]
        if used != provider:  # ONNX Runtime raises no error in this case
            raise Unavailable(
                f"ONNX Runtime cannot use {provider} and would take {used}: the GPU's driver, or a library of CUDA, "
                "cuDNN or TensorRT that it needs, is missing; choose `backend` onnxruntime for the CPU"
            )
        types: dict[str, np.dtype[Any]] = {
            value.name: np.dtype(np.float16 if value.type == "tensor(float16)" else np.float32)
            for value in session.get_inputs()
        }
        return cls(session, model.path, types, [value.name for value in session.get_outputs()], list(types))

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Run the model once. Takes the inputs by name, and returns the outputs by name.

        Raises:
            Unavailable: this version of ONNX Runtime cannot run the model, or this machine has too little memory.
            BadInput: ONNX Runtime reports another error, which is an error in the model.
        """
        taken = dict(feeds)
        for name, kind in self._types.items():
            if name in taken and taken[name].dtype != kind:
                taken[name] = _converted(taken[name], kind, name)
        try:
            values = self._session.run(None, taken)
        except Exception as error:
            raise _failure(f"run {self._model}", error) from error
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Free the memory."""
        del self._session


def _converted(array: npt.NDArray[Any], kind: np.dtype[Any], name: str) -> npt.NDArray[Any]:
    """Returns an array of floats with the type of an input.

    Raises:
        BadInput: the array is not of floats. ONNX Runtime would refuse integers with a text about tensors; converted,
            an image of 0 to 255 would be classified as it is.
    """
    if array.dtype.kind != "f":
        raise BadInput(f"'{name}' is {array.dtype}; the network takes float32")
    return array.astype(kind)


def _options(onnxruntime: Any, weights: Mapping[str, npt.NDArray[Any]], keeps_memory: bool) -> Any:
    """The options of a session of a model, with the weights that are not in the model, by name."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # nothing: warnings are about its own changes of the graph, errors are raised
    onnxruntime.set_default_logger_severity(4)  # otherwise it logs providers that cannot be loaded
    # Allocating new pages of memory takes more time than computing a network's neurons. So a session that runs many
    # times keeps its memory. A session of a probe does not, because many of them are open at the same time. A memory
    # plan (enable_mem_pattern) doubles the memory and saves no time.
    options.enable_cpu_mem_arena = keeps_memory
    options.enable_mem_pattern = False
    options.intra_op_num_threads = _threads
    # Quantised products are computed in float32, which is exact for them. In int8, their sums overflow on processors
    # with AVX2 and without VNNI. The option that prevents this (onnxruntime_session_options_config_keys.h) does not
    # work if models share their weights.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    # ONNX Runtime opens no file: it would map it into memory, where whoever writes the file changes the network.
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)  # it copies them
    return options


def _failure(what: str, error: Exception) -> TcjaError:
    """The error for the user, from an error of ONNX Runtime.

    Args:
        what: the words for what it cannot do, such as "run model.onnx".
        error: the error.
    """
    backend = " ".join(f"{name} {version}" for name, version in installed().items())
    lacks = any(sign in str(error) for sign in _LACKS)
    return (Unavailable if lacks else BadInput)(f"{backend} cannot {what}: {first_line(error)}")
