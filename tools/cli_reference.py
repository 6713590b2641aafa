"""The reference of the command line, docs/reference/cli.md, made from the commands' own help.

python tools/cli_reference.py > docs/reference/cli.md
"""

from __future__ import annotations

import enum
import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.models import ArgumentInfo, CommandInfo

from tcja_deploy.cli.app import app
from tcja_runtime import errors

HEAD = """# The command line

Made by `python tools/cli_reference.py` from the help of the commands: `tcja-deploy COMMAND --help` says the same.

An error is one line on stderr: what is wrong with which value, and what to do. `--verbose` shows the traceback, too.
`--json` prints the result as JSON on stdout. `NO_COLOR` is obeyed.

| exit code | means |
| --- | --- |
"""

KINDS = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}


def escaped(text: str) -> str:
    """A text in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def alone(hint: Any) -> Any:
    """The type of one value: without None, and of a list its items."""
    kinds = [each for each in typing.get_args(hint) if each is not type(None)]
    return alone(kinds[0]) if kinds else hint


def default_of(value: Any) -> str:
    """The default of a parameter, for its help; empty where there is none to tell."""
    values = value if isinstance(value, list) else [value]
    return (
        ""
        if value in (None, False, inspect.Parameter.empty)
        else ", ".join(str(getattr(v, "value", v)) for v in values)
    )


def row(parameter: inspect.Parameter, hint: Any) -> str:
    """An argument or an option of a command as a row: how it is written, and its help with its default."""
    hint, info = typing.get_args(hint)
    kind = alone(hint)
    if isinstance(info, ArgumentInfo):
        spelled = f"`{info.metavar or parameter.name.upper()}`"
    else:
        # In an Annotated type the first name stands where typer looks for a default.
        named = [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]
        names = named or [f"--{parameter.name.replace('_', '-')}"]
        spelled = ", ".join(f"`{name}`" for decl in names for name in decl.split("/"))
        if kind is not bool:
            choices = "\\|".join(each.value for each in kind) if issubclass(kind, enum.Enum) else KINDS.get(kind, "")
            spelled += f" {info.metavar or choices}"
    told = "" if isinstance(info, ArgumentInfo) else default_of(parameter.default)
    return f"| {spelled} | {escaped(info.help or '')}{f' Default: {told}.' if told else ''} |"


def section(command: CommandInfo) -> Iterator[str]:
    """The lines of a command."""
    if command.callback is None:
        raise ValueError(f"the command {command.name} does nothing")
    title = command.name or command.callback.__name__
    hints = typing.get_type_hints(command.callback, include_extras=True)
    parameters = inspect.signature(command.callback).parameters
    infos = {name: typing.get_args(hints[name])[1] for name in parameters}
    arguments = [info.metavar or name.upper() for name, info in infos.items() if isinstance(info, ArgumentInfo)]
    yield from (f"## `{title}`", "", f"    tcja-deploy {title} {' '.join(arguments)} [OPTIONS]", "")
    yield from (inspect.cleandoc(command.callback.__doc__ or ""), "", "| | |", "| --- | --- |")
    yield from (row(parameter, hints[name]) for name, parameter in parameters.items())
    yield ""


def page() -> str:
    """The whole page."""
    lines = [f"| {code} | {meaning} |" for code, meaning in errors.EXIT_CODES.items()]
    sections = "\n".join(line for command in app.registered_commands for line in section(command))
    return HEAD + "\n".join(lines) + "\n\n" + sections.rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
