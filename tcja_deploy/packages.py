"""Versions of this tool and of what it works with, without importing any of it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Iterator

from tcja_runtime.errors import Unavailable

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


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Within, a package that is not installed is named together with the extra that installs it.

    Raises:
        Unavailable: an import failed for that.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise Unavailable(f"this needs the package {error.name}: run \"pip install 'tcja-deploy[{extra}]'\"") from error
