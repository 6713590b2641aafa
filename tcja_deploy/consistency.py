"""Checks that a bundle does not contradict itself: golden vectors, manifest and parity.json tell of one export.

They are written together, from the same comparison. So a bundle in which one of them says something else was changed,
or damaged, and its golden vectors prove nothing:

    shapes          the golden vectors have the windows, layers, signals and classes of the manifest
    open neurons    they are as many as a layer has at most; there are numbers of them only with spike counts
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
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tcja_runtime.bundle import bundle
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.parity_summary import ParitySummary
from tcja_runtime.bundle.signature import Layer
from tcja_runtime.counting import counted
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.input_range import RANGE
from tcja_runtime.evidence.predictions import TOP, likeliest
from tcja_runtime.evidence.rounding import MODEL_ARITHMETIC, membranes_within
from tcja_runtime.evidence.trace import Reference, Values
from tcja_runtime.files.text import parsed

_WIDEST = {"fp32": 0.25, "fp16": 4.0, "int8": 0.25}
"""The largest rounding bound that proves something of a signal, by precision.

It is a share of the sum of the signal's largest value and the threshold. A wider bound would explain almost any
difference. A bound is the unit roundoff times the sum of all magnitudes that were added on the way to a value. The
widest ones of the registry's networks are 0.02 in float32 and 0.5 in float16, behind eight blocks of attention with
real values.
"""
_ON_RANGE = " on the range stimulus"


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
    told = predictions.early.shape[1:]
    return {
        "windows": n > 0 and samples.inputs.shape == (n, *manifest.input.shape),
        "labels": samples.labels is None or samples.labels.shape == (n,),
        "outputs": vectors.recorded.output.shape == (n, *manifest.output_shape),
        "layers": {name: (len(spikes.rows), *spikes.shape) for name, spikes in vectors.spikes.items()} == layers,
        "open neurons": _open_neurons_fit(vectors, manifest),
        "undecided neurons": {each.shape for each in vectors.recorded.undecided.values()} == {(n, time_steps)},
        "scenes": vectors.scenes.keys() - {RANGE} == {stimulus.RANDOM, stimulus.EXACT},
        "signals": _signals_fit(vectors, manifest),
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
        own = likeliest(vectors.recorded.output)
        if own is not None and (own != vectors.predictions.likeliest[: len(own)]).any():
            yield "the classes in the golden vectors are not those of the outputs there"
    yield from _wrong_labels(vectors, parity)


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


def wide_bounds(vectors: Golden, layers: Sequence[Layer], precision: str) -> dict[str, tuple[float, float]]:
    """Return the signals whose rounding bounds are so wide that their comparison proves little.

    Args:
        vectors: the golden vectors.
        layers: the spiking layers of the network.
        precision: the precision of the network, one of `tcja_runtime.choices.PRECISIONS`.

    Returns:
        By signal, its widest bound, and the sum of its largest value and the threshold. A signal that is wide on the
        range stimulus alone says so: inputs of that size may leave the gates of an attention to rounding.
    """
    thresholds = {layer.name: float(np.abs(layer.neuron.current_unit).max()) for layer in layers}
    found: dict[str, tuple[float, float]] = {}
    for scene, reference in (("", vectors.recorded), *vectors.scenes.items()):
        recorded = reference.witnesses.items()
        signals: dict[str, tuple[Values, Values]] = {name: (seen.values, seen.bounds) for name, seen in recorded}
        signals["the output"] = reference.output, reference.output_bound
        for name, (values, bounds) in signals.items():
            largest = np.abs(values).max(initial=0.0) + thresholds.get(name, 1.0)
            widest = bounds.max(initial=0.0)
            if widest > _WIDEST[precision] * largest:
                signal = name if name in found or scene != RANGE else name + _ON_RANGE
                found.setdefault(signal, (float(widest), float(largest)))
    return found


def _wrong_bounds(vectors: Golden, manifest: Manifest) -> Iterator[str]:
    """Yield a phrase for each signal with wide bounds that the manifest does not name, or other undecided neurons."""
    for name, (widest, largest) in wide_bounds(vectors, manifest.layers, manifest.precision).items():
        if not {name, name.removesuffix(_ON_RANGE)}.intersection(manifest.parity.wide_bounds):
            yield f"a rounding bound of {name} is {widest:.2g}, and its values are at most {largest:.2g}"
    everything = vectors.reference(slice(None))
    for layer in manifest.layers:
        stored, found = everything.undecided[layer.name], undecided(everything, manifest, layer.name)
        if (stored != found).any():
            yield (
                f"{bundle.GOLDEN} stores {counted(int(stored.sum()), 'undecided neuron')} for {layer.name}; its bounds "
                f"give {found.sum():,}"
            )


def undecided(reference: Reference, manifest: Manifest, name: str) -> Any:
    """Return the numbers of undecided neurons that follow from the recorded bounds, int64 [N, T].

    Args:
        reference: the results of the reference for N windows, with the spikes.
        manifest: the manifest of the bundle.
        name: the name of the layer.
    """
    witnesses = reference.witnesses[name]
    neuron = next(layer for layer in manifest.layers if layer.name == name).neurons(witnesses.element)
    fired = witnesses.of(reference.spikes[name])
    arithmetic = MODEL_ARITHMETIC[manifest.precision]
    errors = witnesses.bounds.astype(np.float64)
    h, within = membranes_within(neuron, arithmetic, witnesses.values, errors, fired)
    undecided = ~(np.abs(h - neuron.constant("threshold", h)) > within)
    return np.stack([np.bincount(witnesses.window[now], minlength=len(reference)) for now in undecided], axis=1)


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
