"""The choice whether model.plain.onnx, and so every engine, also returns its spike counts.

With the counts, an engine tells what it fires (`tcja_deploy.parity.counts`), and firing rates are watched in the field.
They are made by reading all spikes once more:

    bytes of the counts     2 T neurons        in every layer; 4 T neurons where the model has no float16 spikes

On a Jetson memory decides the speed of an engine. So by default an engine has them if they are under `SHARE` of the
bytes that it moves; then a network is mostly weights. For ONNX Runtime, `verify` sees each spike anyway.
"""

from __future__ import annotations

import math

from tcja_exporters.costs.roofline import Costs
from tcja_exporters.precision import Lowered
from tcja_runtime.bundle.signature import NetworkSignature
from tcja_runtime.choices import SpikeCounts
from tcja_runtime.errors import BadInput

SHARE = 0.03
"""The share of an engine's bytes below which it has spike counts by default."""


MOST_NEURONS = 2**24
"""The largest number of neurons of a layer whose spikes are counted: larger sums in float32 are rounded."""


def chosen(wish: str, target: str | None, network: Lowered, signature: NetworkSignature) -> bool:
    """Return whether model.plain.onnx returns its spike counts.

    Args:
        wish: one of `tcja_runtime.choices.SpikeCounts`.
        target: the target that engines are built for; None if no engine is built.
        network: the exported network, in its precision.
        signature: the signature of the network.

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
    spikes = sum(math.prod(layer.shape) for layer in signature.layers) * signature.time_steps
    half = 2 if network.precision == "fp16" else 4
    try:
        return half * spikes < SHARE * Costs.of(network.exported.model).total().bytes_moved
    except BadInput:  # a shape is not known
        return False
