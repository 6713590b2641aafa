"""What all models have in common: their settings, tensors, and errors.

The interface of a model is that of Triton's Python backend (https://github.com/triton-inference-server/python_backend).
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.backends.onnxruntime import limit_threads
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.choices import AUTO
from tcja_runtime.errors import BadInput, TcjaError, Unavailable, user_error
from tcja_runtime.files.text import one_line
from tcja_runtime.network.network import Network, load
from tcja_runtime.signing.trust import Trust

logger = logging.getLogger("tcja_runtime")
BUNDLE = "model.bundle"
"""The folder of the bundle, beside model.py."""
EVENTS, FORMAT = "events", "format"
"""The input with raw events, and the parameter of a request that names their format."""
BACKEND, TRUST_ENGINE, REQUIRE_SIGNATURE, PUBLIC_KEYS = "backend", "trust_engine", "require_signature", "public_keys"
"""The parameters of a model in config.pbtxt, which are arguments of `tcja_runtime.load`."""

Arguments = Mapping[str, str]
"""What the server says to a model that it loads: "model_config" (JSON), "model_repository", "model_version", ..."""


def utils() -> Any:
    """The module `triton_python_backend_utils`, which a server gives to its models."""
    return importlib.import_module("triton_python_backend_utils")


def parameters(arguments: Arguments) -> dict[str, str]:
    """The parameters of a model in config.pbtxt."""
    found = json.loads(arguments["model_config"]).get("parameters", {})
    return {name: value["string_value"] for name, value in found.items()}


def warm_up(arguments: Arguments) -> int:
    """The number of windows with which the server warms up an instance of a model, before all requests."""
    runs = json.loads(arguments["model_config"]).get("model_warmup", [])
    return sum(each["batch_size"] * max(1, each["count"]) for each in runs)


def loaded(arguments: Arguments) -> Network:
    """Load the network of a model's bundle. Its hashes are checked, and its signature as the parameters say.

    Args:
        arguments: the arguments of the model's `initialize`.

    Raises:
        BadInput: a parameter or the bundle cannot be used, or is not signed as required (`tcja_runtime.load`).
        Unavailable: this machine lacks something that the network needs, or the server cannot read NumPy's arrays.
    """
    _prepare(arguments)
    trust = _trust(arguments)
    network = load(
        _bundle(arguments),
        backend=parameters(arguments).get(BACKEND, AUTO),
        trust_engine=trust.trust_engine,
        require_signature=trust.require_signature,
        public_keys=trust.public_keys,
    )
    log(arguments, str(network))
    return network


def opened(arguments: Arguments) -> Bundle:
    """Open a model's bundle, without loading its network. It is checked as for `loaded`.

    Raises:
        BadInput: as for `loaded`.
        Unavailable: the server cannot read NumPy's arrays.
    """
    _prepare(arguments)
    return Bundle.open(_bundle(arguments), _trust(arguments), to_run=True)


def log(arguments: Arguments, text: str) -> None:
    """Write a line about a model into the log of the server."""
    utils().Logger.log_info(one_line(f"{arguments['model_name']} version {arguments['model_version']}: {text}"))


def _bundle(arguments: Arguments) -> Path:
    """The folder of a model's bundle."""
    return Path(arguments["model_repository"]) / arguments["model_version"] / BUNDLE


def _trust(arguments: Arguments) -> Trust:
    """What the parameters of a model require of its bundle."""
    folder, given = Path(arguments["model_repository"]), parameters(arguments)
    return Trust(
        trust_engine=_is_on(given, TRUST_ENGINE),
        require_signature=_is_on(given, REQUIRE_SIGNATURE),
        public_keys=tuple(folder / name for name in given.get(PUBLIC_KEYS, "").split(",") if name),
    )


def _prepare(arguments: Arguments) -> None:
    """Prepare this process for the network of a model.

    Several instances share the cores: else each would have a thread a core, and they would wait for each other.

    Raises:
        Unavailable: the server cannot read NumPy's arrays.
    """
    check_arrays()
    groups = json.loads(arguments["model_config"]).get("instance_group", [])
    instances = sum(each["count"] * max(1, len(each["gpus"])) for each in groups)
    limit_threads(0 if instances < 2 else max(1, len(os.sched_getaffinity(0)) // instances))


def _is_on(given: Mapping[str, str], name: str) -> bool:
    """Whether a parameter is switched on."""
    value = given.get(name, "0")
    if value not in ("0", "1"):
        raise BadInput(f"the parameter `{name}` in config.pbtxt is '{value}', and must be 0 or 1")
    return value == "1"


def check_arrays() -> None:
    """Check that the server reads the values of NumPy's arrays.

    Servers before release 24.11 look for the size of a value where NumPy 1 had it
    (https://github.com/triton-inference-server/python_backend/pull/384). With NumPy 2, a model gets wrong values of
    requests, without an error. So an array goes through the server's tensors, and must come back.

    Raises:
        Unavailable: it does not.
    """
    tensor, sent = utils().Tensor, np.arange(6, dtype=np.float32).reshape(2, 3)
    back = tensor.from_dlpack("back", tensor("sent", sent).to_dlpack()).as_numpy()
    if not np.array_equal(sent, back):
        raise Unavailable(
            f"this server takes wrong values from the arrays of NumPy {np.__version__}, as servers before 24.11 do; "
            "run 'pip install \"numpy<2\"' for the server's Python, or use a newer server"
        )


def refused(error: BaseException) -> Any:
    """The response of a request that is refused: a `TritonError` with the text of the error.

    An error that is not a `TcjaError` is a bug, or of the system; the log of the server gets its traceback.
    """
    module = utils()
    known = user_error(error)
    if known is None:
        logger.error("a bug in tcja_runtime, please report it", exc_info=error)
        text, code = f"a bug in tcja_runtime: {type(error).__name__}: {error}", module.TritonError.INTERNAL
    else:
        text = str(known).replace("`form`", f"`{FORMAT}`")  # an argument of `tcja_runtime`
        code = module.TritonError.INVALID_ARG if isinstance(known, BadInput) else module.TritonError.UNAVAILABLE
    return module.InferenceResponse([], module.TritonError(text, code))


def answered(outputs: Mapping[str, npt.NDArray[Any]]) -> Any:
    """The response with outputs, by name."""
    module = utils()
    return module.InferenceResponse([module.Tensor(name, values) for name, values in outputs.items()])


def given(request: Any, name: str) -> npt.NDArray[Any] | None:
    """The values of an input of a request; None if the request does not have it."""
    tensor = utils().get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def not_loaded(error: TcjaError) -> Exception:
    """The exception with which a model tells its server that it cannot be loaded."""
    exception: Exception = utils().TritonModelException(str(error))
    return exception
