"""The real TensorRT on a machine without a GPU, as far as it goes: its plugin registry and its Python plugins.

The bindings are those of the package index. NVIDIA's lean runtime, which can be had without a GPU, stands in for the
whole library and holds the registry; what it lacks are the builder and the parser, which stubs that return nothing
replace. `make test-all` downloads both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import toolkits

LEAN = {"11.4": "11.4", "10.16": "10.16", "10.13": "10.16", "10.9": "10.16", "10.3": "10.16"}
"""Bindings, among them JetPack's (10.3, 10.13, 10.16), and the lean runtime for each: the index has no older ones."""
NUMPY_1 = ("10.13", "10.9", "10.3")
"""Bindings that read a plugin's fields with NumPy 1 alone."""
AHEAD_OF_TIME = ("11.4", "10.16", "10.13", "10.9")
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
try:
    import tensorrt_bindings.plugin
    sys.modules["tensorrt.plugin"] = tensorrt_bindings.plugin
except ModuleNotFoundError:  # before 10.6
    pass
import tensorrt as trt
"""


def libraries(version: str, folder: Path) -> None:
    """Put what the bindings of a version load into a folder, and a CUDA driver that needs no GPU."""
    major = version.partition(".")[0]
    lean = _wheels(LEAN[version]) / "tensorrt_lean_libs" / f"libnvinfer_lean.so.{major}"
    if not (lean.exists() and _wheels(version).exists()):
        pytest.skip(f"the bindings of TensorRT {version} are not installed: make test-all installs them")
    (folder / f"libnvinfer.so.{major}").symlink_to(lean)
    (folder / "stubs.c").write_text("".join(f"void* {name}(void) {{ return 0; }}\n" for name in LACKING))
    driver = Path(__file__).with_name("driver.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "libcuda.so.1", driver, "-ldl"], check=True)
    for name in ("libnvonnxparser.so", "libnvinfer_plugin.so"):
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / f"{name}.{major}", folder / "stubs.c"], check=True)


def run(version: str, folder: Path, code: str, numpy_1: bool) -> str:
    """What a program prints that has TensorRT as `trt`, and CUDA 12.6 to compile with."""
    cuda, numpy = Path(toolkits.nvrtc("12.6")).parents[3], Path(sys.prefix) / "numpy-1"
    if numpy_1 and not numpy.exists():
        pytest.skip("NumPy 1 is not installed, which Python 3.13 has not: make test-all installs them")
    path = os.pathsep.join([*[str(numpy)] * numpy_1, *sys.path, str(_wheels(version)), str(cuda)])
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run([sys.executable, "-c", IMPORTS + code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _wheels(version: str) -> Path:
    return Path(sys.prefix) / f"tensorrt-{version}"
