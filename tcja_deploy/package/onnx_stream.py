"""The model NAME_stream for Triton's backend for ONNX Runtime: a frame a request, and the server keeps the state.

config.pbtxt          `sequence_batching`, with the states (`tcja_exporters.graph.implicit_state`)
1/model.onnx          head and tail as one model, with weights.bin
initial_state/        the membranes of layers that do not begin at 0
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_deploy.package.agreement import Tensors
from tcja_deploy.package.configuration import INITIAL, protobuf, write_labels
from tcja_deploy.package.options import TritonOptions
from tcja_deploy.package.own_backends import (
    MODEL,
    first_version,
    new_config,
    output,
    parsed,
    proving_windows,
    set_onnxruntime,
    unlike,
    write_config,
)
from tcja_deploy.package.served import Request, Served
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.files.folder import write_model
from tcja_runtime.model_file.model import WEIGHTS, Model


def write_onnx_stream(folder: Path, name: str, bundle: Bundle, options: TritonOptions) -> None:
    """Write the model NAME_stream for frames in ONNX Runtime, whose state the server keeps, into a new folder.

    It runs one request at a time, if `max_batch` does not say otherwise: in a batch, ONNX Runtime may add up the terms
    of a product in another order.

    Raises:
        ParityNotMet: it does not give the bundle's answers.
        BadInput: the bundle contradicts itself.
        Unavailable: a package is missing.
    """
    from tcja_exporters.graph import implicit_state

    messages, manifest = protobuf(), bundle.manifest
    head, tail = (parsed(bundle.read(file)) for file in (HEAD, TAIL))
    made = implicit_state.joined(head, tail, manifest.streaming, manifest.time_steps)
    config = new_config(name, options, "onnxruntime", MODEL)
    config.max_batch_size = options.max_batch or 1
    set_onnxruntime(config, bundle)
    contract = manifest.input
    config.input.add(name=contract.step_name, data_type=messages.TYPE_FP32, dims=list(contract.shape[1:]))
    config.output.append(output(messages, bundle))
    config.output.add(name=implicit_state.COMPLETE, data_type=messages.TYPE_BOOL, dims=[1])
    batching = config.sequence_batching
    batching.max_sequence_idle_microseconds = options.cameras.idle
    batching.oldest.max_candidate_sequences = options.cameras.count
    batching.oldest.max_queue_delay_microseconds = options.delay
    for number, each in enumerate(made.state):
        kind = messages.TYPE_INT64 if each.start.dtype == np.int64 else messages.TYPE_FP32
        state = batching.state.add(input_name=each.before, output_name=each.after, data_type=kind)
        first = state.initial_state.add(name=f"rest {number}", data_type=kind)
        state.dims.extend(each.start.shape)
        first.dims.extend(each.start.shape)
        content = np.ascontiguousarray(each.start, each.start.dtype.newbyteorder("<")).tobytes()
        if content.strip(b"\0"):
            first.data_file = f"{number}.bin"
            (folder / INITIAL).mkdir(exist_ok=True)
            (folder / INITIAL / first.data_file).write_bytes(content)
        else:
            first.zero_data = True
    write_labels(folder, bundle)
    version = first_version(folder, bundle)
    model = Model(bundle.path / HEAD, made.model.SerializeToString(), bundle.read(WEIGHTS))
    write_model(model, version / MODEL)
    write_config(config, folder, bundle, Tensors.of_onnx(made.model))
    _prove_stream(folder, name, bundle)


def _prove_stream(folder: Path, name: str, bundle: Bundle) -> None:
    """Check the answers to golden windows, of two cameras whose frames come in turn.

    The first camera sends all windows. The second one starts again in the middle of a window.

    Raises:
        ParityNotMet: an answer is not that of the stepwise network.
    """
    served, windows = Served.open(folder), proving_windows(bundle)
    broken = bundle.manifest.time_steps // 2 + 1
    first, second = np.concatenate(windows), np.concatenate([windows[0][:broken], windows[-1]])
    cameras = ((1, first, (0,)), (2, second, (0, broken)))
    streams = {camera: Streams.open(bundle) for camera, _, _ in cameras}
    for at in range(max(len(first), len(second))):
        for camera, frames, starts in cameras:
            if at in starts:
                streams[camera].reset()
            if at < len(frames):
                frame = frames[at : at + 1]
                expected = streams[camera].push(frame).outputs
                request = Request({bundle.manifest.input.step_name: frame}, camera, start=at in starts)
                _check_frame(served.run([request])[0], expected, name, bundle)


def _check_frame(found: dict[str, npt.NDArray[Any]], expected: npt.NDArray[Any], name: str, bundle: Bundle) -> None:
    """Check the answer to a frame.

    Args:
        found: the answer.
        expected: the outputs for the windows that the frame completes, [0 or 1, ...].
        name: the name of the model.
        bundle: the bundle.
    """
    from tcja_exporters.graph.implicit_state import COMPLETE

    output = found[bundle.manifest.output]
    right = np.array_equal(output, expected) if len(expected) else not output.any()
    if bool(found[COMPLETE]) != bool(len(expected)) or not right:
        raise unlike(name, bundle)
