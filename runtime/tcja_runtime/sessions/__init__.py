"""Backends that run an exported network, one module each, imported when used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tcja_runtime.frames import Floats
from tcja_runtime.probe import current_tensor, spikes_tensor
from tcja_runtime.trace import Trace


class Session(Protocol):
    """A network loaded in a backend, ready to run batches of any size."""

    def run(self, inputs: Floats) -> Mapping[str, npt.NDArray[Any]]:
        """All outputs by name, from a batch of inputs [N, ...]."""
        ...


class Probe:
    """A network in a backend, with its spikes and currents in the open.

    Args:
        model: the network's file, for reports.
        backend: what runs it, for reports.
        opened: loads the network with these tensors as further outputs.
        output: name of the network's own output.
        layers: the spiking layers in the order they fire.
    """

    def __init__(
        self,
        model: str,
        backend: str,
        opened: Callable[[Sequence[str]], Session],
        output: str,
        layers: Sequence[str],
    ) -> None:
        self.model = model
        self.backend = backend
        self._opened = opened
        self._output = output
        self._spikes = {layer: spikes_tensor(layer) for layer in layers}
        self._session = opened(list(self._spikes.values()))

    def trace(self, inputs: Floats) -> Trace:
        """Everything the network does with a batch [N, ...]."""
        results = dict(self._session.run(inputs))
        # Taken out one by one, so that the floats of a layer are gone before the next is converted.
        spikes = {layer: results.pop(tensor).astype(np.bool_) for layer, tensor in self._spikes.items()}
        return Trace(results[self._output], spikes)

    def current(self, layer: str, inputs: Floats) -> npt.NDArray[Any]:
        """A spiking layer's input current [T, N, ...] for a batch."""
        # A session of its own, because all currents at once would take as much memory again as the spikes.
        return self._opened([current_tensor(layer)]).run(inputs)[current_tensor(layer)]
