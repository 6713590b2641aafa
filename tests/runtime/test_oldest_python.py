"""Python 3.10, which JetPack 6 has, with the packages that it can have there.

ONNX Runtime 1.23.2 and NumPy 2.2.6 are the last releases for Python 3.10.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from torch import Tensor, nn

from tcja_exporters.graph.export import with_time_forms
from tcja_exporters.graph.exported import save
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.choices import PRECISIONS, TIME_FORMS
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec

from .. import networks
from ..exporters.graph.exporting import saved
from ..exporters.precision.lowering import layers_of, lower
from ..streams import atis, drawn

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "oldest": ("numpy==1.24.4", "onnxruntime==1.21.1"),
    "newest": ("numpy==2.2.6", "onnxruntime==1.23.2"),
    "files": ("numpy==1.24.4", "onnxruntime==1.16.3"),  # too old for tcja-deploy
}
"""By environment, its packages."""
BOTH = pytest.mark.parametrize("environment", ["oldest", "newest"])
MODULES = (
    *("bundle/statistics/test_inputs.py", "data/test_camera.py", "data/test_contract.py"),
    *("events/test_cameras.py", "events/test_round_trips.py", "evidence", "files/test_journal.py", "machine"),
    *("test_errors.py", "test_lean.py", "test_neuron.py", "test_predictions.py", "test_public.py", "test_records.py"),
)
"""The tests of the device half that need neither torch nor onnx, without the slowest."""
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


RUNS_FILES = """
import sys
import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.disable_quant_qdq", "1")  # else 1.21 computes int8 inexactly
for folder in sys.argv[1:]:
    windows = np.load(f"{folder}/windows.npy")
    for file in ("model.onnx", "model.plain.onnx"):
        session = onnxruntime.InferenceSession(f"{folder}/{file}", options, providers=["CPUExecutionProvider"])
        np.save(f"{folder}/{file}.npy", session.run(None, {session.get_inputs()[0].name: windows})[0])
"""


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory) -> Path:
    """Python 3.10 with pytest."""
    found = shutil.which("python3.10")
    environment = {**os.environ, "PYENV_VERSION": "3.10"}  # if python3.10 is pyenv's, it needs this
    if found is None or subprocess.run([found, "-c", ""], capture_output=True, env=environment).returncode:
        pytest.skip("there is no python3.10")
    folder = tmp_path_factory.mktemp("python")
    subprocess.run([found, "-m", "venv", folder], check=True, env=environment)
    tool = f"pytest=={importlib.metadata.version('pytest')}"
    subprocess.run([folder / "bin" / "pip", "-q", "install", tool], check=True, capture_output=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def packages(interpreter, tmp_path_factory) -> Mapping[str, Path]:
    """By environment, the folder in which its packages are installed."""
    folder = tmp_path_factory.mktemp("packages")
    command = [interpreter, "-m", "pip", "-q", "install", "--no-deps", "--no-compile", "--target"]
    for name, wanted in PACKAGES.items():
        subprocess.run([*command, folder / name, *wanted], check=True, capture_output=True)
    return {name: folder / name for name in PACKAGES}


@pytest.fixture
def run(interpreter, packages):
    """Runs Python 3.10 in an environment with the device half, in a folder."""

    def python(environment: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        paths = (packages[environment], ROOT / "runtime", ROOT)
        return subprocess.run(
            [interpreter, "-W", "error", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
            capture_output=True,
            text=True,
        )

    return python


@pytest.mark.releases
def test_the_device_half_passes_its_tests(run):
    """With the oldest packages; the newest ones are nearer to those of all other tests, and run a bundle below."""
    files = [ROOT / "tests" / "runtime" / name for name in MODULES]
    # Without the fixtures of all tests, which import torch.
    done = run("oldest", ROOT, "-m", "pytest", "--noconftest", "-q", "-p", "no:cacheprovider", *files)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 500


@BOTH
@pytest.mark.releases
def test_a_bundle_runs(run, environment, streamed, tmp_path):
    bundle = streamed(networks.SMALL["dvs128"])
    (tmp_path / "a.bundle").symlink_to(bundle)
    (tmp_path / "a.bin").write_bytes(atis(drawn(3000, seconds=0.6)))
    windows = networks.SMALL["dvs128"].inputs(2, seed=3).numpy()
    np.save(tmp_path / "windows.npy", windows)
    done = run(environment, tmp_path, "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    scores, last, classified, of_stream = json.loads(done.stdout)
    (expected,) = onnxruntime.InferenceSession(str(bundle / PLAIN_MODEL)).run(None, {"frames": windows})
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(last, expected[0], rtol=0, atol=1e-6)
    assert len(classified) == len(of_stream) == 3


class TwoKinds(nn.Module):
    """Neurons that need two functions: [N, T, ...] in, [N, T, ...] out."""

    def __init__(self) -> None:
        super().__init__()
        kinds = NeuronSpec.linear(decay=0.5, strict=True), NeuronSpec.linear(decay=0.9, strict=False, reset="soft")
        self.hard, self.soft = map(SpikingNeuron, kinds)

    def forward(self, x: Tensor) -> Tensor:
        return self.soft(self.hard(x.transpose(0, 1)) * 1.5).transpose(0, 1)


@pytest.fixture(scope="module")
def models(exports, tmp_path_factory) -> list[Path]:
    """Folders of models and windows: every precision in every time form, and neurons of two kinds."""
    exported, _ = exports["dvs128"]
    folder, made = tmp_path_factory.mktemp("models"), []
    for precision in PRECISIONS:
        low = exported if precision == "fp32" else lower("dvs128", exported, precision).exported
        for form in TIME_FORMS:
            made.append(folder / f"{precision}-{form}")
            made[-1].mkdir()
            save(with_time_forms(low, {layer.name: form for layer in layers_of("dvs128")}), made[-1])
            np.save(made[-1] / "windows.npy", networks.SMALL["dvs128"].inputs(4, seed=3).numpy())
    made.append(folder / "two-kinds")
    made[-1].mkdir()
    saved(made[-1], TwoKinds(), InputContract.frames(6, 4, 4))
    np.save(made[-1] / "windows.npy", np.random.default_rng(0).random((4, 6, 2, 4, 4), np.float32) * 2)
    return made


@pytest.mark.releases
@pytest.mark.parametrize("environment", PACKAGES)
def test_the_files_run_as_here(run, environment, models):
    """ONNX Runtime 1.16 reads models up to IR version 9. Up to 1.23 at least, it knows no overloads of functions."""
    done = run(environment, models[0].parent, "-c", RUNS_FILES, *(folder.name for folder in models))
    assert done.returncode == 0, done.stderr
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    for folder in models:
        for file in (MODEL, PLAIN_MODEL):
            session = onnxruntime.InferenceSession(str(folder / file), options)
            (expected,) = session.run(None, {session.get_inputs()[0].name: np.load(folder / "windows.npy")})
            np.testing.assert_allclose(np.load(f"{folder / file}.npy"), expected, rtol=0, atol=1e-6)
            assert np.ptp(expected) > 0.1
