"""The model of whole windows, run by Triton's Python backend around the network that `tcja_runtime.load` loads."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tcja_deploy.package.configuration import (
    CONFIG,
    instances,
    protobuf,
    tensors,
    text,
    warm_up,
    write_data,
)
from tcja_deploy.package.options import TritonOptions
from tcja_deploy.package.repository import write_version
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.triton import server

_CLASS = "tcja_runtime.triton.windows.WholeWindows"
_MIB = 2**20
_KEYS = "keys"
"""The folder with the public keys that the server requires a signature of."""


def write_windows(folder: Path, name: str, bundle: Bundle, options: TritonOptions) -> None:
    """Write the model NAME of a repository into a new folder."""
    write_version(folder, bundle, _CLASS)
    write_data(folder, bundle)
    copy_keys(folder, options)
    (folder / CONFIG).write_text(text(windows_config(name, bundle, options)), encoding="utf-8")


def windows_config(name: str, bundle: Bundle, options: TritonOptions) -> Any:
    """Returns the configuration of the model NAME, a `ModelConfig`."""
    messages, contract = protobuf(), bundle.manifest.input
    taken, returned = tensors(messages, bundle, labelled=True)
    events = [messages.ModelInput(name=server.EVENTS, data_type=messages.TYPE_STRING, dims=[1], optional=True)]
    if takes_events(bundle):
        taken.optional = True
    most = largest_batch(bundle, options)
    config = messages.ModelConfig(
        name=name,
        backend="python",
        max_batch_size=most,
        input=[taken, *(events if takes_events(bundle) else [])],
        output=[returned],
        instance_group=[instances(messages, options.instances)],
        dynamic_batching=messages.ModelDynamicBatching(max_queue_delay_microseconds=options.delay),
        model_warmup=warm_up(messages, contract, (1, most)),
    )
    for key, value in parameters(options).items():
        config.parameters[key].string_value = value
    return config


def copy_keys(folder: Path, options: TritonOptions) -> None:
    """Copy the public keys that the server requires a signature of into the folder of a model."""
    for name, key in _keys(options).items():
        (folder / _KEYS).mkdir(exist_ok=True)
        shutil.copyfile(key, folder / name)


def parameters(options: TritonOptions) -> dict[str, str]:
    """Returns what the model requires of the bundle, as parameters of its configuration."""
    trust, found = options.trust, {}
    if trust.trust_engine:
        found[server.TRUST_ENGINE] = "1"
    if trust.require_signature:
        found[server.REQUIRE_SIGNATURE] = "1"
    if trust.public_keys:
        found[server.PUBLIC_KEYS] = ",".join(_keys(options))
    return found


def _keys(options: TritonOptions) -> dict[str, Path]:
    """The public keys that the server requires a signature of, by the paths of their copies in the model's folder."""
    names = [re.sub(r"[^A-Za-z0-9_.-]", "_", key.name) for key in options.trust.public_keys]
    several = len(set(names)) < len(names)
    paths = [f"{_KEYS}/{f'{n}_{name}' if several else name}" for n, name in enumerate(names)]
    return dict(zip(paths, options.trust.public_keys, strict=True))


def takes_events(bundle: Bundle) -> bool:
    """Returns whether the network takes frames that are made from events by a rule that is known."""
    contract = bundle.manifest.input
    return contract.name == "frames" and contract.split is not None


def largest_batch(bundle: Bundle, options: TritonOptions) -> int:
    """Returns the most windows that the server runs at once.

    It is that of the option, else the most that a command runs at once (`tcja_runtime.budget`), but no more than an
    engine of the bundle takes, which would run them in parts.
    """
    limits = [info.batch[2] for info in bundle.manifest.engines.values()]
    return options.max_batch or min([batch_size(bundle.manifest.signature), *limits])


def shared_memory(bundle: Bundle, options: TritonOptions) -> int:
    """Returns the bytes of shared memory (/dev/shm) in which the server hands largest batches to all instances.

    The backend makes its memory larger by 1 MiB at a time, and begins with 1 MiB (`shm-growth-byte-size`).
    """
    batch = largest_batch(bundle, options) * math.prod(bundle.manifest.input.shape) * np.dtype(np.float32).itemsize
    return options.instances * (1 + -(-batch // _MIB)) * _MIB
