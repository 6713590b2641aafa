"""Backends that run an exported network, one module each, imported when used."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tcja_runtime.backends import select
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.session import Opener, Session
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.bundle.manifest import Layer, Tap
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.trace import Observation, Reference, Spikes, Values
from tcja_runtime.model_file.subgraph import Dimensions
from tcja_runtime.model_file.tensor_names import current_tensor, given_tensor, spikes_tensor
from tcja_runtime.tensorrt.part_session import BuiltPart


class Probe:
    """A network in a backend, with its spikes and signals in the open.

    Args:
        model: the network's file, for reports.
        backend: what runs it, for reports.
        opened: loads parts of the network.
        input_name: of the network's input.
        output_name: of its output.
        layers: its spiking layers.
        taps: what else is looked at.
        answer: what the network's output is the mean over time of; None where it is not known.
        fuses: whether the backend may round a product and a sum at once.
    """

    def __init__(
        self,
        model: str,
        backend: str,
        opened: Opener,
        *,
        input_name: str,
        output_name: str,
        layers: Sequence[Layer],
        taps: Sequence[Tap],
        answer: Tap | None = None,
        fuses: bool = False,
    ) -> None:
        self.model = model
        self.fuses = fuses
        self.backend = backend
        self._opened = opened
        self._input = input_name
        self.output_name = output_name
        self._any = {layer.name: (None,) * (len(layer.shape) + 2) for layer in layers}
        self._spikes = {layer.name: spikes_tensor(layer.name) for layer in layers}
        self._currents = {layer.name: current_tensor(layer.name) for layer in layers}
        self._taps = {tap.name: tap for tap in taps}
        self._answer = answer
        self._sessions: dict[tuple[str, ...], Session] = {}

    def free(self, inputs: Floats) -> Observation:
        """Output, its steps and spikes of the network as it is, for a batch [N, ...]."""
        outputs = dict.fromkeys([self.output_name, *self._steps, *self._spikes.values()])
        return self._observed([*outputs], {}, {self._input: inputs})

    def answered(self, inputs: Floats) -> Observation:
        """Output and its steps of the network as it is, for a batch [N, ...]."""
        return self._observed([self.output_name, *self._steps], {}, {self._input: inputs})

    @property
    def _steps(self) -> list[str]:
        """The tensor that the output is the mean over time of, where it is known."""
        return [self._answer.tensor] if self._answer else []

    @property
    def has_gates(self) -> bool:
        """Whether the network has attention blocks."""
        return any(tap.is_gate for tap in self._taps.values())

    def gates(self, inputs: Floats) -> Mapping[str, Values]:
        """What each attention block of the network as it is lets through, [T, N, ...], for a batch [N, ...]."""
        gates = [tap.tensor for tap in self._taps.values() if tap.is_gate]
        return self._observed([self.output_name, *gates], {}, {self._input: inputs}).signals

    def gated(self, inputs: Floats, reference: Reference) -> Observation:
        """Output and spikes of the network where its gates, and nothing else, are the reference's."""
        return self._forced(list(self._spikes.values()), [], inputs, {}, self._gates(reference))

    def output(self, inputs: Floats) -> Values:
        """What the network returns for a batch [N, ...]: the model as it is, uncut."""
        return self._session([], {}).run({self._input: inputs})[self.output_name]

    def forced(self, inputs: Floats, reference: Reference) -> Observation:
        """What every layer does where all layers before it fire, and all gates are, as the reference's.

        Args:
            inputs: a batch [N, ...].
            reference: what the reference did with it. A layer's own spikes are computed from its current, and a gate
                from what it is of; neither is read by anything.
        """
        taps = [tap for tap in self._taps.values() if tap.attends]
        return self._forced(list(self._spikes.values()), taps, inputs, reference.spikes, self._gates(reference))

    def stimulated(
        self, inputs: Floats, spikes: Mapping[str, Spikes], weights: Mapping[str, Floats] | None = None
    ) -> Observation:
        """The signals and the output where all layers fire given spikes; no neuron is computed.

        Args:
            inputs: a batch [N, ...].
            spikes: by layer, [T, N, ...].
            weights: to be used in place of the network's own, by tensor.
        """
        return self._forced([], list(self._taps.values()), inputs, spikes, weights or {}, once=True)

    def neurons(self, name: str, current: Floats) -> Values:
        """What a layer's neurons alone return, from a current [T, N, ...] of the layer's rank and any size."""
        given, spikes = self._currents[name], self._spikes[name]
        with contextlib.closing(self._opened([spikes], {given: self._any[name]})) as session:
            return session.run({given_tensor(given): current})[spikes]

    def _gates(self, reference: Reference) -> dict[str, Floats]:
        return {
            tap.tensor: np.ascontiguousarray(tap.out_of_time(reference.whole(tap.name)).astype(np.float32))
            for tap in self._taps.values()
            if tap.is_gate
        }

    def _forced(
        self,
        fired: list[str],
        taps: list[Tap],
        inputs: Floats,
        spikes: Mapping[str, Spikes],
        values: Mapping[str, Floats],
        *,
        once: bool = False,
    ) -> Observation:
        outputs = [self.output_name, *fired, *self._currents.values(), *(tap.tensor for tap in taps)]
        given: dict[str, Dimensions] = {self._spikes[name]: self._any[name] for name in spikes}
        given |= {name: (None,) * array.ndim for name, array in values.items()}
        feeds = {given_tensor(self._spikes[name]): given_.astype(np.float32) for name, given_ in spikes.items()}
        feeds |= {given_tensor(name): array for name, array in values.items()}
        return self._observed(outputs, given, {self._input: inputs, **feeds}, once=once)

    def _observed(
        self, outputs: list[str], given: Mapping[str, Dimensions], feeds: Mapping[str, Floats], *, once: bool = False
    ) -> Observation:
        session = self._opened(outputs, given) if once else self._session(outputs, given)
        results = session.run({name: array for name, array in feeds.items() if name in session.inputs})
        if once:
            session.close()
        answer = self._answer
        steps = answer.in_time(results[answer.tensor]) if answer and answer.tensor in results else None
        # Taken out one by one, so that the floats of a layer are gone before the next is converted.
        return Observation(
            output=results[self.output_name],
            # A spike is 1; what is neither 0 nor 1 must not pass for one.
            spikes={layer: results.pop(tensor) == 1 for layer, tensor in self._spikes.items() if tensor in results},
            signals={layer: results[tensor] for layer, tensor in self._currents.items() if tensor in results}
            | {name: tap.in_time(results[tap.tensor]) for name, tap in self._taps.items() if tap.tensor in results},
            steps=steps,
        )

    def _session(self, outputs: list[str], given: Mapping[str, Dimensions]) -> Session:
        key = (*outputs, "", *given)
        if key not in self._sessions:
            self._sessions[key] = self._opened(outputs, given)
        return self._sessions[key]


def onnxruntime_probes(
    folder: Path,
    input_name: str,
    output_name: str,
    layers: Sequence[Layer],
    taps: Sequence[Tap],
    backend: str = "onnxruntime",
    answer: Tap | None = None,
) -> list[Probe]:
    """Both models of a bundle's folder in ONNX Runtime, the plain one first, as engines are built from it.

    Raises:
        Unavailable: ONNX Runtime, or the provider of the backend, is missing.
        BadInput: it cannot load a model.
    """
    return [
        Probe(
            file,
            select.title(backend),
            functools.partial(OnnxRuntimeSession, folder / file, backend=backend),
            input_name=input_name,
            output_name=output_name,
            layers=layers,
            taps=taps,
            answer=answer,
            fuses=backend == "onnxruntime-tensorrt",
        )
        for file in (PLAIN_MODEL, MODEL)
    ]


def tensorrt_probes(
    folder: Path,
    input_name: str,
    output_name: str,
    layers: Sequence[Layer],
    taps: Sequence[Tap],
    target: str,
    precision: str,
    answer: Tap | None,
) -> list[Probe]:
    """The plain model of a bundle's folder in TensorRT, which each part is built with when it is first run."""
    opened = functools.partial(BuiltPart, folder / PLAIN_MODEL, target=target, precision=precision)
    return [
        Probe(
            PLAIN_MODEL,
            select.title(target),
            opened,
            input_name=input_name,
            output_name=output_name,
            layers=layers,
            taps=taps,
            answer=answer,
            fuses=True,
        )
    ]
