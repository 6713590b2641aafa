"""The commands for people: their arguments, their options in groups, and examples.

They are made from the functions of the commands alone, so they are the same for every version of typer. The examples
stand in the docstrings of these functions, one in each line below "Examples:".
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from typer.models import ArgumentInfo, OptionInfo

_VALUES = {int: "N", float: "NUMBER", Path: "PATH", str: "TEXT"}

GROUPS = {
    "Network": (
        "--weights --network --set --model --shape --input --layout --output --per-step --classes --trust-checkpoint"
    ),
    "Data": "--data --samples --split --window --hop --crop --resize --labels --time-unit --columns --topic",
    "Source of events": "--format --speed --follow --max-rate --buffer --lossless",
    "Proof": "--judge --anytime --bisect",
    "Models and engines": "--target --batch --precision --keep --calibration --time-form --spike-counts --streaming "
    "--tf32 --optimization-level --workspace --version-compatible --hardware-compatible --plugin "
    "--build-timeout",
    "Origin": "--trust-engine --require-signature --public-key --key --certificate --certificate-chain --sigstore "
    "--identity-token",
    "Running": "--backend --canonical --warm-up --device --top --seconds --windows --ray --workers",
    "Server": "--name --instances --max-batch --delay --new-version --cameras --idle --engine",
    "Output": "--out --report --picture --view --csv --json --verbose",
}
"""The groups of options in the order of the help, and the first flag of each option in them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """An argument or an option of a command.

    Attributes:
        flags: its flags; empty for an argument. The flags of a switch that is on or off are in one text, such as
            "--lossless / --lossy".
        value: what stands for its value, such as "PATH" or "onnx|tensorrt"; empty for a switch.
        text: what it does, and its default.
        group: the group of an option; empty for an argument.
    """

    flags: tuple[str, ...]
    value: str
    text: str
    group: str

    @property
    def label(self) -> str:
        """How it is written: "--data PATH", "CHECKPOINT"."""
        return " ".join(filter(None, [", ".join(self.flags), self.value]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """A command for people.

    Attributes:
        name: its name.
        summary: what it does, in a sentence or two.
        text: what it does; the summary is its begin.
        examples: command lines.
        parameters: its arguments and options, in their order.
    """

    name: str
    summary: str
    text: str
    examples: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    @property
    def usage(self) -> str:
        """How it is called."""
        arguments = [each.value for each in self.parameters if not each.flags]
        return " ".join(["tcja-deploy", self.name, *arguments, "[OPTIONS]"])

    def groups(self) -> dict[str, list[Parameter]]:
        """Return its arguments, and its options by group, in the order of `GROUPS`."""
        found = {group: [each for each in self.parameters if each.group == group] for group in ("", *GROUPS)}
        return {group or "Arguments": members for group, members in found.items() if members}


def described(name: str, command: Callable[..., Any]) -> Description:
    """Return the description of a command.

    Args:
        name: its name.
        command: its function. Each parameter is annotated with an argument or an option of typer.
    """
    text, _, examples = inspect.cleandoc(command.__doc__ or "").partition("Examples:")
    hints = typing.get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters.values()
    return Description(
        name=name,
        summary=" ".join(text.partition("\n\n")[0].split()),
        text="\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n")),
        examples=tuple(line.strip() for line in examples.splitlines() if line.strip()),
        parameters=tuple(_parameter(each, hints[each.name]) for each in parameters),
    )


def _parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    hint, info = typing.get_args(hint)
    if isinstance(info, ArgumentInfo):
        return Parameter(flags=(), value=info.metavar or parameter.name.upper(), text=info.help or "", group="")
    kind = _alone(hint)
    flags = tuple(" / ".join(named.split("/")) for named in _named(parameter, info))
    choices = "|".join(each.value for each in kind) if issubclass(kind, enum.Enum) else _VALUES.get(kind, "")
    default = _default(parameter.default)
    return Parameter(
        flags=flags,
        value="" if kind is bool else info.metavar or choices,
        text=(info.help or "") + (f" Default: {default}." if default else ""),
        group=next((group for group, members in GROUPS.items() if flags[0].split()[0] in members.split()), ""),
    )


def _named(parameter: inspect.Parameter, info: OptionInfo) -> list[str]:
    # In an Annotated type the first name stands where typer looks for a default.
    named = [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]
    return named or [f"--{parameter.name.replace('_', '-')}"]


def _alone(hint: Any) -> Any:
    """Return the type of one value: without None, and of a list its items."""
    kinds = [each for each in typing.get_args(hint) if each is not type(None)]
    return _alone(kinds[0]) if kinds else hint


def _default(value: Any) -> str:
    """Return the default of a parameter as text; empty if there is none to tell."""
    values = value if isinstance(value, list) else [value]
    if value in (None, False, inspect.Parameter.empty):
        return ""
    return ", ".join("on" if each is True else str(getattr(each, "value", each)) for each in values)


def descriptions(commands: Iterable[tuple[str, Any]]) -> list[Description]:
    """Return the descriptions of commands, from their names and typer's objects."""
    return [described(name, inspect.unwrap(command.callback)) for name, command in commands]
