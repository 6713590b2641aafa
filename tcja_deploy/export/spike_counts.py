"""The choice whether model.plain.onnx, and so every engine, also returns its spike counts.

With the counts, an engine tells what it fires (`tcja_deploy.parity.engine`). They are made by reading spikes once more
(`tcja_exporters.time_forms.spike_counts`), and on a Jetson memory decides the speed of an engine. So by default an
engine has them if it then moves less than `SHARE` more bytes. Its kernel plan tells: an engine is built with them, and
one without. For ONNX Runtime the default is none, as `verify` sees each of its spikes anyway.

The engines are not built where the answer is known before. An engine moves fewer bytes than the nodes of its model,
as it fuses them. So if the bytes of the counts are `SHARE` of those already, they are more of the engine's.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tcja_exporters.costs.roofline import Costs
from tcja_exporters.graph.export import with_spike_counts, with_time_forms
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.precision import Lowered
from tcja_exporters.time_forms.spike_counts import words_of
from tcja_runtime.bundle.bundle import ENGINES, PLAIN_MODEL
from tcja_runtime.bundle.signature import NetworkSignature
from tcja_runtime.choices import SpikeCounts
from tcja_runtime.errors import BadInput
from tcja_runtime.tensorrt.build import Batch, BuildOptions, BuildRequest, build

SHARE = 0.03
"""The share of an engine's bytes below which it has spike counts by default."""


MOST_NEURONS = 2**24
"""The largest number of neurons of a layer whose spikes are counted: larger sums in float32 are rounded."""


def chosen(
    wish: str, target: str | None, network: Lowered, signature: NetworkSignature, forms: Mapping[str, str]
) -> bool:
    """Return whether model.plain.onnx returns its spike counts.

    Args:
        wish: one of `tcja_runtime.choices.SpikeCounts`.
        target: the target that engines are built for; None if no engine is built.
        network: the exported network, in its precision.
        signature: the signature of the network.
        forms: the time form of each spiking layer, by the layer's name.

    Raises:
        BadInput: the counts are asked for, and a layer has more than `MOST_NEURONS` neurons.
    """
    large = next((layer for layer in signature.layers if math.prod(layer.shape) > MOST_NEURONS), None)
    if wish == SpikeCounts.ON.value and large:
        raise BadInput(
            f"`spike_counts` on: {large.name} has {math.prod(large.shape):,} neurons, and the counts are exact up to "
            f"{MOST_NEURONS:,}; leave it out"
        )
    if wish != SpikeCounts.AUTO.value:
        return wish == SpikeCounts.ON.value
    if target is None or large:
        return False
    plain = with_time_forms(network.exported, forms)
    if _least_bytes(plain, signature) >= SHARE * _most_bytes(network):
        return False
    moved = [_moved(each, target, network.precision) for each in (plain, _with_counts(plain, signature))]
    return all(moved) and moved[1] < (1 + SHARE) * moved[0]


def _with_counts(plain: Exported, signature: NetworkSignature) -> Exported:
    return with_spike_counts(plain, signature.layers, signature.time_steps, fuses=True)


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


def _moved(exported: Exported, target: str, precision: str) -> int:
    """Return the bytes that an engine moves for a window; 0 if they cannot be read."""
    with tempfile.TemporaryDirectory() as folder:
        save(exported, Path(folder))
        request = BuildRequest(
            model=Path(folder) / PLAIN_MODEL,
            engines=Path(folder) / ENGINES,
            target=target,
            precision=precision,
            options=BuildOptions(batch=Batch(1, 1, 1)),
        )
        plan = build(request).info.plan
    return 0 if plan is None else plan.moved
