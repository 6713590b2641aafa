"""Checks that a bundle does not contradict itself: golden vectors, manifest and parity.json tell of one export.

They are written together, from the same comparison. So a bundle in which one of them says something else was changed,
or damaged, and its golden vectors prove nothing:

    shapes          the golden vectors have the windows, layers, signals and classes of the manifest
    open neurons    they are as many as a layer has at most; there are numbers of them only with spike counts
    recorded        the stimuli have the windows, and their signals the recorded neurons, of an export
    spikes          the stored spikes are those of the stored currents
    undecided       the stored numbers of undecided neurons are those that follow from the stored bounds
    bounds          the manifest names the signals whose rounding bounds are so wide that they prove little
    predictions     in fp32, the stored classes are those of the stored outputs
    labels, source  the labels and the origin of the windows are those of which the manifest tells the accuracy
    summary         the parity in the manifest is that of parity.json

What a changed bundle may not contradict, because all of it was changed, is not found: only its origin tells that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tcja_deploy.consistency.bounds import ON_RANGE, recorded, wide_bounds
from tcja_runtime.bundle import bundle
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.parity_summary import ParitySummary
from tcja_runtime.counting import counted
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import input_range, stimulus
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.input_range import RANGE
from tcja_runtime.evidence.predictions import TOP, Predictions
from tcja_runtime.evidence.rounding import MODEL_ARITHMETIC, membranes_within
from tcja_runtime.evidence.trace import Reference
from tcja_runtime.files.text import parsed


def check(vectors: Golden, manifest: Manifest, opened: Bundle) -> None:
    """Check that the golden vectors of a bundle, its manifest and its parity.json do not contradict each other.

    Args:
        vectors: the golden vectors.
        manifest: the manifest.
        opened: the bundle.

    Raises:
        BadInput: they contradict each other; the text says in what.
    """
    wrong = [name for name, fit in _fits(vectors, manifest).items() if not fit]
    if wrong:
        file, what = opened.path / bundle.GOLDEN, " and ".join(wrong)
        raise BadInput(f"{file} does not fit the network of the manifest: its {what} differ; export the bundle again")
    found = next(_contradictions(vectors, manifest, opened), None)
    if found:
        raise BadInput(f"{opened.path} contradicts itself: {found}; export the bundle again")


def _fits(vectors: Golden, manifest: Manifest) -> dict[str, bool]:
    """Return whether the arrays of golden vectors have the shapes and names that follow from the manifest."""
    samples, predictions, time_steps = vectors.samples, vectors.predictions, manifest.time_steps
    n = len(samples)
    layers = {layer.name: (n, time_steps, *layer.shape) for layer in manifest.layers}
    references = (vectors.recorded, *vectors.scenes.values())
    judged = (
        (vectors.recorded, stimulus.WINDOW_PLACES),
        *((each, stimulus.STIMULUS_PLACES) for each in references[1:]),
    )
    told = predictions.early.shape[1:]
    # What depends on the shapes of layers would take any memory if these were not those of the spikes.
    same = {name: (len(spikes.rows), *spikes.shape) for name, spikes in vectors.spikes.items()} == layers
    return {
        "windows": n > 0 and samples.inputs.shape == (n, *manifest.input.shape),
        "labels": samples.labels is None or samples.labels.shape == (n,),
        "outputs": vectors.recorded.output.shape == (n, *manifest.output_shape),
        "layers": same,
        "open neurons": _open_neurons_fit(vectors, manifest),
        "undecided neurons": {each.shape for each in vectors.recorded.undecided.values()} == {(n, time_steps)},
        "scenes": vectors.scenes.keys() - {RANGE} == {stimulus.RANDOM, stimulus.EXACT},
        "signals": _signals_fit(vectors, manifest),
        "numbers of stimulus windows": not same or _stimuli_fit(vectors, manifest),
        "recorded neurons": not same or all(_recorded_fit(each, manifest, most) for each, most in judged),
        "time steps": all(len(each.values) == time_steps for found in references for each in found.witnesses.values()),
        "predictions": predictions.likeliest.shape[1:] == (min(TOP, len(manifest.classes)),)
        and told in ((0,), (time_steps,))
        and predictions.early.shape == (len(predictions), *told)
        and predictions.shown.shape == (len(predictions.shown), *told),
    }


def _open_neurons_fit(vectors: Golden, manifest: Manifest) -> bool:
    """Whether the numbers of open neurons are of each layer, and no larger than it; without spike counts, none."""
    bounds = vectors.free_running
    if bounds is None:
        return True
    sizes = np.array([math.prod(layer.shape) for layer in manifest.layers])
    shape = (len(vectors.samples), len(sizes), manifest.time_steps)
    return manifest.spike_counts and bounds.open.shape == shape and bool((bounds.open <= sizes[:, None]).all())


def _signals_fit(vectors: Golden, manifest: Manifest) -> bool:
    """Whether each scene has the signals of the manifest, and no others."""
    layers, taps = {layer.name for layer in manifest.layers}, {tap.name for tap in manifest.taps}
    scenes = {name: set(reference.witnesses) for name, reference in vectors.scenes.items()}
    ranged, windows = scenes.pop(RANGE, set()), set(vectors.recorded.witnesses)
    return layers <= windows <= layers | taps >= ranged and all(each == layers | taps for each in scenes.values())


def _stimuli_fit(vectors: Golden, manifest: Manifest) -> bool:
    """Whether the stimuli have as many windows as an export makes, or more, as those of older versions."""
    shapes, scenes = [layer.shape for layer in manifest.layers], vectors.scenes
    least = {stimulus.RANDOM: stimulus.windows(shapes, manifest.time_steps), stimulus.EXACT: 1}
    least |= {RANGE: input_range.windows(shapes, manifest.time_steps)} if RANGE in scenes else {}
    return all(name in scenes and len(scenes[name]) >= n for name, n in least.items())


def _recorded_fit(reference: Reference, manifest: Manifest, most: int) -> bool:
    """Whether the currents of all neurons are recorded that an export records (`recorded`)."""
    there = (layer for layer in manifest.layers if layer.name in reference.witnesses)
    return all(recorded(reference, layer.name, layer.shape, most) for layer in there)


def _contradictions(vectors: Golden, manifest: Manifest, opened: Bundle) -> Iterator[str]:
    """Yield the contradictions between golden vectors, manifest and parity.json, a phrase each."""
    samples, parity = vectors.samples, manifest.parity
    if (samples.real, samples.source) != (parity.real, parity.source):
        yield "the golden vectors and the manifest tell of windows of different origins"
    if vectors.predictions.tells_steps and manifest.answer is None and len(manifest.output_shape) == 1:
        yield "the golden vectors have the class after each time step, and the manifest names no output of a time step"
    types = {weight.type for weight in manifest.weights}
    if manifest.precision not in types if manifest.precision != "fp32" else types - {"fp32"}:
        yield f"the precision is {manifest.precision}, and the weights are {' and '.join(sorted(types))}"
    yield from _other_summary(parity, opened)
    yield from _wrong_bounds(vectors, manifest)
    if manifest.classes and manifest.precision == "fp32":
        yield from _wrong_classes(vectors, manifest)
    yield from _wrong_labels(vectors, parity)


def _wrong_classes(vectors: Golden, manifest: Manifest) -> Iterator[str]:
    """Yield a phrase if stored classes are not those of the stored outputs, or of the spikes at each time step."""
    answer, steps = manifest.answer, None
    for layer in manifest.layers:
        if answer and answer.tensor == layer.result_tensor and not answer.unfold:
            steps = answer.in_time(vectors.spikes[layer.name].unpack(slice(None)).astype(np.float64))
    own = Predictions.of_output(vectors.recorded.output, steps)
    if own is None:
        return
    n, stored = len(own), vectors.predictions
    if (own.likeliest != stored.likeliest[:n]).any():
        yield "the classes in the golden vectors are not those of the outputs there"
    if own.tells_steps and stored.tells_steps and (own.early != stored.early[:n]).any():
        yield "the classes after each time step in the golden vectors are not those of the spikes there"


def _other_summary(parity: ParitySummary, opened: Bundle) -> Iterator[str]:
    """Yield a phrase if the parity in a manifest is not that of parity.json."""
    if bundle.PARITY not in opened.files:
        return
    try:
        told: Any = parsed(opened.read(bundle.PARITY))
    except ValueError as error:
        yield f"{bundle.PARITY} cannot be read ({error})"
        return
    if not isinstance(told, dict):
        yield f"{bundle.PARITY} has no figures with names"
        return
    for name, value in dataclasses.asdict(parity).items():
        if name in told and _plain(told[name]) != _plain(value):
            yield f"the manifest and {bundle.PARITY} differ in the parity's '{name}'"


def _plain(value: Any) -> Any:
    """Return a value of JSON without the figures of single layers and signals, which only parity.json has."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if key not in ("layers", "signals")}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _wrong_bounds(vectors: Golden, manifest: Manifest) -> Iterator[str]:
    """Yield a phrase for each signal with wide bounds that the manifest does not name, or other undecided neurons."""
    for name, (widest, largest) in wide_bounds(vectors, manifest.layers, manifest.precision).items():
        if not {name, name.removesuffix(ON_RANGE)}.intersection(manifest.parity.wide_bounds):
            yield f"a rounding bound of {name} is {widest:.2g}, and its values are at most {largest:.2g}"
    everything = vectors.reference(slice(None))
    for layer in manifest.layers:
        decisions = Decisions.of(everything, manifest, layer.name)
        if wrong := decisions.wrong:
            yield f"{bundle.GOLDEN} stores {counted(wrong, 'spike')} of {layer.name} that its currents do not give"
        stored, found = everything.undecided[layer.name], decisions.undecided
        if (stored != found).any():
            yield (
                f"{bundle.GOLDEN} stores {counted(int(stored.sum()), 'undecided neuron')} for {layer.name}; its bounds "
                f"give {found.sum():,}"
            )


@dataclasses.dataclass(frozen=True)
class Decisions:
    """What follows from the recorded currents of a layer.

    Attributes:
        undecided: the number of undecided neurons, int64 [N, T].
        wrong: the number of spikes that are not those of the currents, and are not undecided.
    """

    undecided: Any
    wrong: int

    @classmethod
    def of(cls, reference: Reference, manifest: Manifest, name: str) -> Decisions:
        """Return what follows from the currents of a layer.

        Args:
            reference: the results of the reference for N windows, with the spikes.
            manifest: the manifest of the bundle.
            name: the name of the layer.
        """
        witnesses = reference.witnesses[name]
        neuron = next(layer for layer in manifest.layers if layer.name == name).neurons(witnesses.element)
        fired = witnesses.of(reference.spikes[name])
        arithmetic, errors = MODEL_ARITHMETIC[manifest.precision], witnesses.bounds.astype(np.float64)
        h, within = membranes_within(neuron, arithmetic, witnesses.values, errors, fired)
        doubtful = ~(np.abs(h - neuron.constant("threshold", h)) > within)
        counts = [np.bincount(witnesses.window[now], minlength=len(reference)) for now in doubtful]
        wrong = int(np.count_nonzero((neuron.fires(h) != fired) & ~doubtful))
        return cls(undecided=np.stack(counts, axis=1), wrong=wrong)


def _wrong_labels(vectors: Golden, parity: ParitySummary) -> Iterator[str]:
    """Yield a phrase if the labels of the golden windows do not fit the accuracy in the manifest."""
    then = next((each.get("statistics") or {} for each in parity.backends), {})
    labels = vectors.samples.labels
    counts = [then.get(name) for name in ("labelled", "paired", "only_exported", "neither")]
    known = [count for count in counts if type(count) is int]
    if len(known) < len(counts):
        return
    labelled, paired, only_exported, neither = known
    if (labels is not None) != (labelled > 0):
        yield "only one of the golden vectors and the manifest has labels"
    elif labels is not None:
        right, wrong = paired - only_exported - neither, only_exported + neither
        own = int(np.count_nonzero(vectors.predictions.likeliest[: len(labels), 0] == labels))
        if own > right or len(labels) - own > wrong:
            yield (
                f"by the labels in the golden vectors, {own:,} of {len(labels):,} windows are classified correctly, "
                f"and by the manifest {right:,} of all {paired:,}"
            )
