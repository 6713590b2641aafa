"""The model of whole windows, run by Triton's Python backend around the network that `tcja_runtime.load` loads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tcja_deploy.package.configuration import (
    CONFIG,
    LABELS,
    WARM_UP,
    WARM_UP_FILE,
    instances,
    label_lines,
    protobuf,
    tensors,
    text,
    warm_up,
)
from tcja_deploy.package.options import TritonOptions
from tcja_deploy.package.repository import VERSION, copy_bundle, write_model
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden
from tcja_runtime.triton import server

_CLASS = "tcja_runtime.triton.windows.WholeWindows"
_KEYS = "keys"
"""The folder with the public keys that the server requires a signature of."""


def write_windows(folder: Path, name: str, bundle: Bundle, options: TritonOptions) -> None:
    """Write the model NAME of a repository into a new folder.

    Raises:
        BadInput: an option does not fit the bundle.
    """
    version = folder / VERSION
    copy_bundle(bundle, version)
    write_model(version, _CLASS)
    contract = bundle.manifest.input
    (folder / WARM_UP).mkdir()
    window = golden.windows(bundle, contract)[:1]
    (folder / WARM_UP / WARM_UP_FILE).write_bytes(np.ascontiguousarray(window, "<f4").tobytes())
    if bundle.manifest.classes:
        (folder / LABELS).write_text(label_lines(bundle.manifest.classes), encoding="utf-8")
    for number, key in enumerate(options.trust.public_keys):
        (folder / _KEYS).mkdir(exist_ok=True)
        shutil.copyfile(key, folder / _KEYS / str(number))
    (folder / CONFIG).write_text(text(windows_config(name, bundle, options)), encoding="utf-8")


def windows_config(name: str, bundle: Bundle, options: TritonOptions) -> Any:
    """Returns the configuration of the model NAME, a `ModelConfig`.

    Raises:
        BadInput: an option does not fit the bundle.
    """
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
        instance_group=[instances(messages, bundle, options.instances)],
        dynamic_batching=messages.ModelDynamicBatching(max_queue_delay_microseconds=options.delay),
        model_warmup=warm_up(messages, contract, (1, most)),
    )
    for key, value in parameters(options).items():
        config.parameters[key].string_value = value
    return config


def parameters(options: TritonOptions) -> dict[str, str]:
    """Returns what the model requires of the bundle, as parameters of its configuration."""
    trust, found = options.trust, {}
    if trust.trust_engine:
        found[server.TRUST_ENGINE] = "1"
    if trust.require_signature:
        found[server.REQUIRE_SIGNATURE] = "1"
    if trust.public_keys:
        found[server.PUBLIC_KEYS] = ",".join(f"{_KEYS}/{number}" for number in range(len(trust.public_keys)))
    return found


def takes_events(bundle: Bundle) -> bool:
    """Returns whether the network takes frames that are made from events by a rule that is known."""
    contract = bundle.manifest.input
    return contract.name == "frames" and contract.split is not None


def largest_batch(bundle: Bundle, options: TritonOptions) -> int:
    """Returns the most windows that the server runs at once.

    It is that of the option, else the most that a command runs at once (`tcja_runtime.budget`). No engine of the bundle
    has a smaller limit.

    Raises:
        BadInput: the option is larger than the largest batch of an engine.
    """
    limits = {name: info.batch[2] for name, info in bundle.manifest.engines.items()}
    if options.max_batch is None:
        return min([batch_size(bundle.manifest.signature), *limits.values()])
    for name, limit in limits.items():
        if options.max_batch > limit:
            raise BadInput(f"`max_batch` {options.max_batch} is more than engine {name} takes, which is {limit}")
    return options.max_batch
