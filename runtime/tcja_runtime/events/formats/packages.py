"""The packages that read some formats: whether they are installed, in a version that works."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tcja_runtime.errors import Unavailable
from tcja_runtime.machine.versions import too_old, version


def require(package: str, path: Path, kind: str) -> None:
    """Check that the package that reads a file is installed.

    Args:
        package: the package.
        path: the file, for messages.
        kind: the kind of file, for messages, such as "HDF5".

    Raises:
        Unavailable: the package is missing or too old.
    """
    if importlib.util.find_spec(package) is None:
        raise Unavailable(f"{path} is {kind}; the package {package}, which reads it, is missing: pip install {package}")
    old = too_old(package, version(package))
    if old:
        raise Unavailable(f"{path} is {kind}; {old}: run 'pip install -U {package}'")
