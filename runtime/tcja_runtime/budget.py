"""The numbers of windows that a command runs at once, judges or runs again, to save memory and time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tcja_runtime.bundle.network_signature import NetworkSignature
from tcja_runtime.counting import agree

MOST_WINDOWS = 1_000_000
"""The most windows that a user can ask for: random windows have no end."""

_BATCH_BYTES = 256 * 2**20


_BATCH_WINDOWS = 64


_JUDGED_STEPS = 2**32


_JUDGED_WINDOWS = 1024


_RUN_STEPS = 2**27


_LARGE_BATCH_STEPS = 2**25


def fewer_windows(asked: Mapping[str, int | None], there: int) -> list[str]:
    """Return a note for each argument that asks for more windows than there are.

    Args:
        asked: the number of windows that each argument asks for, by its name; None if it was not given.
        there: the number of windows that there are.
    """
    return [
        f"`{name}` is {n:,}, but there {agree(there, 'is 1 window; it', f'are {there:,} windows; all {there:,}')} "
        f"{agree(there, 'is', 'are')} used"
        for name, n in asked.items()
        if n is not None and n > there
    ]


def batch_size(signature: NetworkSignature) -> int:
    """Return the number of windows to run at once, from 1 to 64. Their recorded spikes take 256 MiB at most."""
    return int(np.clip(_BATCH_BYTES // (4 * _neuron_steps(signature)), 1, _BATCH_WINDOWS))


def large_batch(signature: NetworkSignature) -> int:
    """Return the number of windows of the largest batch to judge, from 2 to 65: as many as take little time.

    For a small network it is one more than the largest batch that is run (`batch_size`).
    """
    return int(np.clip(_LARGE_BATCH_STEPS // _neuron_steps(signature), 2, _BATCH_WINDOWS + 1))


def judged_windows(signature: NetworkSignature) -> int:
    """Return the number of windows to judge spike by spike, from 1 to 1024. The comparison takes minutes at most."""
    return int(np.clip(_JUDGED_STEPS // _neuron_steps(signature), 1, _JUDGED_WINDOWS))


def quick_runs(signature: NetworkSignature) -> int:
    """Return the number of windows that ONNX Runtime can run within seconds; 0 for a very large network.

    Only the network's output is computed; no signals inside the network are recorded.
    """
    return _RUN_STEPS // _neuron_steps(signature)


def _neuron_steps(signature: NetworkSignature) -> int:
    return sum(int(np.prod(layer.shape)) for layer in signature.layers) * signature.time_steps
