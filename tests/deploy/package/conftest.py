from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def _built() -> dict[str, Path]:
    return {}


@pytest.fixture
def built(run, simulated, counted, _built, tmp_path, tmp_path_factory) -> Path:
    """A bundle whose network has two outputs, with an engine of a simulated TensorRT, to do with as one likes."""
    if not _built:
        made = Path(shutil.copytree(counted, tmp_path_factory.mktemp("built") / "a.bundle"))
        code, _, err = run("build", made, "--target", "tensorrt", "--batch", "1:2:4")
        assert code == 0, err
        _built["a"] = made
    return Path(shutil.copytree(_built["a"], tmp_path / "a.bundle"))
