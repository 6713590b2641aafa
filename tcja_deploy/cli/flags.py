"""Messages with the flags of the command line in place of Python arguments.

Functions below the command line name an argument in backticks: "`time_form` must be ...". A user of the command line
knows it as a flag: "--time-form must be ...".
"""

from __future__ import annotations

import functools
import re

import typer

from tcja_deploy.console import Progress, err

_ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*(?:=False)?)`")
_OTHERS = {"settings": "--set", "form": "--format", "lossless=False": "--lossy"}
"""The flags of arguments whose flag has another name."""


@functools.cache
def _flags(app: typer.Typer) -> dict[str, str]:
    """The flag of each argument of all commands, by the argument's name."""
    commands = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]  # it is a group
    parameters = [parameter for command in commands for parameter in command.params]
    flags = {parameter.name.rstrip("_"): max(parameter.opts, key=len) for parameter in parameters}
    return {name: flag for name, flag in flags.items() if flag.startswith("--")} | _OTHERS


def flagged(text: str) -> str:
    """A message in which each argument in backticks is replaced by its flag; other words in backticks stay."""
    from tcja_deploy.cli.app import app

    flags = _flags(app)
    return _ARGUMENT.sub(lambda found: flags.get(found[1], found[0]), text)


def progress() -> Progress:
    """Progress on stderr, with flags in place of arguments."""
    return Progress(err, worded=flagged)
