from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest
import typer

from tcja_deploy.cli import app
from tcja_deploy.cli.help.descriptions import GROUPS, descriptions
from tcja_deploy.console import out

COMMANDS = typer.main.get_command(app.app).commands
DESCRIBED = {each.name: each for each in descriptions(COMMANDS.items())}


@pytest.fixture(params=[80, None])
def width(request, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(out, "_width", request.param)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_is_whole(run, width, name):
    code, text, said = run(name, "-h")
    assert (code, said) == (0, "")
    assert run(name, "--help") == (0, text, "")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"Usage: {DESCRIBED[name].usage}"
    shown = set(re.findall(r"(?<![\\w-])--[a-z][a-z0-9-]*", text))
    parsed = {flag for param in COMMANDS[name].params for flag in (*param.opts, *param.secondary_opts)}
    assert {flag for flag in parsed if flag.startswith("--")} <= shown
    words = " ".join(text.split())
    for parameter in DESCRIBED[name].parameters:
        assert " ".join(parameter.text.split()) in words
    assert [line.strip() for line in lines[lines.index("Examples") + 1 :]] == list(DESCRIBED[name].examples)
    assert not re.search(r"<\\w+|\\w+\\[\\w+\\]|None", text)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_one_group(name):
    members = [flag for group in GROUPS.values() for flag in group.split()]
    assert len(members) == len(set(members))
    for parameter in DESCRIBED[name].parameters:
        assert bool(parameter.group) == bool(parameter.flags), parameter
    assert sum(map(len, DESCRIBED[name].groups().values())) == len(DESCRIBED[name].parameters)


def test_no_flag_of_a_group_is_out_of_date():
    members = {flag for group in GROUPS.values() for flag in group.split()}
    assert members == {
        each.flags[0].split()[0] for command in DESCRIBED.values() for each in command.parameters if each.flags
    }


@pytest.mark.parametrize(
    ("name", "example"), [(name, example) for name, each in DESCRIBED.items() for example in each.examples]
)
def test_an_example_is_a_command_line_that_is_parsed(name, example):
    words = shlex.split(example.partition("|")[2] or example)
    words = words[: words.index(">")] if ">" in words else words
    assert words[:2] == ["tcja-deploy", name]
    context = COMMANDS[name].make_context(name, words[2:])
    assert not context.args


def test_the_summaries_of_the_commands_are_whole(run, width):
    code, text, _ = run("-h")
    assert code == 0
    assert run() == (0, text, "")
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    for each in DESCRIBED.values():
        assert f" {each.name} {each.summary} " in words
    assert "..." not in text
    assert "--install-completion" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export"], "Missing argument 'CHECKPOINT' (see 'tcja-deploy export --help')"),
        (["run", "a.bundle"], "Missing argument 'FILE...' (see 'tcja-deploy run --help')"),
        (["export", "--keep"], "Option '--keep' requires an argument (see 'tcja-deploy export --help')"),
        (["verify", "a", "--backend", "x"], "'onnxruntime-tensorrt' (see 'tcja-deploy verify --help')"),
        (["deploy"], "No such command 'deploy' (see 'tcja-deploy --help')"),
        (["--colour"], "No such option: --colour (see 'tcja-deploy --help')"),
    ],
)
def test_an_error_of_usage_points_to_the_help_of_its_command(run, arguments, message):
    code, text, said = run(*arguments)
    assert (code, text) == (2, "")
    assert said.endswith(f"{message}\n")
    assert "Value error" not in said


def test_the_shell_completes_commands_and_options():
    def completed(line: str) -> list[str]:
        environment = {**os.environ, "_TCJA_DEPLOY_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "2"}
        environment["COMP_CWORD"] = str(len(line.split(" ")) - 1)
        program = "import sys; from tcja_deploy.cli.app import main; main([])"
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    assert completed("tcja-deploy ver") == ["verify"]
    assert completed("tcja-deploy bench --warm") == ["--warm-up"]
