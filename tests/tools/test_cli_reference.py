"""docs/reference/cli.md is what the commands' help says."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
import typer

from tcja_deploy.cli import app

from .. import scripts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return scripts.loaded("cli_reference")


def test_the_page_is_up_to_date(tool):
    assert (ROOT / "docs" / "reference" / "cli.md").read_text() == tool.page()


def test_the_page_names_every_option(tool):
    """What typer parses is the judge, so that what the tool reads is what a user types."""
    page = tool.page()
    commands = typer.main.get_command(app.app).commands
    assert list(commands) == re.findall(r"^## `(\w+)`$", page, re.MULTILINE)
    for command, parsed in commands.items():
        names = {name for param in parsed.params for name in (*param.opts, *param.secondary_opts)}
        shown = {name for name in names if name.startswith("--")}
        section = page.partition(f"## `{command}`\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| (`--.*?) \| [A-Z]", section, re.MULTILINE)
        assert shown == set(re.findall(r"--[a-z]+[a-z0-9-]*", " ".join(rows))), command
