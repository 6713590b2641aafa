"""The versions of this tool and of the packages that it uses, read without importing them."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator

from tcja_runtime.errors import REMOVED, BadInput, Unavailable, in_a_folder
from tcja_runtime.machine.versions import too_old, version

PACKAGE = "tcja-deploy"
EXTRAS = {"export": ("torch", "onnx", "onnxscript", "onnx-graphsurgeon", "safetensors")}
"""For each extra of tcja-deploy that a command needs as a whole, its packages except ONNX Runtime."""

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


def producer() -> str:
    """Return the name and the version of this tool, such as "tcja-deploy 1.0"."""
    return f"{PACKAGE} {version(PACKAGE) or 'from its source'}"


def tools() -> dict[str, str]:
    """Return the versions of Python and of those packages in `TOOLS` that are installed, by name."""
    found = {name: version(name) for name in TOOLS}
    return {"python": platform.python_version(), **{name: value for name, value in found.items() if value}}


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """A context for imports: if a package is missing, the error names the extra of tcja-deploy that installs it.

    Args:
        extra: the name of the extra, such as "export".

    Raises:
        Unavailable: a package is too old, or an import in the context failed, because it is not installed.
        BadInput: the current folder was removed. Libraries of torch end the process then.
    """
    if not in_a_folder():
        raise BadInput(REMOVED)
    for package in EXTRAS.get(extra, ()):
        if old := too_old(package, version(package)):
            raise Unavailable(f"{old}: run \"pip install -U 'tcja-deploy[{extra}]'\"")
    try:
        yield
    except ModuleNotFoundError as error:
        raise Unavailable(f"this needs the package {error.name}: run \"pip install 'tcja-deploy[{extra}]'\"") from error
