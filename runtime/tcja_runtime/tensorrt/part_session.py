"""Sessions of a part of a network in TensorRT, to look inside an engine, which shows its output only.

A part (`tcja_runtime.model_file.subgraph.part`) is built like the engine itself, of the same operations in the same
types. Its outputs are the signals and spikes of interest, and its inputs can be the reference's spikes. TensorRT may
join the operations around them in another way, so a part proves what TensorRT computes, not each instruction of the
engine that is deployed.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tcja_runtime.bundle.bundle import ENGINES, WEIGHTS
from tcja_runtime.bundle.engines import Engine
from tcja_runtime.data.contract import Floats
from tcja_runtime.model_file.subgraph import Dimensions, inputs, part
from tcja_runtime.model_file.tensor_names import given_tensor
from tcja_runtime.tensorrt.build import BuildRequest, build
from tcja_runtime.tensorrt.session import TensorRtEngine, TensorRtSession


@dataclasses.dataclass
class BuiltPart:
    """A session of a part. Its engine is built when the shapes of the inputs are known, and again for other shapes.

    Attributes:
        inputs: the names of the inputs.
    """

    _model: Path
    _outputs: Sequence[str]
    _given: Mapping[str, Dimensions]
    _target: str
    _precision: str
    inputs: Sequence[str]
    _shapes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    _session: TensorRtSession | None = None

    @classmethod
    def open(
        cls, model: Path, outputs: Sequence[str], given: Mapping[str, Dimensions], *, target: str, precision: str
    ) -> BuiltPart:
        """Cut a part out of a model.

        Args:
            model: the .onnx file, in standard operators, with its weights beside it.
            outputs: the tensors to compute; none for the model's own outputs, of the whole model.
            given: the tensors to take as inputs, each with its dimensions.
            target: one of `tcja_runtime.choices.ENGINE_TARGETS`.
            precision: the precision of the model.
        """
        return cls(model, outputs, given, target, precision, inputs(_cut(model, outputs, given)))

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Compute the outputs by name from the inputs by name.

        Raises:
            BadInput: TensorRT cannot build the part.
            Unavailable: TensorRT, a GPU or memory is missing on this machine.
        """
        shapes = {name: feeds[name].shape for name in self.inputs}
        if self._session is None or shapes != self._shapes:
            self.close()
            self._session = self._built(shapes)
            self._shapes = shapes
        return self._session.run(feeds)

    def build(self, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> Engine:
        """Build the part for inputs of given shapes, into a folder of its own."""
        known = {name: shapes.get(given_tensor(name), dimensions) for name, dimensions in self._given.items()}
        file = folder / "part.onnx"
        file.write_bytes(_cut(self._model, self._outputs, known))
        (folder / WEIGHTS).symlink_to(self._model.resolve().parent / WEIGHTS)
        return build(
            BuildRequest(
                model=file, engines=folder / ENGINES, target=self._target, precision=self._precision, shapes=shapes
            )
        )

    def _built(self, shapes: Mapping[str, tuple[int, ...]]) -> TensorRtSession:
        with tempfile.TemporaryDirectory() as folder:
            plan = self.build(shapes, Path(folder)).plan()
        loaded = TensorRtEngine.load(plan, self._target, f"a part of {self._model.name}")
        return loaded.session(graphs=False)  # it runs a few times only, too few for a graph to save time

    def close(self) -> None:
        """Free the memory."""
        if self._session is not None:
            self._session.close()
        self._session = None


def _cut(model: Path, outputs: Sequence[str], given: Mapping[str, Dimensions]) -> bytes:
    whole = model.read_bytes()
    return part(whole, outputs, given) if outputs else whole
