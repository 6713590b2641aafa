"""The application: what the command `tcja-deploy` does, from Python.

    import tcja_deploy

    request = tcja_deploy.ExportRequest(checkpoint=Path("model.pth"), out=Path("model.bundle"))
    manifest, report = tcja_deploy.export(request)
    verified = tcja_deploy.verify(Path("model.bundle"))

`__all__` is the public interface; everything else may change. A name is imported when it is first used: a board without
torch and onnx can use all names but `export` and `ExportRequest`, and the command line reports an import that fails.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcja_deploy.bench.benchmark import BenchOptions, bench
    from tcja_deploy.build import build
    from tcja_deploy.export.pipeline import export
    from tcja_deploy.export.request import ExportRequest
    from tcja_deploy.verify import VerifyOptions, verify
    from tcja_runtime.data.camera import CameraView
    from tcja_runtime.errors import BadInput, ParityNotMet, TcjaError, Unavailable
    from tcja_runtime.tensorrt.build import Batch, BuildOptions

__all__ = [
    "BadInput",
    "Batch",
    "BenchOptions",
    "BuildOptions",
    "CameraView",
    "ExportRequest",
    "ParityNotMet",
    "TcjaError",
    "Unavailable",
    "VerifyOptions",
    "bench",
    "build",
    "export",
    "verify",
]

_HOMES = {
    "tcja_deploy.bench.benchmark": ("BenchOptions", "bench"),
    "tcja_deploy.build": ("build",),
    "tcja_deploy.export.pipeline": ("ExportRequest", "export"),
    "tcja_deploy.verify": ("VerifyOptions", "verify"),
    "tcja_runtime.data.camera": ("CameraView",),
    "tcja_runtime.errors": ("BadInput", "ParityNotMet", "TcjaError", "Unavailable"),
    "tcja_runtime.tensorrt.build": ("Batch", "BuildOptions"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it.

    Raises:
        AttributeError: the name is not public.
    """
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    importlib.import_module(home)
    # An import of the module tcja_deploy.build sets the name `build` here to that module, so the function follows it.
    for loaded in _HOMES.keys() & sys.modules.keys():
        globals().update({name: getattr(sys.modules[loaded], name) for name in _HOMES[loaded]})
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
