"""A network split for streaming, in ONNX Runtime, beside the same network over whole windows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from torch import nn

from tcja_exporters.graph import stepwise
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.graph.stepwise import StepwiseModels
from tcja_exporters.reference import recorder
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.bundle.network_signature import NetworkSignature
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.model_file.tensor_names import spikes_tensor


@dataclasses.dataclass(frozen=True)
class Both:
    """Head, tail and the plain model in a folder."""

    folder: Path
    contract: InputContract
    exported: Exported
    split: StepwiseModels

    def streams(self, count: int = 1) -> Streams:
        head, tail = (OnnxRuntimeSession.open(self.folder / file) for file in (HEAD, TAIL))
        (output,) = self.split.tail.graph.output
        shape = tuple(size.dim_value for size in output.type.tensor_type.shape.dim[1:])
        signature = NetworkSignature(
            input=self.contract,
            output=output.name,
            output_shape=shape,
            time_steps=self.contract.shape[0],
            layers=[],
        )
        return Streams(self.split.streaming, signature, head, tail, count)

    def whole(self, windows: Floats, *tensors: str) -> list[Floats]:
        """The output of the plain model, or tensors of it."""
        session = OnnxRuntimeSession.open(self.folder / PLAIN_MODEL, tensors)
        found = session.run({self.contract.name: windows})
        return [found[name] for name in tensors or ("logits",)]

    def spikes(self, windows: Floats) -> dict[str, Floats]:
        """By layer of the head [T, N, ...], of the plain model."""
        names = [state.layer for state in self.split.streaming.states]
        return dict(zip(names, self.whole(windows, *map(spikes_tensor, names)), strict=True))

    def head_spikes(self, windows: Floats) -> dict[str, Floats]:
        """The same of the head, whose states are carried here by hand."""
        states = self.split.streaming.states
        names = [spikes_tensor(state.layer) for state in states]
        nexts = [f"{state.layer}/v_next" for state in states]
        session = OnnxRuntimeSession.open(self.folder / HEAD, [*names, *nexts])
        v = {f"{s.layer}/v": np.full((len(windows), *s.shape), s.start, np.float32) for s in states}
        found: dict[str, list[Floats]] = {state.layer: [] for state in states}
        for frame in np.moveaxis(windows, 1, 0):
            made = session.run({self.split.streaming.frame: frame, **v})
            for state in states:
                found[state.layer].append(made[spikes_tensor(state.layer)])
                v[f"{state.layer}/v"] = made[f"{state.layer}/v_next"]
        return {layer: np.concatenate(steps) for layer, steps in found.items()}


def split(module: nn.Module, contract: InputContract, folder: Path, exported: Exported | None = None) -> Both:
    exported = exported or export_onnx(module, contract, "logits", {"producer": "tests", "T": "5"})
    parts = stepwise.split(exported, contract, recorder.layers(module, contract))
    save(exported, folder, parts.models)
    return Both(folder, contract, exported, parts)


def pushed(streams: Streams, windows: Floats) -> Floats:
    """The answers to windows [N, T, ...], a stream each."""
    for frame in np.moveaxis(windows, 1, 0):
        completed = streams.push(np.ascontiguousarray(frame))
    assert completed.streams.tolist() == list(range(len(windows)))
    return completed.outputs
