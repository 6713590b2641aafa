"""Finds how large the rounding bounds of a network's signals can be, with ONNX Runtime.

`tcja_runtime.evidence.largest_bounds` says how, and `tcja_runtime.model_file.magnitudes` makes the model that runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

import numpy as np

from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.network_signature import NetworkSignature
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.largest_bounds import shares
from tcja_runtime.evidence.rounding import Arithmetic
from tcja_runtime.evidence.trace import Recording, Values
from tcja_runtime.model_file.magnitudes import SHAPE_OF, magnitudes
from tcja_runtime.model_file.model import Model
from tcja_runtime.model_file.subgraph import Dimensions
from tcja_runtime.model_file.tensor_names import current_tensor, given_tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Widest:
    """How large the rounding bounds of signals can be, for some windows.

    Attributes:
        signals: by signal, the largest bound of each value, [T, N, ...]. A signal behind an operation for which this
            is not known is not here.
        output: the largest bound of each value of the output, [N, ...]; None if it is not known.
    """

    signals: Mapping[str, Values]
    output: Values | None


def widest(
    model: Model,
    signature: NetworkSignature,
    recording: Recording,
    arithmetic: Arithmetic,
    *,
    weights: Mapping[str, Floats] | None = None,
    forced: bool = False,
) -> Widest:
    """Find how large the rounding bounds of all signals can be if the spikes of all layers are given.

    Args:
        model: model.plain.onnx.
        signature: the signature of the network.
        recording: the windows, with the spikes of the reference.
        arithmetic: the arithmetic of the network.
        weights: values that replace the network's weights, by the names of their tensors; None for its own.
        forced: whether the gates of attention blocks are given, too, and only the taps of windows are signals.

    Raises:
        Unavailable: ONNX Runtime is missing, or this machine has too little memory.
        BadInput: ONNX Runtime cannot run the model.
    """
    reference = recording.reference
    fired: dict[str, Floats] = {
        layer.result_tensor: reference.spikes[layer.name].astype(np.float32) for layer in signature.layers
    }
    values = fired | {name: np.abs(array) for name, array in (weights or {}).items()}
    taps = [tap for tap in signature.taps if tap.on_windows or not forced]
    for tap in taps if forced else ():
        if tap.is_gate:
            gate = tap.out_of_time(reference.whole(tap.name)).astype(np.float32)
            values[tap.tensor] = np.ascontiguousarray(np.abs(gate))
    tensors = {layer.name: current_tensor(layer.name) for layer in signature.layers}
    outputs = [signature.output, *tensors.values(), *(tap.tensor for tap in taps)]
    given: dict[str, Dimensions] = {name: (None,) * array.ndim for name, array in values.items()}
    found = magnitudes(model.content, outputs, given, list(fired))
    if not found.outputs:
        return Widest(signals={}, output=None)
    feeds = {given_tensor(name): array for name, array in values.items()} | {
        signature.input.name: np.abs(recording.inputs)
    }
    with contextlib.closing(OnnxRuntimeSession.open(dataclasses.replace(model, content=found.model))) as session:
        results = session.run({name: array for name, array in feeds.items() if name in session.inputs})
    shapes = {name: results.pop(SHAPE_OF + name).tolist() for name in found.shaped}
    share = shares(found, shapes, arithmetic)
    known = {name: results[name] * np.float32(share[name]) for name in found.outputs}
    signals = {name: known[tensor] for name, tensor in tensors.items() if tensor in known}
    signals |= {tap.name: tap.in_time(known[tap.tensor]) for tap in taps if tap.tensor in known}
    return Widest(signals=signals, output=known.get(signature.output))
