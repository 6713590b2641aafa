"""The part of tcja-deploy that runs on a board. It imports numpy only; other packages are imported when needed.

    import tcja_runtime as tcja

    net = tcja.load("x.bundle")
    print(net(frames).classes)

`__all__` is its public interface, together with that of `tcja_runtime.events`. Everything else may change. A name is
imported when it is first used: the process that builds an engine needs none of them, and starts in half the time.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# Since version 1.29, ONNX Runtime reports every model that it loads to Microsoft. This variable prevents it, and must
# be set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from tcja_runtime.backends.stepwise import Streams
    from tcja_runtime.bundle.bundle import Bundle
    from tcja_runtime.data.camera import CameraView
    from tcja_runtime.data.recordings import DataOptions
    from tcja_runtime.errors import BadInput, Damaged, ParityNotMet, TcjaError, Unavailable
    from tcja_runtime.network.network import Network, load
    from tcja_runtime.neuron import NeuronSpec
    from tcja_runtime.predictions import Prediction, Predictions
    from tcja_runtime.signing.trust import Trust
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
    "Trust",
    "Unavailable",
    "load",
]

_HOMES = {
    "tcja_runtime.backends.stepwise": ("Streams",),
    "tcja_runtime.bundle.bundle": ("Bundle",),
    "tcja_runtime.data.camera": ("CameraView",),
    "tcja_runtime.data.recordings": ("DataOptions",),
    "tcja_runtime.errors": ("BadInput", "Damaged", "ParityNotMet", "TcjaError", "Unavailable"),
    "tcja_runtime.network.network": ("Network", "load"),
    "tcja_runtime.neuron": ("NeuronSpec",),
    "tcja_runtime.signing.trust": ("Trust",),
    "tcja_runtime.predictions": ("Prediction", "Predictions"),
    "tcja_runtime.streaming.options": ("StreamOptions",),
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it.

    Raises:
        AttributeError: the name is not public.
    """
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return __all__
