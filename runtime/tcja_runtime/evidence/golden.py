"""Golden vectors: input windows and what the reference computed from them, in one .npz file that numpy can read.

The reference is the trained network, computed in float64. The file holds N windows of the data (random windows if the
export had no data) in these arrays:

    the inputs              float32 [N, ...]; the array has the name of the network's input, such as "frames"
    `labels`                int64 [N]; the file does not have this array if labels are not known
    `source`, `real`        the origin of the windows; whether they are data, not random
    `layers`                the names of the spiking layers, in the order in which they fire
    `spike_counts`          int64 [layers, N, T]
    ``spikes:LAYER``        uint8 [N, bytes]: for each window the spikes [T, ...], packed by `numpy.packbits`
    ``shape:LAYER``         the shape [T, ...] of the spikes of a window
    ``near:LAYER``          int64 [N, T]: the number of undecided neurons

Files of bundles with spike counts have the bounds of `tcja_runtime.evidence.spike_counts.FreeRunningBounds`:

    `open`, `open_output`   int64 [N, layers, T]; float32 [N, ...]

The arrays `likeliest`, `early`, `shown` and `answered` (the digest) are the reference's predictions
(`tcja_runtime.evidence.predictions.Predictions`). They are for all windows of the data of the export; the N windows in
the file are the first of these.

The array `scenes` has the names of the stimuli: random, exact and range. Their inputs and spikes can be made again
(`tcja_runtime.evidence.stimulus`, `tcja_runtime.evidence.input_range`), so the file only holds what the reference
computed from them. The names of these arrays begin with ``SCENE/``, where SCENE is the name of the stimulus. `largest`
is the largest count of the range stimulus; a file without it has no range stimulus.

The results of the reference (`tcja_runtime.evidence.trace.Reference`), for the windows and for each stimulus:

    `output`, `output_bound`        [N, ...]
    `signals`                       the names of the signals
    ``window:SIGNAL``, ``element:SIGNAL`` [K], ``values:SIGNAL``, ``bounds:SIGNAL`` [T, K]
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.bundle.bundle import GOLDEN
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.data.windows import InMemoryWindows, Windows
from tcja_runtime.errors import BadInput, first_line
from tcja_runtime.evidence import input_range, stimulus
from tcja_runtime.evidence.packed_spikes import PackedSpikes
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.spike_counts import FreeRunningBounds
from tcja_runtime.evidence.trace import Recording, Reference, Spikes, Witnesses
from tcja_runtime.files import limits, npz
from tcja_runtime.files.folder import Files

MAX_WINDOWS = 16
MAX_BYTES = 32 * 2**20
"""The most windows in golden vectors, and the most bytes of their packed spikes and recorded values.

These windows are enough to prove parity again, and the file is small enough to copy to a board.
"""

_MOST_DRAWN = 64  # the most windows of a stimulus; those of this version have 8 at most

Arrays = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Golden:
    """Golden vectors: windows and stimuli, with what the reference computed from them.

    Attributes:
        samples: the windows.
        spikes: the packed spikes of each layer for the windows, in the order in which the layers fire.
        recorded: the reference's results for the windows without the spikes: `recorded.spikes` is empty.
        scenes: the reference's results for each stimulus, by the name of the stimulus.
        predictions: the reference's predictions for all windows of the data of the export, of which `samples` are the
            first; `Predictions.none()` if the network does not classify.
        largest: the largest count of the range stimulus; 0 without this stimulus.
        free_running: how far a correct network that runs on its own can be from the reference, for the windows; None in
            a bundle without spike counts.
    """

    samples: InMemoryWindows
    spikes: Mapping[str, PackedSpikes]
    recorded: Reference
    scenes: Mapping[str, Reference]
    predictions: Predictions
    largest: int = 0
    free_running: FreeRunningBounds | None = None

    def batches(self, size: int) -> Iterator[Recording]:
        """Yields the windows with the reference's results, `size` windows at a time."""
        for start in range(0, len(self.samples), size):
            yield self.recording(slice(start, start + size))

    def recording(self, part: slice) -> Recording:
        """Returns a part of the windows with the reference's results."""
        return Recording(self.samples.inputs[part], self.reference(part))

    def stimuli(self, contract: InputContract) -> dict[str, Recording]:
        """Returns the stimuli with the reference's results, by the name of the stimulus."""
        return {
            scene: Recording(
                input_range.inputs(contract, len(reference), self.largest)
                if scene == input_range.RANGE
                else stimulus.inputs(contract, len(reference)),
                reference,
            )
            for scene, reference in self.scenes.items()
        }

    def largest_count(self, contract: InputContract) -> int:
        """Returns the largest count that the range stimulus has; 0 if inputs are not counts, or without this stimulus.

        Args:
            contract: the input contract of the network.
        """
        return self.largest if contract.scaling == "counts" else 0

    def covers_range(self, contract: InputContract) -> bool:
        """Returns whether the range stimulus is here, or the network takes none.

        It is missing if signals overflow with all counts that are tried, and in the files of older versions.

        Args:
            contract: the input contract of the network.
        """
        return input_range.RANGE in self.scenes or not input_range.takes_range(contract)

    def reference(self, part: slice) -> Reference:
        """Returns the reference's results for a part of the windows, with the spikes."""
        spikes = {layer: packed.unpack(part) for layer, packed in self.spikes.items()}
        return dataclasses.replace(self.recorded.windows(part), spikes=spikes)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """The number of spikes in each layer, for each window and time step, int64 [layers, N, T]."""
        return np.stack([packed.counts for packed in self.spikes.values()])


class Recorder:
    """Collects golden vectors batch by batch, up to MAX_WINDOWS and MAX_BYTES."""

    def __init__(self) -> None:
        self._parts: list[tuple[dict[str, PackedSpikes], Reference]] = []
        self._room: int | None = None
        self._scenes: dict[str, Reference] = {}
        self._largest = 0
        self._bounds: list[FreeRunningBounds | None] = []

    def add(self, reference: Reference) -> int:
        """Keep windows of a batch until MAX_WINDOWS or MAX_BYTES is reached; at least one window is kept.

        Args:
            reference: the reference's results for the batch.

        Returns:
            The number of windows of the batch that are kept: its first.
        """
        if self._room is None:
            packed = sum(spikes[:, 0].size // 8 for spikes in reference.spikes.values())
            seen = [found for found in reference.witnesses.values() if len(found.window)]
            witnessed = sum(found.values.nbytes + found.bounds.nbytes for found in seen) // len(reference)
            self._room = max(1, min(MAX_WINDOWS, MAX_BYTES // (packed + witnessed)))
        if self._room:
            kept = reference.windows(slice(self._room))
            packed_spikes = {layer: PackedSpikes.pack(spikes) for layer, spikes in kept.spikes.items()}
            self._parts.append((packed_spikes, dataclasses.replace(kept, spikes={})))
            self._room -= len(kept)
            return len(kept)
        return 0

    def add_bounds(self, bounds: FreeRunningBounds | None) -> None:
        """Keep the free-running bounds of the windows that were kept last; None if they are not known."""
        self._bounds.append(bounds)

    def add_scene(self, name: str, reference: Reference, largest: int = 0) -> None:
        """Keep the reference's results for a stimulus.

        Args:
            name: the name of the stimulus, such as RANDOM of `tcja_runtime.evidence.stimulus`.
            reference: the results.
            largest: the largest count of the range stimulus; not used for others.
        """
        self._scenes[name] = reference
        if name == input_range.RANGE:
            self._largest = largest

    def golden(self, windows: Windows, predictions: Predictions) -> Golden:
        """Returns the golden vectors.

        Args:
            windows: the windows that the batches were taken from, in the same order.
            predictions: the reference's predictions for all of these windows.
        """
        packed, references = zip(*self._parts, strict=True)
        spikes = {
            layer: PackedSpikes(first.shape, np.concatenate([part[layer].rows for part in packed]))
            for layer, first in packed[0].items()
        }
        recorded = Reference.joined(references)
        first = windows.first(len(recorded))
        samples = InMemoryWindows(
            inputs=next(first.batches(len(first))), labels=first.labels, source=windows.source, real=windows.real
        )
        known = [each for each in self._bounds if each is not None]
        bounds = FreeRunningBounds.joined(known) if known and len(known) == len(self._parts) else None
        return Golden(samples, spikes, recorded, self._scenes, predictions, self._largest, bounds)


def save(path: Path, golden: Golden, contract: InputContract) -> None:
    """Write golden vectors to a compressed .npz file. The array of inputs has the name of the contract."""
    arrays: Arrays = {
        contract.name: golden.samples.inputs,
        "layers": np.array(list(golden.spikes)),
        "spike_counts": golden.counts,
        "source": np.array(golden.samples.source),
        "real": np.array(golden.samples.real),
        "answered": np.array(golden.predictions.digest),
        "likeliest": golden.predictions.likeliest,
        "early": golden.predictions.early,
        "shown": golden.predictions.shown,
        "scenes": np.array(list(golden.scenes), dtype=np.str_),
        "largest": np.array(golden.largest),
        **_arrays(golden.recorded),
    }
    if golden.free_running is not None:
        arrays |= {"open": golden.free_running.open, "open_output": golden.free_running.output}
    if golden.samples.labels is not None:
        arrays["labels"] = golden.samples.labels
    for layer, packed in golden.spikes.items():
        arrays[f"spikes:{layer}"] = packed.rows
        arrays[f"shape:{layer}"] = np.array(packed.shape)
        arrays[f"near:{layer}"] = golden.recorded.undecided[layer]
    for scene, reference in golden.scenes.items():
        arrays |= {f"{scene}/{name}": array for name, array in _arrays(reference).items()}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read(files: Files, contract: InputContract) -> Golden:
    """Read the golden vectors of a bundle.

    Raises:
        BadInput: as for `load`.
    """
    return load(files.path / GOLDEN, contract, files.read(GOLDEN))


def load(path: Path, contract: InputContract, content: bytes | None = None) -> Golden:
    """Read golden vectors that `save` wrote, from a file or from its content.

    Raises:
        BadInput: the file cannot be read, or does not hold golden vectors.
    """
    try:
        arrays: Arrays = npz.values(path, content, more=_most_inputs(contract))
        layers = list(map(str, arrays["layers"]))
        _check_types(arrays, contract, layers)
        spikes = {
            layer: PackedSpikes(tuple(arrays[f"shape:{layer}"].tolist()), arrays[f"spikes:{layer}"]) for layer in layers
        }
        samples = InMemoryWindows(
            inputs=arrays[contract.name],
            labels=arrays.get("labels"),
            source=str(arrays["source"]),
            real=bool(arrays["real"]),
        )
        undecided = {layer: arrays[f"near:{layer}"] for layer in layers}
        scenes = {}
        for scene in map(str, arrays["scenes"]):
            n = len(arrays[f"{scene}/output"])
            _check(f"{scene}/output", n <= _MOST_DRAWN)
            spikes_again = {layer: stimulus.spikes(layer, p.shape[1:], p.shape[0], n) for layer, p in spikes.items()}
            scenes[scene] = _reference(arrays, f"{scene}/", spikes_again, {})
        predictions = Predictions(
            likeliest=arrays["likeliest"],
            early=arrays["early"],
            shown=arrays["shown"],
            source=samples.source,
            digest=str(arrays["answered"]),
            labels=samples.labels,
        )
        stored = np.asarray(arrays.get("largest", 0))
        _check("largest", _are_numbers(stored, "iu") and stored.shape == ())
        largest = int(stored)
        _check("largest", 0 <= largest <= input_range.LARGEST and (largest > 0) == (input_range.RANGE in scenes))
        recorded = _reference(arrays, "", {}, undecided)
        return Golden(samples, spikes, recorded, scenes, predictions, largest, _free_running(arrays))
    except BadInput as error:
        raise BadInput(f"{error}; copy the bundle again") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BadInput(f"{path} does not hold golden vectors ({first_line(error)}); export the bundle again") from error


def windows(files: Files, contract: InputContract) -> Floats:
    """Returns the windows of the golden vectors of a bundle, without reading the other arrays.

    Raises:
        BadInput: as for `load`.
    """
    path = files.path / GOLDEN
    try:
        array = npz.arrays(path, files.read(GOLDEN))[contract.name]
        found: Floats = array.whole(limits.room(array.packed) + _most_inputs(contract))
        _check(contract.name, _are_numbers(found, "f") and found.size > 0)
        return found
    except BadInput as error:
        raise BadInput(f"{error}; copy the bundle again") from error
    except (ValueError, KeyError) as error:
        raise BadInput(f"{path} does not hold golden vectors ({first_line(error)}); export the bundle again") from error


def _most_inputs(contract: InputContract) -> int:
    """Return the size of the most windows, in bytes."""
    return MAX_WINDOWS * math.prod(contract.shape) * np.dtype(np.float32).itemsize


def _check_types(arrays: Arrays, contract: InputContract, layers: Sequence[str]) -> None:
    """Raise a ValueError if an array has values of another type, or packed spikes do not fit their shape."""
    kinds = {contract.name: "f", "likeliest": "iu", "early": "iu", "shown": "iu"}
    kinds |= {f"{kind}:{layer}": "iu" for layer in layers for kind in ("spikes", "shape", "near")}
    kinds |= {"labels": "iu"} if "labels" in arrays else {}
    for name, kind in kinds.items():
        _check(name, _are_numbers(arrays[name], kind))
    for layer in layers:
        rows, sizes = arrays[f"spikes:{layer}"], arrays[f"shape:{layer}"]
        fits = sizes.ndim == 1 and len(sizes) > 0 and min(sizes) > 0 and rows.ndim == 2 and rows.dtype == np.uint8
        _check(f"spikes:{layer}", fits and rows.shape[1] == -(-math.prod(sizes.tolist()) // 8))
        _check(f"spikes:{layer}", len(rows) == len(arrays[contract.name]) > 0)


def _arrays(reference: Reference) -> Arrays:
    arrays: Arrays = {
        "output": reference.output,
        "output_bound": reference.output_bound,
        "signals": np.array(list(reference.witnesses)),
    }
    for signal, found in reference.witnesses.items():
        arrays |= {f"{name}:{signal}": array for name, array in vars(found).items()}
    return arrays


def _reference(
    arrays: Arrays, prefix: str, spikes: Mapping[str, Spikes], undecided: Mapping[str, npt.NDArray[np.int64]]
) -> Reference:
    output, bound = arrays[f"{prefix}output"], arrays[f"{prefix}output_bound"]
    _check(f"{prefix}output", _are_numbers(output, "f") and _are_numbers(bound, "f") and output.shape == bound.shape)

    def witnesses(signal: str) -> Witnesses:
        names = [field.name for field in dataclasses.fields(Witnesses)]
        found = Witnesses(*(arrays[f"{prefix}{name}:{signal}"] for name in names))
        places, values = (found.window, found.element), (found.values, found.bounds)
        fits = all(_are_numbers(each, "iu") and each.shape == (found.values.shape[1],) for each in places)
        fits = fits and all(_are_numbers(each, "f") and each.shape == found.values.shape for each in values)
        fits = fits and all(each.min(initial=0) >= 0 for each in (*places, found.bounds))
        _check(f"{prefix}{signal}", fits and found.window.max(initial=-1) < len(output))
        return found

    signals = {signal: witnesses(signal) for signal in map(str, arrays[f"{prefix}signals"])}
    return Reference(output=output, output_bound=bound, spikes=spikes, undecided=undecided, witnesses=signals)


def _free_running(arrays: Arrays) -> FreeRunningBounds | None:
    """Return the free-running bounds; None if there are none. A bound of the output may be infinite."""
    if arrays.keys().isdisjoint(("open", "open_output")):
        return None
    neurons, output = arrays["open"], arrays["open_output"]
    _check("open", neurons.dtype == np.int64 and neurons.min(initial=0) >= 0)
    _check("open_output", output.dtype == np.float32 and output.shape == arrays["output"].shape and (output >= 0).all())
    return FreeRunningBounds(open=neurons, output=output)


def _are_numbers(array: npt.NDArray[Any], kinds: str) -> bool:
    return array.dtype.kind in kinds and bool(np.isfinite(array).all())


def _check(name: str, fits: bool) -> None:
    if not fits:
        raise ValueError(f"the array {name} has a wrong type, shape or value")
