"""The real TensorRT 11.4 on a machine without a GPU, as far as it goes: its plugin registry and its Python plugins.

Its bindings are those of the package index. NVIDIA's lean runtime, which can be had without a GPU, stands in for the
whole library and holds the registry; what it lacks are the builder and the parser, which stubs that return nothing
replace. `make setup` downloads both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import toolkits

WHEELS = Path(sys.prefix) / "tensorrt-11"
LACKING = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "initLibNvInferPlugins"),
    *("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion"),
    "getBuilderPluginRegistry",
)
IMPORTS = """
import sys, warnings
warnings.filterwarnings("ignore", "Functionality provided through tensorrt.plugin module is experimental")
import tensorrt_bindings
sys.modules["tensorrt"] = tensorrt_bindings  # which the package tensorrt, an empty shell around it, does
import tensorrt_bindings.plugin
sys.modules["tensorrt.plugin"] = tensorrt_bindings.plugin
import tensorrt as trt
"""


def libraries(folder: Path) -> None:
    """Put what the bindings load into a folder."""
    lean = WHEELS / "tensorrt_lean_libs" / "libnvinfer_lean.so.11"
    if not lean.exists():
        pytest.skip("TensorRT 11's bindings are not installed: run 'make setup'")
    (folder / "libnvinfer.so.11").symlink_to(lean)
    (folder / "stubs.c").write_text("".join(f"void* {name}(void) {{ return 0; }}\n" for name in LACKING))
    for name in ("libnvonnxparser.so.11", "libnvinfer_plugin.so.11"):
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / name, folder / "stubs.c"], check=True)


def run(folder: Path, code: str) -> str:
    """What a program prints that has TensorRT as `trt`, and CUDA 12.6 to compile with."""
    cuda = Path(toolkits.nvrtc("12.6")).parents[3]
    path = os.pathsep.join([*sys.path, str(WHEELS), str(cuda)])
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": path, "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", IMPORTS + code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
