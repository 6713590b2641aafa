"""How many windows to run at once, and how many to judge, so that memory and time stay small."""

from __future__ import annotations

import numpy as np

from tcja_runtime.bundle.signature import NetworkSignature

_BATCH_BYTES = 256 * 2**20


_BATCH_WINDOWS = 64


_JUDGED_STEPS = 2**32


_JUDGED_WINDOWS = 1024


_RUN_STEPS = 2**27


def batch_size(signature: NetworkSignature) -> int:
    """How many windows to run at once, so that the recorded spikes stay small."""
    return int(np.clip(_BATCH_BYTES // (4 * _neuron_steps(signature)), 1, _BATCH_WINDOWS))


def judged_windows(signature: NetworkSignature) -> int:
    """How many windows to judge spike by spike, so that it is a matter of minutes."""
    return int(np.clip(_JUDGED_STEPS // _neuron_steps(signature), 1, _JUDGED_WINDOWS))


def quick_runs(signature: NetworkSignature) -> int:
    """How many windows ONNX Runtime runs, looking at nothing, in a matter of seconds."""
    return _RUN_STEPS // _neuron_steps(signature)


def _neuron_steps(signature: NetworkSignature) -> int:
    return sum(int(np.prod(layer.shape)) for layer in signature.layers) * signature.time_steps
