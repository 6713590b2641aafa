"""The classes that a backend predicted, as a hash: two boards that hash the same windows alike answer alike."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import ClassVar

from tcja_runtime.evidence.predictions import Predictions

GOLDEN = "golden windows"
"""The word for the windows of the bundle, which need no hash of their own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """The classes that a backend predicted for windows.

    Attributes:
        backend: the title of the backend, such as "TensorRT 10.3.0, Orin".
        engine_sha256: the hash of the engine that ran; None if ONNX Runtime ran.
        data: the hash of the windows, or `GOLDEN`.
        windows: the number of windows.
        sha256: the hash of the likeliest class of each window, in their order.
    """

    backend: str
    engine_sha256: str | None = None
    data: str
    windows: int
    sha256: str

    TAKES_MORE: ClassVar[bool] = True  # those of another version may have other fields

    @classmethod
    def of(cls, backend: str, engine_sha256: str | None, predictions: Predictions) -> Answers:
        """Return the answers that predictions are."""
        classes = predictions.likeliest[:, 0].astype("<i4")
        return cls(
            backend=backend,
            engine_sha256=engine_sha256,
            data=predictions.digest or GOLDEN,
            windows=len(predictions),
            sha256=hashlib.sha256(classes.tobytes()).hexdigest(),
        )
