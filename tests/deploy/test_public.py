"""The public interface of the application is what `__all__` says, and works without torch and onnx but for `export`."""

from __future__ import annotations

import subprocess
import sys

import tcja_deploy

NAMES = [
    *("BadInput", "BenchOptions", "BuildOptions", "ExportRequest", "ParityNotMet", "TcjaError", "Unavailable"),
    *("VerifyOptions", "bench", "build", "export", "verify"),
]
LEAN = "import sys\nfor name in ('torch', 'onnx'): sys.modules[name] = None\nimport tcja_deploy\n"


def python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_names():
    assert tcja_deploy.__all__ == sorted(NAMES) == dir(tcja_deploy)


def test_functions_are_functions_however_they_are_reached():
    """Submodules have the names of functions: importing one must not hide the function."""
    code = "import tcja_deploy\nfor name in {order}: assert callable(getattr(tcja_deploy, name)), name\n"
    functions = ["export", "build", "verify", "bench"]
    for order in (functions, functions[::-1]):
        python(code.format(order=order) + "assert all(callable(getattr(tcja_deploy, n)) for n in tcja_deploy.__all__)")


def test_a_board_verifies_with_numpy_and_onnx_runtime(bundle):
    code = LEAN + "from pathlib import Path\nprint(tcja_deploy.verify(Path(sys.argv[1])).report.met)"
    assert python(code, bundle) == "True\n"
