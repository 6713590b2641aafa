"""Lower precision, written into the graph on the host: the types of a model are what an engine computes in.

    fp16    weights and activations in half; membranes, thresholds, means and sums over many values in float32
    int8    weights and inputs of convolutions and matrix products in 8 bits, all else in float32

What the precision makes of the constants (rounded weights, scales) is part of the network that is deployed: `lowered`
also returns it in PyTorch, and its spikes in float64 are what an engine is judged by. What rounding then adds is
bounded (`tcja_runtime.evidence.rounding`); what the constants cost is measured against the trained network, as
accuracy.
"""

from __future__ import annotations

from tcja_exporters.precision.calibration import CALIBRATION_WINDOWS, calibrate
from tcja_exporters.precision.lowering import ARITHMETICS, Lowered, lowered
from tcja_exporters.precision.selection import ADVISED, NOTHING, keep_in_float32, quantizable

__all__ = [
    "ADVISED",
    "ARITHMETICS",
    "CALIBRATION_WINDOWS",
    "NOTHING",
    "Lowered",
    "calibrate",
    "keep_in_float32",
    "lowered",
    "quantizable",
]
