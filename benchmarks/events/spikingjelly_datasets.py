"""SpikingJelly's own integration of events, whichever release is installed.

Its data sets import packages that integrating does not need. Where one is missing, an empty stand-in is imported in its
place; the functions are the real ones.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from pathlib import Path
from typing import Any

NEEDLESS = ("h5py", "matplotlib", "requests", "scipy", "torchaudio", "torchvision", "tqdm")


class StandIn(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__ = ()

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what nothing else found and is not needed.

    Args:
        needless: the names of the packages that are not needed.
    """

    def __init__(self, needless: tuple[str, ...]) -> None:
        self._needless = needless

    def find_spec(self, fullname: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self._needless:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def datasets(folder: Path | None = None) -> Any:
    """The module ``spikingjelly.datasets`` of a release.

    Args:
        folder: where it is installed; None for that on the path.
    """
    finder, before = StandIns(NEEDLESS), set(sys.modules)
    sys.meta_path.append(finder)
    sys.path[:0] = [str(folder)] if folder else []
    try:
        return importlib.import_module("spikingjelly.datasets")
    finally:
        sys.meta_path.remove(finder)
        if folder:
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before:  # so that another release can be imported beside it
            if isinstance(sys.modules[name], StandIn) or name.partition(".")[0] == "spikingjelly":
                del sys.modules[name]
