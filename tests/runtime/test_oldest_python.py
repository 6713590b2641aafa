"""The oldest Python and packages that are supported open a bundle and run it, as a board with JetPack 6 does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tcja_runtime.bundle.bundle import PLAIN_MODEL

from .. import networks
from ..streams import atis, drawn

ROOT = Path(__file__).parents[2]
PACKAGES = ("numpy==1.24.4", "onnxruntime==1.21.1")
PROGRAM = """
import json, math
import numpy as np
import tcja_runtime as tcja

with tcja.load("a.bundle") as net:
    windows = np.load("windows.npy")
    scores = net(windows).scores
    stepwise = net.stepwise()
    steps = [stepwise.push(frame) for frame in windows[0]]
    found = net.classify("a.bin", "200ms")
    streamed = [each.scores.tolist() for each in net.stream("a.bin", "200ms", speed=math.inf)]
print(json.dumps([scores.tolist(), steps[-1].scores.tolist(), found.scores.tolist(), streamed]))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """Python 3.10 with the oldest packages."""
    found = shutil.which("python3.10")
    environment = {**os.environ, "PYENV_VERSION": "3.10"}  # if python3.10 is pyenv's, it needs this
    if found is None or subprocess.run([found, "-c", ""], capture_output=True, env=environment).returncode:
        pytest.skip("there is no python3.10")
    folder = tmp_path_factory.mktemp("python")
    subprocess.run([found, "-m", "venv", folder], check=True, env=environment)
    subprocess.run([folder / "bin" / "pip", "-q", "install", *PACKAGES], check=True, capture_output=True)
    return folder / "bin" / "python"


@pytest.mark.releases
def test_a_bundle_runs(python, streamed, tmp_path):
    bundle = streamed(networks.SMALL["dvs128"])
    (tmp_path / "a.bundle").symlink_to(bundle)
    (tmp_path / "a.bin").write_bytes(atis(drawn(3000, seconds=0.6)))
    windows = networks.SMALL["dvs128"].inputs(2, seed=3).numpy()
    np.save(tmp_path / "windows.npy", windows)
    done = subprocess.run(
        [python, "-W", "error", "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "runtime")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    scores, last, classified, of_stream = json.loads(done.stdout)
    (expected,) = onnxruntime.InferenceSession(str(bundle / PLAIN_MODEL)).run(None, {"frames": windows})
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(last, expected[0], rtol=0, atol=1e-6)
    assert len(classified) == len(of_stream) == 3
