"""A bundle's network in one backend, as `verify` runs it."""

from __future__ import annotations

import dataclasses

from tcja_deploy.parity.classify import model_identity
from tcja_deploy.parity.engine import Returned
from tcja_runtime.backends import select
from tcja_runtime.backends.probe import Probe, onnxruntime_probes, tensorrt_probes
from tcja_runtime.backends.select import Backend
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.choices import ENGINE_TARGETS
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.trace import Observation


@dataclasses.dataclass(frozen=True)
class Network:
    """A bundle's network in one backend.

    Attributes:
        bundle: the bundle.
        name: the name of the backend.
        probes: the models of the bundle, whose spikes and signals are outputs; the first is model.plain.onnx.
        engines: the engines of the backend that this machine can run, the last built first; none for ONNX Runtime.
    """

    bundle: Bundle
    name: str
    probes: list[Probe]
    engines: list[Backend]

    @classmethod
    def loaded(cls, opened: Bundle, name: str) -> Network:
        """Load the network in a backend."""
        manifest = opened.manifest
        if name not in ENGINE_TARGETS:
            return cls(opened, name, onnxruntime_probes(opened, manifest.signature, name), [])
        running = select.all_opened(opened, name)
        return cls(opened, name, tensorrt_probes(opened, manifest.signature, name, manifest.precision), running)

    def run(self, inputs: Floats) -> Predictions:
        """Return predictions for windows [n, ...]: of the first engine or, without engines, of model.plain.onnx."""
        if not self.engines:
            return Predictions.of_run(self.probes[0].run(inputs))
        found = Returned.of(self.engines[0].session, inputs, self.bundle.manifest.output)
        return Predictions.of_run(Observation(output=found.output, spikes={}, signals={}))

    @property
    def identity(self) -> str:
        """A text that identifies the model, the engine and the backend."""
        plain = self.probes[0]
        found = f"{plain.backend} of {model_identity(self.bundle, plain.model)}"
        return f"{found} in {self.engine_sha256}" if self.engine_sha256 else found

    @property
    def engine_sha256(self) -> str | None:
        """The hash of the engine that predicts (`run`); None without engines."""
        engine = self.engines[0].engine if self.engines else None
        return engine.info.sha256 if engine else None
