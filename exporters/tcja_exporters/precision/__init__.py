"""Lower precision, written into the graph on the host: an engine computes in the types of the model.

    fp16    weights and activations in half; membranes, thresholds, means and sums over many values in float32
    int8    weights and inputs of convolutions and matrix products in 8 bits, all else in float32

A precision changes the constants of a network: it rounds the weights and adds scales. `lowered` returns the models with
these constants, and the same network in PyTorch. An engine is judged by the spikes of that network in float64, because
the rest is rounding, which is bounded (`tcja_runtime.evidence.rounding`). The effect of the constants is measured as
accuracy, against the trained network.
"""

from __future__ import annotations

from tcja_exporters.precision.calibration import CALIBRATION_WINDOWS, calibrate
from tcja_exporters.precision.lowering import MODEL_ARITHMETIC, Lowered, lowered
from tcja_exporters.precision.selection import ADVISED, NOTHING, keep_in_float32, quantizable

__all__ = [
    "ADVISED",
    "CALIBRATION_WINDOWS",
    "MODEL_ARITHMETIC",
    "NOTHING",
    "Lowered",
    "calibrate",
    "keep_in_float32",
    "lowered",
    "quantizable",
]
