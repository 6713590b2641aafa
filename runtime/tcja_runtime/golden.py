"""Golden vectors: inputs and everything the reference did with them, in one .npz that numpy alone reads.

Arrays: the inputs under the contract's name, float32 [N, ...]; `labels` int64 [N] where known; `output` [N, classes];
`layers`, their names in order; `spike_counts` int64 [layers, N, T]; and a layer's spikes [T, N, ...] as bits, packed
by `numpy.packbits`, under ``spikes:LAYER``, with its shape under ``shape:LAYER``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from tcja_runtime.frames import InputContract, Samples
from tcja_runtime.trace import Trace

MAX_WINDOWS = 16
MAX_BYTES = 32 * 2**20
"""Bounds on what is kept, spikes counted as bits: enough to prove parity again, little enough to copy to a board."""


@dataclasses.dataclass(frozen=True)
class Golden:
    """Windows and the reference's trace of them."""

    samples: Samples
    trace: Trace


class Recorder:
    """Collects golden vectors from the traces of successive batches, within the bounds."""

    def __init__(self) -> None:
        self._traces: list[Trace] = []
        self._room = MAX_WINDOWS

    def add(self, trace: Trace) -> None:
        """Keep what of this batch there is room for."""
        if not self._traces:
            bits = sum(spikes[:, 0].size for spikes in trace.spikes.values())
            self._room = max(1, min(MAX_WINDOWS, MAX_BYTES * 8 // bits))
        if self._room:
            self._traces.append(trace.windows(slice(self._room)))
            self._room -= len(self._traces[-1].output)

    def golden(self, samples: Samples) -> Golden:
        """The golden vectors, given the samples that the batches were taken from."""
        trace = Trace.joined(self._traces)
        return Golden(samples.first(len(trace.output)), trace)


def save(path: Path, golden: Golden, contract: InputContract) -> None:
    """Write golden vectors, compressed."""
    arrays: dict[str, Any] = {
        contract.name: golden.samples.inputs,
        "output": golden.trace.output,
        "layers": np.array(list(golden.trace.spikes)),
        "spike_counts": golden.trace.spike_counts(),
        "source": np.array(golden.samples.source),
        "real": np.array(golden.samples.real),
    }
    if golden.samples.labels is not None:
        arrays["labels"] = golden.samples.labels
    for layer, spikes in golden.trace.spikes.items():
        arrays[f"spikes:{layer}"] = np.packbits(spikes)
        arrays[f"shape:{layer}"] = np.array(spikes.shape)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: Path, contract: InputContract) -> Golden:
    """Read what `save` wrote; the caller has checked the file's hash."""
    with np.load(path, allow_pickle=False) as archive:
        spikes = {}
        for layer in map(str, archive["layers"]):
            shape = archive[f"shape:{layer}"]
            bits = np.unpackbits(archive[f"spikes:{layer}"], count=int(shape.prod()))
            spikes[layer] = bits.reshape(shape).view(np.bool_)
        samples = Samples(
            inputs=archive[contract.name],
            labels=archive.get("labels"),
            source=str(archive["source"]),
            real=bool(archive["real"]),
        )
        return Golden(samples, Trace(archive["output"], spikes))
