"""The application: what the command `tcja-deploy` does, from Python.

    import tcja_deploy

    result = tcja_deploy.export("model.pth", data="test.npz", out="model.bundle")
    print(result)
    assert tcja_deploy.verify("model.bundle").met

`__all__` is the public interface; everything else may change. A name is imported when it is first used: a board without
torch and onnx can use all names but `check` and `export`, and the command line reports an import that fails.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcja_deploy.api.bundles import bench, build, sign, verify
    from tcja_deploy.api.export import check, export
    from tcja_deploy.api.results.bench import BenchResult
    from tcja_deploy.api.results.build import BuildResult
    from tcja_deploy.api.results.check import CheckResult
    from tcja_deploy.api.results.export import ExportResult
    from tcja_deploy.api.results.sign import SignResult
    from tcja_deploy.api.results.verify import VerifyResult
    from tcja_runtime.errors import BadInput, ParityNotMet, TcjaError, Unavailable

__all__ = [
    "BadInput",
    "BenchResult",
    "BuildResult",
    "CheckResult",
    "ExportResult",
    "ParityNotMet",
    "SignResult",
    "TcjaError",
    "Unavailable",
    "VerifyResult",
    "bench",
    "build",
    "check",
    "export",
    "sign",
    "verify",
]

_HOMES = {
    "tcja_deploy.api.bundles": ("bench", "build", "sign", "verify"),
    "tcja_deploy.api.export": ("check", "export"),
    "tcja_deploy.api.results.bench": ("BenchResult",),
    "tcja_deploy.api.results.build": ("BuildResult",),
    "tcja_deploy.api.results.check": ("CheckResult",),
    "tcja_deploy.api.results.export": ("ExportResult",),
    "tcja_deploy.api.results.sign": ("SignResult",),
    "tcja_deploy.api.results.verify": ("VerifyResult",),
    "tcja_runtime.errors": ("BadInput", "ParityNotMet", "TcjaError", "Unavailable"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it.

    Raises:
        AttributeError: the name is not public.
    """
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(types.ModuleType):
    """This package, in which the names of functions stay those of functions.

    The work of `build` is in the module `tcja_deploy.build`, and an import of a module sets its name in the package.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in __all__ or not isinstance(value, types.ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
