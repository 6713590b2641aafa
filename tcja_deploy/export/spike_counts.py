"""The choice whether model.plain.onnx, and so every engine, also returns its spike counts.

With the counts, an engine tells what it fires (`tcja_deploy.parity.engine`). They are made by reading spikes once more
(`tcja_exporters.time_forms.spike_counts`), and on a Jetson memory decides the speed of an engine. So by default an
engine has them if it then moves less than `SHARE` more bytes. Its kernel plan tells: an engine is built with them, and
one without. If a builder does not end in time, or a plan cannot be read, there are no counts. The plan of a layer with
a loop (scan) never tells. For ONNX Runtime the default is none, as `verify` sees each of its spikes anyway.

The engines are not built where the answer is known before. The nodes' bytes are an upper limit of the engine's. Counts
that reach `SHARE` of it cost too much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tcja_deploy.console import Progress
from tcja_deploy.export.trials import Trials
from tcja_exporters.costs.roofline import Costs
from tcja_exporters.graph.export import with_spike_counts, with_time_forms
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.precision import Lowered
from tcja_exporters.time_forms.spike_counts import MOST_NEURONS, words_of
from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.bundle.network_signature import Layer, NetworkSignature
from tcja_runtime.choices import SpikeCounts, TimeForm
from tcja_runtime.errors import BadInput, BuildTimeout
from tcja_runtime.files.staging import scratch

SHARE = 0.03
"""The share of an engine's bytes below which it has spike counts by default."""


def chosen(
    wish: str,
    trials: Trials | None,
    network: Lowered,
    signature: NetworkSignature,
    forms: Mapping[str, str],
    progress: Progress,
) -> bool:
    """Return whether model.plain.onnx returns its spike counts.

    Args:
        wish: one of `tcja_runtime.choices.SpikeCounts`.
        trials: how engines are built to choose; None if no engine is built.
        network: the exported network, in its precision.
        signature: the signature of the network.
        forms: the time form of each spiking layer, by the layer's name.
        progress: where progress is shown.

    Raises:
        BadInput: the counts are asked for, and a layer has more than `MOST_NEURONS` neurons.
    """
    large = _too_large(signature)
    if wish == SpikeCounts.ON.value and large:
        raise BadInput(
            f"`spike_counts` on: {large.name} has {math.prod(large.shape):,} neurons, and the counts are exact up to "
            f"{MOST_NEURONS:,}; leave it out"
        )
    if wish != SpikeCounts.AUTO.value:
        return wish == SpikeCounts.ON.value
    if trials is None or TimeForm.SCAN.value in forms.values() or not is_open(network, signature, forms):
        return False
    plain = with_time_forms(network.exported, forms)
    counted = with_spike_counts(plain, signature.layers, signature.time_steps, fuses=True)
    try:
        with progress.step("build an engine without spike counts, and one with them"):
            without = _moved(plain, trials)
            return bool(without) and 0 < _moved(counted, trials) < (1 + SHARE) * without
    except BuildTimeout as error:
        late = str(error)
    progress.note(f"{late} when engines with and without spike counts were compared; there are no spike counts")
    return False


def is_open(network: Lowered, signature: NetworkSignature, forms: Mapping[str, str]) -> bool:
    """Whether only engines tell if spike counts cost little in an engine. The arguments are as in `chosen`."""
    if _too_large(signature):
        return False
    plain = with_time_forms(network.exported, forms)
    return _least_bytes(plain, signature) < SHARE * _most_bytes(network)


def _too_large(signature: NetworkSignature) -> Layer | None:
    return next((layer for layer in signature.layers if math.prod(layer.shape) > MOST_NEURONS), None)


def _least_bytes(plain: Exported, signature: NetworkSignature) -> int:
    """Return the bytes of what an engine reads to count spikes: words, or spikes of at least two bytes."""
    graph, steps = plain.plain.graph, signature.time_steps
    sizes = ((math.prod(layer.shape), len(words_of(graph, layer.name))) for layer in signature.layers)
    return sum(neurons * (4 * words if words else 2 * steps) for neurons, words in sizes)


def _most_bytes(network: Lowered) -> float:
    """Return the bytes that the nodes of a model move for a window; infinite if they are not known."""
    try:
        return Costs.of(network.exported.model).total().bytes_moved
    except BadInput:  # a shape is not known
        return math.inf


def _moved(exported: Exported, trials: Trials) -> int:
    """Return the bytes that an engine moves for a window; 0 if they cannot be read."""
    with scratch() as folder:
        save(exported, folder)
        plan = trials.engine(folder / PLAIN_MODEL).plan
    return 0 if plan is None else plan.moved
