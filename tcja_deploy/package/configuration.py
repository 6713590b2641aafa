"""The configuration of a model, config.pbtxt: what all models of a repository have in common.

It is made with Triton's own protobuf, `tritonclient.grpc.model_config_pb2`, so a field that does not exist is an error
here. The fields are described in model_config.proto (https://github.com/triton-inference-server/common).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput, Unavailable, first_line
from tcja_runtime.evidence import golden
from tcja_runtime.files import limits
from tcja_runtime.files.reading import read_file

CONFIG = "config.pbtxt"
LABELS = "labels.txt"
WARM_UP, WARM_UP_FILE = "warmup", "window"
"""The folder of the server's warm-up data, and the file in it: the first golden window."""
INITIAL = "initial_state"
"""The folder of the files with the initial values of states."""


def protobuf() -> Any:
    """The module of Triton's own messages.

    Raises:
        Unavailable: the package tritonclient, or a package that it needs for gRPC, is not installed.
    """
    try:
        from tritonclient.grpc import model_config_pb2
    except ImportError as error:
        what = "the package tritonclient with its part for gRPC is not installed"
        raise Unavailable(f"{what}: run 'pip install \"tritonclient[grpc]\"'") from error
    return model_config_pb2


def text(config: Any) -> str:
    """A configuration as the text of config.pbtxt."""
    from google.protobuf import text_format

    written: str = text_format.MessageToString(config)
    return written


def read(folder: Path) -> Any:
    """Returns the configuration of a model in a repository, a `ModelConfig`.

    Raises:
        BadInput: there is no such model, or its file is too large, or is not the configuration of a model.
    """
    from google.protobuf import text_format

    file = folder / CONFIG
    if not file.is_file():
        raise BadInput(f"{folder} is not a model of a repository, so it gets no `new_version`; leave the option out")
    written = read_file(file, limits.SETTINGS)
    try:
        return text_format.Parse(written.decode(), protobuf().ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} is not the configuration of a model: {first_line(error)}") from error


def check_fits(model: Path, other: Path) -> None:
    """Check that the configuration of a model, and the files that it names, fit another bundle.

    Args:
        model: the folder of the model.
        other: the folder of the model that would be written of the bundle.

    Raises:
        BadInput: they do not.
    """
    config, wanted = read(model), read(other)
    for field in ("backend", "max_batch_size", "input", "output", "optimization"):
        found, new = getattr(config, field), getattr(wanted, field)
        if found != new:
            raise BadInput(
                f"{config.name}: the field {field} of its configuration does not fit this bundle ({_said(found)}, and "
                f"not {_said(new)}); package it under another `name`"
            )
    if (other / LABELS).exists() and not _same(model / LABELS, other / LABELS):
        raise BadInput(
            f"{config.name}: its {LABELS} has other classes than this bundle; package it under another `name`"
        )
    states = [each.sequence_batching.state for each in (config, wanted)]
    files = [(model / INITIAL / each.name, each) for each in sorted((other / INITIAL).glob("*"))]
    if states[0] != states[1] or not all(_same(one, another) for one, another in files):
        raise BadInput(f"{config.name}: its states are not those of this bundle; package it under another `name`")


def _same(file: Path, other: Path) -> bool:
    """Whether a file has the content of another one."""
    return file.is_file() and file.read_bytes() == other.read_bytes()


def _said(value: Any) -> str:
    """A value of a configuration in a line."""
    parts = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return ", ".join(" ".join(str(each).split()) for each in parts)


def tensors(messages: Any, bundle: Bundle, *, labelled: bool) -> tuple[Any, Any]:
    """Returns the input and the output of a bundle's network, for whole windows, without the batch axis.

    Args:
        messages: the module of Triton's messages.
        bundle: the bundle.
        labelled: whether the output has the names of the classes, as the file `LABELS`.
    """
    manifest = bundle.manifest
    taken = messages.ModelInput(name=manifest.input.name, data_type=messages.TYPE_FP32, dims=list(manifest.input.shape))
    returned = messages.ModelOutput(
        name=manifest.output,
        data_type=messages.TYPE_FP32,
        dims=[len(manifest.classes)] if manifest.classes else list(manifest.output_shape),
        label_filename=LABELS if labelled and manifest.classes else "",
    )
    return taken, returned


def instances(messages: Any, count: int) -> Any:
    """Returns the instances of a model of the Python backend: `count` processes.

    Their kind is CPU for every bundle: it says only that the server hands out no GPU. The runtime finds an engine's GPU
    by itself, the first that CUDA shows. KIND_GPU would start `count` processes for each GPU, all on the first one, and
    KIND_AUTO with this GPU alone does not load on a server without GPUs.
    """
    return messages.ModelInstanceGroup(count=count, kind=messages.ModelInstanceGroup.KIND_CPU)


def warm_up(messages: Any, contract: InputContract, sizes: Iterable[int]) -> list[Any]:
    """Returns the runs with which the server warms a model up: its first golden window, in batches of these sizes."""
    given = messages.ModelWarmup.Input(
        data_type=messages.TYPE_FP32, dims=list(contract.shape), input_data_file=WARM_UP_FILE
    )
    return [
        messages.ModelWarmup(name=f"{size} of a golden window", batch_size=size, inputs={contract.name: given})
        for size in dict.fromkeys(sizes)
    ]


def write_data(folder: Path, bundle: Bundle) -> None:
    """Write the files that the configuration of a model of whole windows names: its warm-up, and its labels."""
    (folder / WARM_UP).mkdir()
    window = golden.windows(bundle, bundle.manifest.input)[:1]
    (folder / WARM_UP / WARM_UP_FILE).write_bytes(np.ascontiguousarray(window, "<f4").tobytes())
    write_labels(folder, bundle)


def write_labels(folder: Path, bundle: Bundle) -> None:
    """Write the names of the classes, if the network has any: each on a line, with what would end a line replaced."""
    lines = [f"{' '.join(name.split()) or '-'}\n" for name in bundle.manifest.classes]
    if lines:
        (folder / LABELS).write_text("".join(lines), encoding="utf-8")
