"""The part of tcja-deploy that runs on a board. It imports numpy only; other packages are imported when needed.

`__all__` is its public interface, together with that of `tcja_runtime.events`. Everything else may change.
"""

import os

# ONNX Runtime since 1.29 reports every model that it loads to its maker, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput, Damaged, ParityNotMet, TcjaError, Unavailable
from tcja_runtime.neuron import NeuronSpec

__all__ = ["BadInput", "Bundle", "Damaged", "NeuronSpec", "ParityNotMet", "Streams", "TcjaError", "Unavailable"]
