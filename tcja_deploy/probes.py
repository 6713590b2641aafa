"""The models of a bundle in the backends of this machine, ready to be compared."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from tcja_exporters.parts import BuiltPart
from tcja_runtime import backends
from tcja_runtime.bundle import MODEL, PLAIN_MODEL, Layer, Tap
from tcja_runtime.sessions import Probe
from tcja_runtime.sessions.onnxruntime import OnnxRuntimeSession


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
            backends.title(backend),
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
    flavour: str,
    precision: str,
    answer: Tap | None,
) -> list[Probe]:
    """The plain model of a bundle's folder in TensorRT, which each part is built with when it is first run."""
    opened = functools.partial(BuiltPart, folder / PLAIN_MODEL, target=flavour, precision=precision)
    return [
        Probe(
            PLAIN_MODEL,
            backends.title(flavour),
            opened,
            input_name=input_name,
            output_name=output_name,
            layers=layers,
            taps=taps,
            answer=answer,
            fuses=True,
        )
    ]
