"""Golden vectors: inputs and everything the reference did with them, in one .npz that numpy alone reads.

Arrays: the inputs under the contract's name, float32 [N, ...]; `labels` int64 [N] where known; `output` [N, classes];
`layers`, their names in order; `spike_counts` int64 [layers, N, T]; and for each layer ``spikes:LAYER`` uint8 [N, ...],
a row a window, its spikes [T, ...] packed by `numpy.packbits`, and ``shape:LAYER``, the shape [T, ...] of a row.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput
from tcja_runtime.frames import InputContract, Samples
from tcja_runtime.trace import Spikes, Trace

MAX_WINDOWS = 16
MAX_BYTES = 32 * 2**20
"""Bounds on what is kept, spikes counted as bits: enough to prove parity again, little enough to copy to a board."""


@dataclasses.dataclass(frozen=True)
class PackedSpikes:
    """A layer's spikes, a row of bits a window.

    Attributes:
        shape: of a window's spikes, [T, ...].
        rows: uint8 [N, bytes].
    """

    shape: tuple[int, ...]
    rows: npt.NDArray[np.uint8]

    @classmethod
    def pack(cls, spikes: Spikes) -> PackedSpikes:
        """From spikes [T, N, ...]."""
        windows = np.moveaxis(spikes, 1, 0)
        return cls(windows.shape[1:], np.packbits(windows.reshape(len(windows), -1), axis=1))

    def unpack(self, part: slice) -> Spikes:
        """The spikes [T, N, ...] of some windows."""
        bits = np.unpackbits(self.rows[part], axis=1, count=int(np.prod(self.shape)))
        return np.moveaxis(bits.view(np.bool_).reshape(-1, *self.shape), 0, 1)


@dataclasses.dataclass(frozen=True)
class Golden:
    """Windows, and what the reference did with them.

    Attributes:
        samples: the windows.
        output: the reference's, [N, classes].
        spikes: by layer, in the order they fire.
        counts: spikes a layer, window and step, [layers, N, T].
    """

    samples: Samples
    output: npt.NDArray[np.floating[Any]]
    spikes: Mapping[str, PackedSpikes]
    counts: npt.NDArray[np.int64]

    def trace(self, part: slice) -> Trace:
        """The reference's trace of some of the windows."""
        return Trace(self.output[part], {layer: packed.unpack(part) for layer, packed in self.spikes.items()})


class Recorder:
    """Collects golden vectors from the traces of successive batches, within the bounds."""

    def __init__(self) -> None:
        self._parts: list[tuple[npt.NDArray[Any], dict[str, PackedSpikes], npt.NDArray[np.int64]]] = []
        self._room = MAX_WINDOWS

    def add(self, trace: Trace) -> None:
        """Keep what of this batch there is room for."""
        if not self._parts:
            bits = sum(spikes[:, 0].size for spikes in trace.spikes.values())
            self._room = max(1, min(MAX_WINDOWS, MAX_BYTES * 8 // bits))
        if self._room:
            kept = trace.windows(slice(self._room))
            packed = {layer: PackedSpikes.pack(spikes) for layer, spikes in kept.spikes.items()}
            self._parts.append((kept.output, packed, kept.spike_counts()))
            self._room -= len(kept.output)

    def golden(self, samples: Samples) -> Golden:
        """The golden vectors, given the samples that the batches were taken from."""
        outputs, spikes, counts = zip(*self._parts, strict=True)
        joined = {
            layer: PackedSpikes(packed.shape, np.concatenate([part[layer].rows for part in spikes]))
            for layer, packed in spikes[0].items()
        }
        output = np.concatenate(outputs)
        return Golden(samples.first(len(output)), output, joined, np.concatenate(counts, axis=1))


def save(path: Path, golden: Golden, contract: InputContract) -> None:
    """Write golden vectors, compressed."""
    arrays: dict[str, Any] = {
        contract.name: golden.samples.inputs,
        "output": golden.output,
        "layers": np.array(list(golden.spikes)),
        "spike_counts": golden.counts,
        "source": np.array(golden.samples.source),
        "real": np.array(golden.samples.real),
    }
    if golden.samples.labels is not None:
        arrays["labels"] = golden.samples.labels
    for layer, packed in golden.spikes.items():
        arrays[f"spikes:{layer}"] = packed.rows
        arrays[f"shape:{layer}"] = np.array(packed.shape)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: Path, contract: InputContract) -> Golden:
    """Read what `save` wrote.

    Raises:
        BadInput: it wrote something else.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            spikes = {
                layer: PackedSpikes(tuple(archive[f"shape:{layer}"].tolist()), archive[f"spikes:{layer}"])
                for layer in map(str, archive["layers"])
            }
            samples = Samples(
                inputs=archive[contract.name],
                labels=archive.get("labels"),
                source=str(archive["source"]),
                real=bool(archive["real"]),
            )
            return Golden(samples, archive["output"], spikes, archive["spike_counts"])
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} holds no golden vectors ({error}); export the bundle again") from error
