"""Backends that run an exported network, one module each, imported when used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tcja_runtime.bundle import Layer
from tcja_runtime.frames import Floats
from tcja_runtime.probe import current_tensor, spikes_tensor
from tcja_runtime.trace import Spikes, Trace


class Session(Protocol):
    """A network, or a part of one, loaded in a backend and ready to run batches of any size."""

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the tensors it takes."""
        ...

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Its results by name, from its inputs by name."""
        ...


Opener = Callable[[Sequence[str], Mapping[str, int]], Session]
"""Loads the part of a network that computes some tensors, given others by name and rank (`tcja_runtime.probe.part`)."""


class Probe:
    """A network in a backend, with its spikes and currents in the open.

    Args:
        model: the network's file, for reports.
        backend: what runs it, for reports.
        opened: loads parts of the network.
        input_name: of the network's input.
        output_name: of its output.
        layers: its spiking layers.
    """

    def __init__(
        self, model: str, backend: str, opened: Opener, *, input_name: str, output_name: str, layers: Sequence[Layer]
    ) -> None:
        self.model = model
        self.backend = backend
        self._opened = opened
        self._input = input_name
        self._output = output_name
        self._ranks = {layer.name: len(layer.shape) + 2 for layer in layers}
        self._sessions: dict[tuple[str, ...], Session] = {}

    def trace(self, inputs: Floats) -> Trace:
        """Everything the network does with a batch [N, ...]."""
        wanted = {layer: spikes_tensor(layer) for layer in self._ranks}
        results = self._session([self._output, *wanted.values()], {}).run({self._input: inputs})
        # Taken out one by one, so that the floats of a layer are gone before the next is converted.
        spikes = {layer: results.pop(tensor).astype(np.bool_) for layer, tensor in wanted.items()}
        return Trace(results[self._output], spikes)

    def output(self, inputs: Floats) -> npt.NDArray[np.floating[Any]]:
        """What the network returns for a batch [N, ...]."""
        return self._session([self._output], {}).run({self._input: inputs})[self._output]

    def layer(
        self, name: str, inputs: Floats, spikes: Mapping[str, Spikes]
    ) -> tuple[Spikes, npt.NDArray[np.floating[Any]]]:
        """One layer where all layers before it fire given spikes: its spikes and its current, both [T, N, ...].

        Args:
            name: of the layer.
            inputs: a batch [N, ...].
            spikes: by layer.
        """
        fired, current = spikes_tensor(name), current_tensor(name)
        others = [layer for layer in self._ranks if layer != name]
        results = self._forced([fired, current], others, inputs, spikes)
        return results[fired].astype(np.bool_), results[current]

    def readout(self, inputs: Floats, spikes: Mapping[str, Spikes]) -> npt.NDArray[np.floating[Any]]:
        """The network's output [N, ...] where all layers fire given spikes."""
        return self._forced([self._output], list(self._ranks), inputs, spikes)[self._output]

    def neurons(self, name: str, current: Floats) -> Spikes:
        """The spikes of a layer's neurons alone, from a current [T, N, ...] of the layer's rank and any size."""
        session = self._session([spikes_tensor(name)], {current_tensor(name): self._ranks[name]})
        return session.run({current_tensor(name): current})[spikes_tensor(name)].astype(np.bool_)

    def _forced(
        self, outputs: list[str], forced: Sequence[str], inputs: Floats, spikes: Mapping[str, Spikes]
    ) -> dict[str, npt.NDArray[Any]]:
        session = self._session(outputs, {spikes_tensor(layer): self._ranks[layer] for layer in forced})
        feeds = {
            spikes_tensor(layer): spikes[layer].astype(np.float32)
            for layer in forced
            if spikes_tensor(layer) in session.inputs
        }
        return session.run({**feeds, self._input: inputs} if self._input in session.inputs else feeds)

    def _session(self, outputs: list[str], given: Mapping[str, int]) -> Session:
        key = (*outputs, "", *given)
        if key not in self._sessions:
            self._sessions[key] = self._opened(outputs, given)
        return self._sessions[key]
