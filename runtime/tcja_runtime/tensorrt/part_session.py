"""Sessions of a part of a network in TensorRT. An engine returns only its output; a part returns spikes and signals.

A part (`tcja_runtime.model_file.subgraph.part`) is built in the same way as the engine, from the same operations in the
same types. Its outputs are spikes and signals of the network, and its inputs can be the reference's spikes. TensorRT
may fuse the operations of a part in another way than those of the engine. So a part shows how TensorRT computes these
operations, but not every instruction of the deployed engine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tcja_runtime.bundle.engines import Engine
from tcja_runtime.bundle.origin.engine_list import ENGINES
from tcja_runtime.data.contract import Floats
from tcja_runtime.files.folder import readable, write_model
from tcja_runtime.files.staging import scratch
from tcja_runtime.model_file.model import Model
from tcja_runtime.model_file.subgraph import Dimensions, inputs
from tcja_runtime.model_file.tensor_names import given_tensor
from tcja_runtime.tensorrt.build import BuildOptions, BuildRequest, build
from tcja_runtime.tensorrt.session import TensorRtEngine, TensorRtSession


@dataclasses.dataclass
class BuiltPart:
    """A session of a part. An engine is built in the first run, and again if the shapes of the inputs change.

    Attributes:
        inputs: the names of the inputs.
    """

    _model: Model
    _outputs: Sequence[str]
    _given: Mapping[str, Dimensions]
    _target: str
    _precision: str
    inputs: Sequence[str]
    _build_timeout: int | None = None
    _shapes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    _session: TensorRtSession | None = None

    @classmethod
    def open(
        cls,
        model: Model,
        outputs: Sequence[str],
        given: Mapping[str, Dimensions],
        *,
        target: str,
        precision: str,
        build_timeout: int | None = None,
    ) -> BuiltPart:
        """Cut a part out of a model.

        Args:
            model: the model, in standard operators.
            outputs: the names of the tensors to compute. If it is empty, the part is the whole model.
            given: the tensors to take as inputs, by name with their dimensions.
            target: one of `tcja_runtime.choices.ENGINE_TARGETS`.
            precision: the precision of the model.
            build_timeout: the seconds after which each builder is ended; None for
                `tcja_runtime.tensorrt.build.BUILD_TIMEOUTS`.
        """
        with readable(model):
            taken = inputs(model.part(outputs, given).content)
        return cls(model, outputs, given, target, precision, taken, build_timeout)

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Run the part once. Takes the inputs by name, and returns the outputs by name.

        Raises:
            BadInput: TensorRT cannot build the part.
            BuildTimeout: the builder did not end in time.
            Unavailable: TensorRT, a GPU or memory is missing on this machine.
        """
        shapes = {name: feeds[name].shape for name in self.inputs}
        if self._session is None or shapes != self._shapes:
            self.close()
            self._session = self._built(shapes)
            self._shapes = shapes
        return self._session.run(feeds)

    def build(self, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> Engine:
        """Build an engine of the part and return it.

        Args:
            shapes: the shape of each input, by the name of the input.
            folder: the folder into which the cut model and the engine are written.
        """
        known = {name: shapes.get(given_tensor(name), dimensions) for name, dimensions in self._given.items()}
        file = folder / "part.onnx"
        with readable(self._model):
            part = self._model.part(self._outputs, known)
        write_model(part, file)
        return build(
            BuildRequest(
                model=file,
                engines=folder / ENGINES,
                target=self._target,
                precision=self._precision,
                shapes=shapes,
                options=BuildOptions(build_timeout=self._build_timeout),
            )
        )

    def _built(self, shapes: Mapping[str, tuple[int, ...]]) -> TensorRtSession:
        with scratch() as folder:
            plan = self.build(shapes, folder).plan()
        loaded = TensorRtEngine.load(plan, self._target, f"a part of {self._model.path.name}")
        return loaded.session(graphs=False)  # it runs only a few times, so a graph saves no time

    def close(self) -> None:
        """Free the memory."""
        if self._session is not None:
            self._session.close()
        self._session = None
