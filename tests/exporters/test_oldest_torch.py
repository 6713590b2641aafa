"""The oldest release of PyTorch that pyproject.toml allows exports, too.

It cannot be installed beside the newest, so it lies in a folder of its own, and the tests run in a process of its own.
CONTRIBUTING.md says how it is installed: pip's default build for Linux needs several GB, so `make test-all` does not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLDEST = re.search(r'"torch>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
FOLDER = Path(sys.prefix) / f"torch-{OLDEST}"
TESTS = (
    "deploy/export/test_features.py",
    "exporters/graph/test_capture.py",
    "exporters/graph/test_export.py",
    "exporters/passes",
    "exporters/precision",
    "exporters/reference/test_bounds.py",
    "exporters/networks/test_fashion_mnist.py",
)
"""The tests of the export: what torch.export captures, what torch.onnx makes of it, and the bounds of its operators."""

pytestmark = [pytest.mark.slow, pytest.mark.releases]


@pytest.fixture
def environment() -> dict[str, str]:
    """The variables of a process that takes the oldest release."""
    if not (FOLDER / "torch").is_dir():
        pytest.skip(f"torch {OLDEST} is not in {FOLDER.name}; CONTRIBUTING.md says how it is installed")
    folders = (FOLDER, ROOT, ROOT / "exporters", ROOT / "runtime")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}


def test_the_process_has_the_oldest_release(environment):
    code = "import torch; print(torch.__version__)"
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert re.match(rf"{re.escape(OLDEST)}\b", found.stdout)


@pytest.mark.parametrize("tests", TESTS)
def test_networks_are_exported(tests, environment):
    options = ["-q", "-p", "no:cacheprovider", "-m", "not releases"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(ROOT / "tests" / tests)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-4000:]
