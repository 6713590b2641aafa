"""docs/reference/cli.md is what the commands' help says."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from tcja_deploy.cli import app

from .. import scripts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return scripts.loaded("cli_reference")


def test_the_page_is_up_to_date(tool):
    assert (ROOT / "docs" / "reference" / "cli.md").read_text() == tool.page()


def test_the_page_names_every_option(tool, capsys):
    """Typer's own help is the judge, so that what the tool reads is what a user types."""
    page = tool.page()
    for command in re.findall(r"^## `(\w+)`$", page, re.MULTILINE):
        capsys.readouterr()
        assert app.run([command, "--help"]) == 0
        shown = set(re.findall(r"(?<![\w-])--[a-z]+[a-z0-9-]*", capsys.readouterr().out)) - {"--help"}
        section = page.partition(f"## `{command}`\n")[2].partition("\n## ")[0]
        assert shown == set(re.findall(r"(?<![\w-])--[a-z]+[a-z0-9-]*", section)), command
