"""The reference of the command line, docs/reference/cli.md, made from the commands' own help.

python tools/cli_reference.py > docs/reference/cli.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tcja_deploy.cli.app import app
from tcja_deploy.cli.help.descriptions import Description, Parameter, described
from tcja_runtime import errors

HEAD = """# The command line

Made by `python tools/cli_reference.py` from the help of the commands: `tcja-deploy COMMAND -h` says the same.

A command prints first what came out and what to do next; `--verbose` prints all details. `--json` prints the result as
JSON on stdout. An error is one line on stderr: what is wrong with which value, and what to do. `NO_COLOR` is obeyed.
`tcja-deploy --install-completion` completes commands and options in the shell.

| exit code | means |
| --- | --- |
"""


def escaped(text: str) -> str:
    """A text in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def row(parameter: Parameter) -> str:
    """An argument or an option of a command as a row: how it is written, and what it does."""
    spelled = ", ".join(f"`{flag}`" for flag in parameter.flags)
    value = escaped(parameter.value) if parameter.flags else f"`{parameter.value}`"
    return f"| {' '.join(filter(None, [spelled, value]))} | {escaped(parameter.text)} |"


def section(command: Description) -> Iterator[str]:
    """The lines of a command."""
    yield from (f"## `{command.name}`", "", f"    {command.usage}", "", command.text, "")
    for group, members in command.groups().items():
        yield from (f"| {group} | |", "| --- | --- |", *map(row, members), "")
    yield from ("Examples:", "", *(f"    {example}" for example in command.examples), "")


def page() -> str:
    """The whole page."""
    lines = [f"| {code} | {meaning} |" for code, meaning in errors.EXIT_CODES.items()]
    commands = [each for each in app.registered_commands if each.callback]
    told = (described(each.name or each.callback.__name__, each.callback) for each in commands)
    sections = "\n".join(line for command in told for line in section(command))
    return HEAD + "\n".join(lines) + "\n\n" + sections.rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
