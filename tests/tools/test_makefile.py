"""The targets of the Makefile: listed, and stopped by the first failure."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()


def make(*arguments: object, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", *map(str, arguments)]
    # The tests may be run by make itself, whose variables would make this one a part of it.
    of_make = ("MAKELEVEL", "MAKEFLAGS", "MFLAGS", "HASHES")
    own = {name: value for name, value in os.environ.items() if name not in of_make}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=own | variables)


@pytest.mark.parametrize("arguments", [[], ["help"]])
def test_the_targets_are_listed_and_nothing_is_done(arguments):
    done = make(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[1] for line in done.stdout.splitlines()] == TARGETS
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


@pytest.mark.slow
def test_a_set_up_that_fails_stops_there_and_says_why_last(tmp_path):
    for name in ("Makefile", "constraints.txt", "requirements.txt", "pyproject.toml", "tools"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PYTHON": sys.executable}
    done = make("demo", folder=tmp_path, **offline)
    assert done.returncode == 2
    *_, why, stopped = done.stderr.splitlines()
    assert why == "error: No matching distribution found for setuptools>=77"
    assert stopped.startswith("make: ***")
    assert "tcja-deploy export" not in done.stdout
    assert not (tmp_path / ".venv" / ".installed").exists()
