"""Lower precision: changes an exported network so that it computes in float16 or int8.

The types are written into the models at export, and an engine computes in the types of its model:

    fp16    weights and activations in float16; membranes, thresholds, means and sums over many values in float32
    int8    weights and inputs of convolutions and matrix products in int8, everything else in float32

A lower precision changes the constants of a network: it rounds the weights, and int8 adds scales. `lowered` returns the
models with the new constants, and a PyTorch network with the same constants. The spikes of an engine are compared with
those of this PyTorch network in float64. They can then differ only by rounding, which has a bound
(`tcja_runtime.evidence.rounding`). The effect of the new constants is measured separately, as the difference in
accuracy from the trained network.
"""

from __future__ import annotations

from tcja_exporters.precision.calibration import CALIBRATION_WINDOWS, calibrate
from tcja_exporters.precision.lowering import Lowered, lowered
from tcja_exporters.precision.selection import ADVISED, NOTHING, keep_in_float32, lowerable, quantizable

__all__ = [
    "ADVISED",
    "CALIBRATION_WINDOWS",
    "NOTHING",
    "Lowered",
    "calibrate",
    "keep_in_float32",
    "lowerable",
    "lowered",
    "quantizable",
]
