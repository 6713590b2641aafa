"""Messages name arguments below the command line, and flags on it."""

import re
from pathlib import Path

import pytest

import tcja_deploy
import tcja_exporters
import tcja_runtime
from tcja_deploy.cli.options import flagged
from tcja_runtime.errors import BadInput
from tcja_runtime.tensorrt.build import Batch


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`batch` 0 must be at least 1", "--batch 0 must be at least 1"),
        ("export with `time_form` scan", "export with --time-form scan"),
        ("`settings` T=4, `level` 9", "--set T=4, --optimization-level 9"),
        ("`lossless=False` needs `window`", "--lossy needs --window"),
        ("`trust_checkpoint` or `trust_engine`", "--trust-checkpoint or --trust-engine"),
        ("`tegrastats` is no argument", "`tegrastats` is no argument"),
    ],
)
def test_arguments_become_flags(message, shown):
    assert flagged(message) == shown


def test_the_command_line_shows_what_a_function_raises(run, tmp_path):
    with pytest.raises(BadInput, match=re.escape("`batch` 3:2:1: 1 <= MIN <= OPT <= MAX <= 1024 must hold")):
        Batch.parse("3:2:1")
    code, _, err = run("build", tmp_path, "--batch", "3:2:1")
    assert (code, err) == (2, "error: --batch 3:2:1: 1 <= MIN <= OPT <= MAX <= 1024 must hold\n")


def test_only_the_command_line_says_flags():
    """Commands are whole in quotes: 'tcja-deploy build BUNDLE --target tensorrt'."""
    flags = {f"--{name.replace('_', '-')}" for name in re.findall(r"`(\w+)`", Path(__file__).read_text())}
    flags |= {"--set", "--lossy", "--window", "--data", "--samples", "--split", "--network", "--model", "--layout"}
    for package in (tcja_runtime, tcja_exporters, tcja_deploy):
        root = Path(package.__path__[0])
        for file in root.rglob("*.py"):
            if root.name == "tcja_deploy" and file.relative_to(root).parts[0] == "cli":
                continue
            for line in file.read_text().splitlines():
                if "tcja-deploy " not in line:
                    assert not flags & set(re.findall(r"--[a-z][a-z-]*", line)), (file, line)
