"""The part of tcja-deploy that runs on a board. It imports numpy only; other packages are imported when needed.

    import tcja_runtime as tcja

    net = tcja.load("x.bundle")
    print(net(frames).classes)

`__all__` is its public interface, together with that of `tcja_runtime.events`. Everything else may change.
"""

import os

# Since version 1.29, ONNX Runtime reports every model that it loads to Microsoft. This variable prevents it, and must
# be set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.camera import CameraView
from tcja_runtime.data.recordings import DataOptions
from tcja_runtime.errors import BadInput, Damaged, ParityNotMet, TcjaError, Unavailable
from tcja_runtime.network.network import Network, load
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.predictions import Prediction, Predictions
from tcja_runtime.streaming.options import StreamOptions

__all__ = [
    "BadInput",
    "Bundle",
    "CameraView",
    "Damaged",
    "DataOptions",
    "Network",
    "NeuronSpec",
    "ParityNotMet",
    "Prediction",
    "Predictions",
    "StreamOptions",
    "Streams",
    "TcjaError",
    "Unavailable",
    "load",
]
