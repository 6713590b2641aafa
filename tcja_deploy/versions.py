"""Versions of this tool and of what it works with, without importing any of it."""

from __future__ import annotations

import importlib.metadata
import platform

PACKAGE = "tcja-deploy"
TOOLS = (
    "numpy",
    "torch",
    "onnx",
    "onnxscript",
    "onnx-graphsurgeon",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
)


def version(distribution: str) -> str | None:
    """Version of an installed distribution, None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def producer() -> str:
    """This tool and its version."""
    return f"{PACKAGE} {version(PACKAGE) or 'from its source'}"


def tools() -> dict[str, str]:
    """Version by name: Python, and those of TOOLS that are installed."""
    found = {name: version(name) for name in TOOLS}
    return {"python": platform.python_version(), **{name: value for name, value in found.items() if value}}
