"""What runs a model in ONNX Runtime: as `tcja-deploy` does, and with default options. Needs neither torch nor onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime

from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.data.contract import Floats

OURS, PLAIN, FLOOR, TORCH, COMPILED = "tcja-deploy", "plain export", "floor", "PyTorch", "torch.compile"
"""The contestants."""


class Runner(Protocol):
    """A network that is ready to run."""

    def run(self, windows: Floats) -> Floats:
        """What it answers for a batch [N, ...]."""
        ...


class Ours:
    """An exported network, saved to a folder, as `tcja-deploy` runs it on the CPU."""

    def __init__(self, folder: Path) -> None:
        self._session = OnnxRuntimeSession.open(folder / PLAIN_MODEL, keeps_memory=True)
        (self._input,) = self._session.inputs

    def run(self, windows: Floats) -> Floats:
        (answer,) = self._session.run({self._input: windows}).values()
        return answer


class InOnnxRuntime:
    """A model on the CPU with ONNX Runtime's default options."""

    def __init__(self, model: Path) -> None:
        self._session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        (self._input,) = (value.name for value in self._session.get_inputs())

    def run(self, windows: Floats) -> Floats:
        return np.asarray(self._session.run(None, {self._input: windows})[0])
