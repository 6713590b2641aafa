"""Gives every spiking layer of a model the tensors that parity reads and replaces: its current and its spikes."""

from __future__ import annotations

from tcja_runtime.model_file.half_currents import expose_currents
from tcja_runtime.model_file.scan_pooling import expose_spikes


def exposed(model: bytes) -> bytes:
    """Returns a serialised model in which every spiking layer has the float32 tensors of its current and its spikes.

    The values of all tensors stay the same to the bit. The same object is returned if nothing is to be changed.

    Raises:
        ValueError: the bytes are not a model.
    """
    return expose_currents(expose_spikes(model))
