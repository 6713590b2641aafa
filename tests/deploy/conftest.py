from __future__ import annotations

from collections.abc import Callable

import pytest

from tcja_deploy.cli import app

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys) -> Run:
    """Run a command: its exit code, stdout and stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = app.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command
