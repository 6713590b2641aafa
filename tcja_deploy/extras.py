"""Packages that only some commands need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tcja_runtime.errors import Unavailable


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
