"""The runtime needs numpy alone: each of its modules imports with everything heavy out of reach."""

import pkgutil
import subprocess
import sys

import pytest

import tcja_runtime

MODULES = sorted(m.name for m in pkgutil.walk_packages(tcja_runtime.__path__, "tcja_runtime."))
BLOCKED = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnx_graphsurgeon",
    "tensorrt",
    "tensorrt_rtx",
    "tcja_exporters",
    "tcja_deploy",
)


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_with_numpy_alone(module):
    code = f"import sys\nfor name in {BLOCKED!r}: sys.modules[name] = None\nimport {module}"
    subprocess.run([sys.executable, "-c", code], check=True)
