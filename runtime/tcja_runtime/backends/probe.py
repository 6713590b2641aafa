"""Probes, which run an exported network in a backend and return its spikes and signals besides its output."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from tcja_runtime.backends import select
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.session import Opener, Session
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.bundle.network_signature import NetworkSignature, Tap
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.trace import Observation, Reference, Spikes, Values
from tcja_runtime.files.folder import Files, read_model
from tcja_runtime.model_file.subgraph import Dimensions
from tcja_runtime.model_file.tensor_names import current_tensor, given_tensor
from tcja_runtime.tensorrt.part_session import BuiltPart


class Probe:
    """Runs an exported network in a backend, and returns its spikes and signals besides its output.

    A signal is the input current of a spiking layer, or a tap of the signature, such as the membranes of an integrator.
    Each method runs a part of the model that computes only the tensors it returns
    (`tcja_runtime.model_file.subgraph`). The part is loaded when the method is first called. Most parts are
    kept for the next batch.

    Args:
        model: the name of the model's file, for reports.
        backend: the name and version of the backend, for reports.
        opened: a function that loads a part of the network.
        signature: the signature of the network.
        fuses: whether the backend may compute a product and a sum with one rounding (a fused multiply-add).
    """

    def __init__(
        self, model: str, backend: str, opened: Opener, signature: NetworkSignature, *, fuses: bool = False
    ) -> None:
        self.model, self.backend, self.fuses = model, backend, fuses
        self._opened, self._signature = opened, signature
        self._spikes = {layer.name: layer.result_tensor for layer in signature.layers}
        self._results = {**self._spikes, **{layer.name: layer.result_tensor for layer in signature.integrators}}
        self._sessions: dict[tuple[str, ...], Session] = {}

    def free(self, inputs: Floats) -> Observation:
        """Returns output, step output and all spikes of the free-running network, for a batch of windows [N, ...]."""
        outputs = dict.fromkeys([self._signature.output, *self._step_output, *self._spikes.values()])
        return self._observed([*outputs], {}, self._fed(inputs))

    def run(self, inputs: Floats) -> Observation:
        """Returns output and step output of the free-running network, for a batch of windows [N, ...]."""
        return self._observed([self._signature.output, *self._step_output], {}, self._fed(inputs))

    def output(self, inputs: Floats) -> Values:
        """Returns the output [N, ...] for a batch of windows [N, ...], from the whole model as it is deployed."""
        return self.deployed(inputs)[self._signature.output]

    def deployed(self, inputs: Floats) -> dict[str, Values]:
        """Returns all outputs by name for a batch of windows [N, ...], from the whole model as it is deployed."""
        return self._session([], {}).run(self._fed(inputs))

    @property
    def has_gates(self) -> bool:
        """Whether the network has attention blocks."""
        return bool(self._gates)

    def gates(self, inputs: Floats) -> Mapping[str, Values]:
        """Returns the gate of each attention block of the free-running network, [T, N, ...], by the name of its tap.

        Args:
            inputs: a batch of windows [N, ...].
        """
        gates = [tap.tensor for tap in self._gates]
        return self._observed([self._signature.output, *gates], {}, self._fed(inputs)).signals

    def gated(self, inputs: Floats, reference: Reference) -> Observation:
        """Returns output and spikes of the network if its gates are given and everything else is free-running.

        Args:
            inputs: a batch of windows [N, ...].
            reference: the results of the reference for the batch. Its gates replace the gates of the network.
        """
        return self._forced(list(self._spikes.values()), [], inputs, {}, self._gate_values(reference))

    def forced(self, inputs: Floats, reference: Reference) -> Observation:
        """Returns all signals and spikes of the teacher-forced network.

        Every layer reads the reference's spikes and gates in place of those that the network computes. The returned
        spikes and gates are those that the network itself computes in this state.

        Args:
            inputs: a batch of windows [N, ...].
            reference: the results of the reference for the batch.
        """
        taps = [tap for tap in self._signature.taps if tap.on_windows]
        return self._forced(list(self._spikes.values()), taps, inputs, reference.spikes, self._gate_values(reference))

    def stimulated(
        self,
        inputs: Floats,
        spikes: Mapping[str, Spikes],
        weights: Mapping[str, Floats] | None = None,
        *,
        signals: Collection[str] | None = None,
    ) -> Observation:
        """Returns signals and the output of the network if the spikes of all layers are given.

        The neurons of the network are not computed.

        Args:
            inputs: a batch of windows [N, ...].
            spikes: the given spikes of each layer, bool [T, N, ...].
            weights: by the name of a tensor in the model, values that replace the network's weights; None keeps the
                network's weights.
            signals: the names of the signals to return; None for all.
        """
        taps = [tap for tap in self._signature.taps if signals is None or tap.name in signals]
        layers = [name for name in self._spikes if signals is None or name in signals]
        outputs = [self._signature.output, *map(current_tensor, layers), *(tap.tensor for tap in taps)]
        given, feeds = self._given(inputs, spikes, weights or {})
        return self._observed(outputs, given, feeds, once=True)

    def neurons(self, name: str, current: Floats) -> Values:
        """Returns the output of a layer's neurons for given input currents: 0 or 1, or the membranes of an integrator.

        Args:
            name: the name of the layer.
            current: the input currents, [T, N, ...], of the layer's rank; the axes may have any size.
        """
        given, result = current_tensor(name), self._results[name]
        with contextlib.closing(self._opened([result], {given: (None,) * current.ndim})) as session:
            return session.run({given_tensor(given): current})[result]

    @property
    def _step_output(self) -> list[str]:
        return [self._signature.step_output.tensor] if self._signature.step_output else []

    @property
    def _gates(self) -> list[Tap]:
        return [tap for tap in self._signature.taps if tap.is_gate]

    def _gate_values(self, reference: Reference) -> dict[str, Floats]:
        return {
            tap.tensor: np.ascontiguousarray(tap.out_of_time(reference.whole(tap.name)).astype(np.float32))
            for tap in self._gates
        }

    def _fed(self, inputs: Floats) -> dict[str, Floats]:
        return {self._signature.input.name: inputs}

    def _forced(
        self,
        fired: list[str],
        taps: Sequence[Tap],
        inputs: Floats,
        spikes: Mapping[str, Spikes],
        values: Mapping[str, Floats],
    ) -> Observation:
        currents = [current_tensor(layer) for layer in self._spikes]
        outputs = [self._signature.output, *fired, *currents, *(tap.tensor for tap in taps)]
        return self._observed(outputs, *self._given(inputs, spikes, values))

    def _given(
        self, inputs: Floats, spikes: Mapping[str, Spikes], values: Mapping[str, Floats]
    ) -> tuple[dict[str, Dimensions], dict[str, Floats]]:
        """The dimensions of all tensors that are given to a part, and all of its inputs, by the tensor's name."""
        given: dict[str, Dimensions] = {self._spikes[name]: (None,) * array.ndim for name, array in spikes.items()}
        given |= {name: (None,) * array.ndim for name, array in values.items()}
        feeds = {given_tensor(self._spikes[name]): array.astype(np.float32) for name, array in spikes.items()}
        feeds |= {given_tensor(name): array for name, array in values.items()}
        return given, {**self._fed(inputs), **feeds}

    def _observed(
        self, outputs: list[str], given: Mapping[str, Dimensions], feeds: Mapping[str, Floats], *, once: bool = False
    ) -> Observation:
        session = self._opened(outputs, given) if once else self._session(outputs, given)
        results = session.run({name: array for name, array in feeds.items() if name in session.inputs})
        if once:
            session.close()
        tap = self._signature.step_output
        steps = tap.in_time(results[tap.tensor]) if tap and tap.tensor in results else None
        currents = {layer: current_tensor(layer) for layer in self._spikes}
        # The floats of a layer are removed from `results` before those of the next layer are converted, to save memory.
        return Observation(
            output=results[self._signature.output],
            # A spike is exactly 1. Any other value is not a spike.
            spikes={layer: results.pop(tensor) == 1 for layer, tensor in self._spikes.items() if tensor in results},
            signals={layer: results[tensor] for layer, tensor in currents.items() if tensor in results}
            | {tap.name: tap.in_time(results[tap.tensor]) for tap in self._signature.taps if tap.tensor in results},
            step_output=steps,
        )

    def _session(self, outputs: list[str], given: Mapping[str, Dimensions]) -> Session:
        key = (*outputs, "", *given)
        if key not in self._sessions:
            self._sessions[key] = self._opened(outputs, given)
        return self._sessions[key]


def onnxruntime_probes(files: Files, signature: NetworkSignature, backend: str = "onnxruntime") -> list[Probe]:
    """Returns the probes of both models of a bundle in ONNX Runtime: first model.plain.onnx, then model.onnx.

    Args:
        files: the bundle, or the folder of the models.
        signature: the signature of the network.
        backend: one of `tcja_runtime.choices.PROVIDERS`.

    Raises:
        Unavailable: ONNX Runtime, or the provider of the backend, is missing.
        BadInput: ONNX Runtime cannot load a model.
    """
    return [
        Probe(
            file,
            select.title(backend),
            functools.partial(OnnxRuntimeSession.open, read_model(files, file), backend=backend),
            signature,
            fuses=backend == "onnxruntime-tensorrt",
        )
        for file in (PLAIN_MODEL, MODEL)
    ]


def tensorrt_probes(files: Files, signature: NetworkSignature, target: str, precision: str) -> list[Probe]:
    """Returns the probe of model.plain.onnx of a bundle in TensorRT. A part is built as an engine when it is first run.

    Args:
        files: the bundle, or the folder of the models.
        signature: the signature of the network.
        target: "tensorrt" or "tensorrt-rtx".
        precision: the precision of the network.
    """
    opened = functools.partial(BuiltPart.open, read_model(files, PLAIN_MODEL), target=target, precision=precision)
    return [Probe(PLAIN_MODEL, select.title(target), opened, signature, fuses=True)]
