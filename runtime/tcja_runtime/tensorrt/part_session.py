"""Parts of a network in TensorRT: what looks inside an engine, which shows nothing but its output.

A part (`tcja_runtime.model_file.subgraph.part`) is built like the engine itself, of the same operations in the same
types, but with the signals and spikes of interest as outputs, and with the reference's spikes as inputs. TensorRT may
join operations otherwise around them, so a part proves what TensorRT computes, not each instruction of the engine that
is deployed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tcja_runtime.bundle.bundle import ENGINES, WEIGHTS
from tcja_runtime.bundle.engines import ENGINE
from tcja_runtime.data.contract import Floats
from tcja_runtime.model_file.subgraph import Dimensions, inputs, part
from tcja_runtime.model_file.tensor_names import given_tensor
from tcja_runtime.tensorrt import build
from tcja_runtime.tensorrt.session import TensorRtEngine, TensorRtSession


class BuiltPart:
    """A session of a part, built when the shapes of its inputs are first known, and again for others.

    Args:
        model: path of the .onnx file in standard operators; its weights are beside it.
        outputs: tensors to compute; none are the model's own outputs, of the model as it is.
        given: tensors to take as inputs, each with its dimensions.
        target: one of `tcja_runtime.choices.ENGINE_TARGETS`.
        precision: of the model.

    Attributes:
        inputs: names of the tensors it takes.
    """

    def __init__(
        self, model: Path, outputs: Sequence[str], given: Mapping[str, Dimensions], *, target: str, precision: str
    ) -> None:
        self._model, self._outputs, self._given = model, outputs, given
        self._target, self._precision = target, precision
        self.inputs: Sequence[str] = inputs(self._cut(given))
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._session: TensorRtSession | None = None

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Its results by name, from its inputs by name.

        Raises:
            BadInput: TensorRT cannot build the part.
            Unavailable: what it needs of this machine is missing.
        """
        shapes = {name: feeds[name].shape for name in self.inputs}
        if self._session is None or shapes != self._shapes:
            self.close()
            self._session = self._built(shapes)
            self._shapes = shapes
        return self._session.run(feeds)

    def build(self, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> build.Engine:
        """Build the part for inputs of some shapes, into a folder of its own."""
        known = {name: shapes.get(given_tensor(name), dimensions) for name, dimensions in self._given.items()}
        file = folder / "part.onnx"
        file.write_bytes(self._cut(known))
        (folder / WEIGHTS).symlink_to(self._model.resolve().parent / WEIGHTS)
        return build.build(file, folder / ENGINES, self._target, build.BuildOptions(), self._precision, {}, shapes)

    def _cut(self, given: Mapping[str, Dimensions]) -> bytes:
        whole = self._model.read_bytes()
        return part(whole, self._outputs, given) if self._outputs else whole

    def _built(self, shapes: Mapping[str, tuple[int, ...]]) -> TensorRtSession:
        with tempfile.TemporaryDirectory() as folder:
            built = self.build(shapes, Path(folder))
            plan = (Path(folder) / ENGINES / built.name / ENGINE).read_bytes()
        title = f"a part of {self._model.name}"
        # It is run a few times, so that capturing a graph would not pay.
        return TensorRtEngine(plan, built.sidecar["module"], title).session(graphs=False)

    def close(self) -> None:
        """Give its memory back."""
        if self._session is not None:
            self._session.close()
        self._session = None
