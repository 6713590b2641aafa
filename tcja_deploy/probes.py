"""The models of a bundle in the backends of this machine, ready to be compared."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from tcja_runtime.bundle import MODEL, PLAIN_MODEL, Layer, Tap
from tcja_runtime.sessions import Probe
from tcja_runtime.sessions.onnxruntime import OnnxRuntimeSession, installed


def onnxruntime_probes(
    folder: Path, input_name: str, output_name: str, layers: Sequence[Layer], taps: Sequence[Tap]
) -> list[Probe]:
    """Both models of a bundle's folder in ONNX Runtime, the plain one first, as engines are built from it.

    Raises:
        Unavailable: ONNX Runtime is missing.
        BadInput: it cannot load a model.
    """
    backend = f"ONNX Runtime {' '.join(installed().values())}"
    return [
        Probe(
            file,
            backend,
            functools.partial(OnnxRuntimeSession, folder / file),
            input_name=input_name,
            output_name=output_name,
            layers=layers,
            taps=taps,
        )
        for file in (PLAIN_MODEL, MODEL)
    ]
