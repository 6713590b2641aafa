"""Checks that rounding bounds in golden vectors are not so wide that a wrong model would pass.

A bound that is too wide explains differences that are none of rounding. There are two limits:

    any signal      a share of its largest value: a wider bound would explain almost any difference
    most signals    SLACK times the largest bound that the weights, the inputs and the numbers of terms allow
                    (`tcja_runtime.evidence.largest_bounds`)

The second limit is not known for signals behind operations such as a softmax, for those whose bounds the reference
estimates, and without ONNX Runtime; in int8, not for those of quantised values that are not spikes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from tcja_runtime.backends.widest import Widest, widest
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.bundle import GOLDEN, PLAIN_MODEL, Bundle
from tcja_runtime.bundle.network_signature import Layer, NetworkSignature
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.input_range import RANGE
from tcja_runtime.evidence.rounding import MODEL_ARITHMETIC
from tcja_runtime.evidence.stimulus import (
    EXACT,
    RANDOM,
    STIMULUS_PLACES,
    WINDOW_PLACES,
    exact_weights,
    most_places,
    places,
)
from tcja_runtime.evidence.trace import Recording, Reference, Values
from tcja_runtime.files.folder import Files, read_model

SHARES = {"fp32": 0.25, "fp16": 4.0, "int8": 0.25}
"""The largest rounding bound that proves something of a signal, by precision.

It is a share of the sum of the signal's largest value and the threshold. A wider bound would explain almost any
difference. A bound is the unit roundoff times the sum of all magnitudes that were added on the way to a value. The
widest ones of the registry's networks are 0.02 in float32 and 0.5 in float16, behind eight blocks of attention with
real values.
"""
SLACK = 32.0
"""How many times larger than allowed a bound may be.

It is for constants that the export computes from several parameters: the weight that a batch norm was folded into, or a
standardised one. Their terms can cancel, and their rounding was bounded before they did.
"""
_FLOOR = 1 / 8
"""Where few inputs are active, a limit is at least this share of the largest one of the signal, for the same reason."""
ON_RANGE = " on the range stimulus"
OUTPUT = "the output"


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
        signals[OUTPUT] = reference.output, reference.output_bound
        for name, (values, bounds) in signals.items():
            largest = np.abs(values).max(initial=0.0) + thresholds.get(name, 1.0)
            widest = bounds.max(initial=0.0)
            if widest > SHARES[precision] * largest:
                signal = name if name in found or scene != RANGE else name + ON_RANGE
                found.setdefault(signal, (float(widest), float(largest)))
    return found


def check(opened: Bundle, vectors: Golden) -> tuple[list[str], list[str]]:
    """Check that the weights and the inputs account for the rounding bounds of golden vectors.

    Args:
        opened: the bundle.
        vectors: its golden vectors.

    Returns:
        The signals whose bounds are so wide that their comparison proves little, as the manifest says; and if this
        could not be checked, a sentence that says why.

    Raises:
        BadInput: the bounds of a signal are too wide, and the manifest does not say so; or ONNX Runtime cannot run the
            model.
    """
    manifest = opened.manifest
    wide = wide_bounds(vectors, manifest.layers, manifest.precision)
    try:
        found = unaccounted(opened, manifest.signature, vectors, manifest.precision, manifest.parity.estimated)
    except Unavailable as error:
        return list(wide), [f"Whether the weights account for the rounding bounds in {GOLDEN} was not checked: {error}"]
    for name, (bound, most) in found.items():
        if name not in manifest.parity.wide_bounds:
            raise BadInput(
                f"{opened.path} contradicts itself: a rounding bound of {name} is {bound:.2g}, and the weights and "
                f"inputs account for at most {most:.2g}; export the bundle again"
            )
    return list(wide | found), []


def unaccounted(
    files: Files, signature: NetworkSignature, vectors: Golden, precision: str, estimated: Collection[str]
) -> dict[str, tuple[float, float]]:
    """Return the signals with rounding bounds that weights, inputs and numbers of terms do not account for.

    Args:
        files: the bundle, or the folder of the models.
        signature: the signature of the network.
        vectors: the golden vectors.
        precision: the precision of the network.
        estimated: the names of the signals whose bounds are estimates, so that they have no such limit.

    Returns:
        By signal, its bound that is farthest beyond its limit, and this limit.

    Raises:
        Unavailable: ONNX Runtime is missing, or this machine has too little memory.
        BadInput: ONNX Runtime cannot run the model, or recorded values of a tap are missing.
    """
    model, arithmetic = read_model(files, PLAIN_MODEL), MODEL_ARITHMETIC[precision]
    found: dict[str, tuple[float, float]] = {}
    of_random: dict[str, float] = {}
    for scene, recording in _recordings(vectors, signature):
        weights = exact_weights(signature.weights) if scene == EXACT else None
        limits = widest(model, signature, recording, arithmetic, weights=weights, forced=scene == _WINDOWS)
        _check_taps(files, signature, scene, recording.reference, limits)
        for name, bounds, limit, largest in _compared(recording.reference, limits):
            if scene == RANDOM:
                of_random[name] = largest
            reach = largest if scene == EXACT else max(largest, of_random.get(name, 0.0))
            most = SLACK * (np.maximum(limit, _FLOOR * reach) + arithmetic.stored_tiny)
            beyond = bounds > most
            if name not in estimated and beyond.any():
                at = np.where(beyond, bounds, 0.0).argmax()
                found.setdefault(name, (float(bounds.flat[at]), float(most.flat[at])))
    return found


def recorded(reference: Reference, name: str, shape: tuple[int, ...], most: int) -> bool:
    """Return whether all elements of a signal are recorded that an export records in each window (`places`).

    Older versions recorded `most` elements in long windows, too.

    Args:
        reference: the results of the reference.
        name: the name of the signal.
        shape: the shape of the signal without time and batch.
        most: STIMULUS_PLACES or WINDOW_PLACES of `tcja_runtime.evidence.stimulus`.
    """
    seen = reference.witnesses[name]
    there = np.zeros((len(reference), math.prod(shape)), np.bool_)
    inside = seen.element < there.shape[1]
    there[seen.window[inside], seen.element[inside]] = True
    fewer = most_places(shape, len(seen.values), most)
    return any(bool(there[:, places(shape, each)].all()) for each in {most, fewer})


def _check_taps(files: Files, signature: NetworkSignature, scene: str, reference: Reference, limits: Widest) -> None:
    """Check that all elements of taps are recorded; the shapes of taps are known from a run only."""
    for tap in signature.taps:
        if tap.name in limits.signals and tap.name in reference.witnesses:
            shape, most = limits.signals[tap.name].shape[2:], WINDOW_PLACES if scene == _WINDOWS else STIMULUS_PLACES
            if not recorded(reference, tap.name, shape, most):
                raise BadInput(
                    f"{files.path / GOLDEN} does not hold all values of {tap.name} that an export records; export the "
                    "bundle again"
                )


_WINDOWS = "windows"


def _recordings(vectors: Golden, signature: NetworkSignature) -> Iterator[tuple[str, Recording]]:
    """Yield the stimuli, the random one first, and then the windows, in batches; each with its name."""
    yield from sorted(vectors.stimuli(signature.input).items(), key=lambda item: item[0] != RANDOM)
    for batch in vectors.batches(batch_size(signature)):
        yield _WINDOWS, batch


def _compared(reference: Reference, limits: Widest) -> Iterator[tuple[str, Values, Values, float]]:
    """Yield each signal that has limits, and the output: its bounds, their limits, and the largest limit."""
    for name, seen in reference.witnesses.items():
        if name in limits.signals and seen.bounds.size:
            whole = limits.signals[name]
            yield name, seen.bounds, seen.of(whole), float(whole.max())
    if limits.output is not None and limits.output.shape == reference.output_bound.shape:
        yield OUTPUT, reference.output_bound, limits.output, float(limits.output.max())
