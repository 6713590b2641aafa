"""The model of streams, NAME_stream: each sequence of requests is a camera, run by Triton's Python backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tcja_deploy.package.configuration import CONFIG, instances, protobuf, text
from tcja_deploy.package.options import TritonOptions
from tcja_deploy.package.repository import write_version
from tcja_deploy.package.windows import copy_keys, parameters, takes_events
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput
from tcja_runtime.streaming.packets import PacketFrames
from tcja_runtime.triton import server, streams

STREAM = "_stream"
"""What the name of the model of streams ends with."""
_CLASS = "tcja_runtime.triton.streams.CameraStreams"


def write_streams(folder: Path, name: str, bundle: Bundle, options: TritonOptions) -> None:
    """Write the model NAME_stream of a repository into a new folder.

    Raises:
        BadInput: an option does not fit the bundle.
    """
    config = streams_config(name, bundle, options)
    write_version(folder, bundle, _CLASS)
    copy_keys(folder, options)
    (folder / CONFIG).write_text(text(config), encoding="utf-8")


def streams_config(name: str, bundle: Bundle, options: TritonOptions) -> Any:
    """Returns the configuration of the model NAME_stream, a `ModelConfig`.

    It has no `control_input`: the model reads the start, the end and the correlation ID from the request itself.

    Raises:
        BadInput: the windows of packets do not fit the network.
    """
    messages, cameras, contract = protobuf(), options.cameras, bundle.manifest.input
    taken = {contract.step_name: (messages.TYPE_FP32, contract.shape[1:])}
    if takes_events(bundle):
        taken[server.EVENTS] = (messages.TYPE_STRING, (1,))
    if cameras.rule is not None:
        if not takes_events(bundle):
            raise BadInput("`window` is for events, and it is not known how this network's frames are made of them")
        PacketFrames(contract, cameras.rule, "the stream")
    returned = {
        bundle.manifest.output: (messages.TYPE_FP32, (-1, len(bundle.manifest.classes))),
        streams.CLASS: (messages.TYPE_STRING, (-1,)),
        **dict.fromkeys(streams.NUMBERS, (messages.TYPE_INT64, (-1,))),
        streams.WHOLE: (messages.TYPE_BOOL, (-1,)),
        streams.STEP: (messages.TYPE_INT64, (1,)),
        streams.DROPPED: (messages.TYPE_INT64, (1,)),
    }
    config = messages.ModelConfig(
        name=name,
        backend="python",
        max_batch_size=cameras.count,
        input=[
            messages.ModelInput(name=each, data_type=kind, dims=dims, optional=True)
            for each, (kind, dims) in taken.items()
        ],
        output=[messages.ModelOutput(name=each, data_type=kind, dims=dims) for each, (kind, dims) in returned.items()],
        instance_group=[instances(messages, options.instances)],
        sequence_batching=messages.ModelSequenceBatching(
            max_sequence_idle_microseconds=cameras.idle,
            oldest=messages.ModelSequenceBatching.StrategyOldest(
                max_candidate_sequences=cameras.count, max_queue_delay_microseconds=options.delay
            ),
        ),
    )
    for key, value in {**parameters(options), **_of_packets(options)}.items():
        config.parameters[key].string_value = value
    return config


def _of_packets(options: TritonOptions) -> dict[str, str]:
    """How packets become frames, as parameters of the configuration."""
    rule = options.cameras.rule
    if rule is None:
        return {}
    window = rule.window
    said = {streams.WINDOW: f"{window.length}{window.unit}", streams.HOP: f"{window.hop}{window.unit}"}
    return {**said, server.FORMAT: rule.form} if rule.form else said
