from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tcja_deploy.cli import app
from tcja_deploy.export import pipeline, request

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
def streamed(tmp_path_factory) -> Callable[[networks.Small], Path]:
    """Export a small network with --streaming, once; the bundle is to be read alone."""

    @functools.cache
    def export(small: networks.Small) -> Path:
        folder = tmp_path_factory.mktemp(small.name)
        checkpoint, bundle = small.checkpoint(folder / "model.pth"), folder / "original.bundle"
        pipeline.export(
            request.ExportRequest(checkpoint=checkpoint, out=bundle, target="onnx", samples=4, streaming=True)
        )
        return bundle

    return export
