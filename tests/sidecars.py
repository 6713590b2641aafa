"""The sidecar of an engine that was never built."""

from __future__ import annotations

from typing import Any

from tcja_runtime.bundle.sidecar import EngineInfo


def engine_info(**changes: Any) -> EngineInfo:
    """The sidecar of a TensorRT engine for one to eight windows on an Orin."""
    fields: dict[str, Any] = {
        "module": "tensorrt",
        "version": "10.3.0",
        "device": "orin-sm87",
        "precision": "fp16",
        "products": {"HALF": 5},
        "tf32": False,
        "version_compatible": False,
        "hardware": None,
        "level": 3,
        "workspace": 2**30,
        "batch": [1, 1, 8],
        "model_sha256": "0" * 64,
        "plugin": None,
        "tensors": [],
        "layers": 12,
        "build_seconds": 1.5,
        "bytes": 4321,
        "created": "2026-01-01T00:00:00+00:00",
        "sha256": "0" * 64,
    }
    return EngineInfo.from_dict({**fields, **changes})
