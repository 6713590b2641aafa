"""The commands of typer with our help: arguments, options in groups and examples, whole at 80 columns."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from tcja_deploy.cli.help.descriptions import Parameter, descriptions
from tcja_deploy.cluster.options import LOCAL, is_address
from tcja_deploy.console import out, plain
from tcja_deploy.texts.table import Hanging, labelled
from tcja_runtime.errors import EXIT_CODES

_WIDTH, _INDENT = 80, 26


class Command(TyperCommand):
    """A command with our help, whose option --ray may have no value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments. What follows --ray is its value only if it is an address of Ray, or meant to be one."""
        words = args[: args.index("--")] if "--" in args else args
        if "--ray" in words:
            after = words.index("--ray") + 1
            given = " ".join(words[after : after + 1])
            if not is_address(given) and not given.startswith("ray://"):
                args = [*args[:after], LOCAL, *args[after:]]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the command."""
        (found,) = descriptions([(ctx.info_name, self)])
        parts: list[RenderableType] = [Text(f"Usage: {found.usage}\n\n{found.text}")]
        for group, members in found.groups().items():
            parts += [Text(f"\n{group}", style="bold"), *(part for each in members for part in _told(each))]
        parts += [Text("\nExamples", style="bold"), *(Hanging("  ", example) for example in found.examples)]
        formatter.write(plain(Group(*parts), _width()))


class Commands(TyperGroup):
    """The commands, with our help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the list of the commands, with their whole summaries."""
        rows = [(f"  {each.name}", each.summary) for each in descriptions(self.commands.items())]
        options = [(f"  {', '.join(each.opts)}", getattr(each, "help", "")) for each in self.get_params(ctx)]
        parts: list[RenderableType] = [Text(f"Usage: tcja-deploy COMMAND [OPTIONS]\n\n{self.help}")]
        for title, told in {"Commands": rows, "Options": options}.items():
            parts += [Text(f"\n{title}", style="bold"), *labelled(told)]
        codes = [(f"  {code}", meaning.replace("`", "")) for code, meaning in EXIT_CODES.items()]
        parts += [Text("\nExit codes", style="bold"), *labelled(codes)]
        parts.append(Text("\n'tcja-deploy COMMAND -h' shows the options and examples of a command."))
        formatter.write(plain(Group(*parts), _width()))


def _told(parameter: Parameter) -> list[RenderableType]:
    label = f"  {parameter.label}"
    if len(label) <= _INDENT - 2:
        return [Hanging(label.ljust(_INDENT), parameter.text)]
    return [Hanging("  ", parameter.label), Hanging(" " * _INDENT, parameter.text)]


def _width() -> int:
    return min(out.width, _WIDTH)
