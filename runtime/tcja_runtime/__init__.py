"""The part of tcja-deploy that runs on a board. It imports numpy only; other packages are imported when needed.

`__all__` is its public interface, together with that of `tcja_runtime.events`. Everything else may change.
"""

import os

# Since version 1.29, ONNX Runtime reports every model that it loads to Microsoft. This variable prevents it, and must
# be set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput, Damaged, ParityNotMet, TcjaError, Unavailable
from tcja_runtime.neuron import NeuronSpec

__all__ = ["BadInput", "Bundle", "Damaged", "NeuronSpec", "ParityNotMet", "Streams", "TcjaError", "Unavailable"]
