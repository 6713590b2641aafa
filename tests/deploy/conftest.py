from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tcja_deploy.cli import app
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest

from .. import networks

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys) -> Run:
    """Run a command: its exit code, stdout and stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = app.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture(scope="session")
def counted(shared, data) -> Path:
    """A bundle of fashion_mnist whose plain model returns spike counts, to be read alone."""

    def export(folder: Path) -> None:
        name = "fashion_mnist"
        checkpoint = networks.SMALL[name].checkpoint(folder / "model.pth")
        options = {"data": data[name], "target": "onnx", "time_form": "fused", "spike_counts": "on"}
        pipeline.export(ExportRequest(checkpoint=checkpoint, out=folder / "a.bundle", **options))

    return shared("counted", export) / "a.bundle"
