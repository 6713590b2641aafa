"""The command line: its commands, and its errors. An error is one line on stderr, and an exit code.

`tcja_runtime.errors` defines the exit codes.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.bench import bench
from tcja_deploy.cli.build import build
from tcja_deploy.cli.check import check
from tcja_deploy.cli.doctor import doctor
from tcja_deploy.cli.export import export
from tcja_deploy.cli.fleet.compare import compare
from tcja_deploy.cli.fleet.package import package
from tcja_deploy.cli.fleet.sign import sign
from tcja_deploy.cli.help.commands import Command, Commands
from tcja_deploy.cli.inspect import inspect
from tcja_deploy.cli.options import flagged
from tcja_deploy.cli.run import run_
from tcja_deploy.cli.stream import stream
from tcja_deploy.cli.verify import verify
from tcja_deploy.console import REPLACED, err, out
from tcja_deploy.packages import producer
from tcja_runtime.errors import BAD_USAGE, BUG, INTERRUPTED, user_error
from tcja_runtime.files.text import one_line

_SUMMARY = (
    "Deploy trained spiking networks, such as TCJA-SNNs: ONNX, TensorRT engines, and proof that they fire the same "
    "spikes."
)

app = typer.Typer(
    help=_SUMMARY,
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        out.print(producer())
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself. `_SUMMARY` is its help."""


app.command(cls=Command)(check)
app.command(cls=Command)(export)
app.command(cls=Command)(build)
app.command(cls=Command)(verify)
app.command(cls=Command)(bench)
app.command("run", cls=Command)(run_)
app.command(cls=Command)(stream)
app.command(cls=Command)(inspect)
app.command(cls=Command)(sign)
app.command(cls=Command)(compare)
app.command(cls=Command)(package)
app.command(cls=Command)(doctor)


def _commands() -> dict[str, Any]:
    """Return typer's objects of the commands, by name."""
    found: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    return found


options.learn_flags(
    flag
    for command in _commands().values()
    for parameter in command.params
    for flag in parameter.opts
    if flag.startswith("--")
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code, as a process that does nothing else.

    Args:
        arguments: the arguments of the command line; None takes the arguments of this process.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the caller has it ignored
        signal.signal(signal.SIGINT, _interrupting())
    return run(sys.argv[1:] if arguments is None else arguments)


_CLEARING_SECONDS = 5.0
"""The time in which a second Ctrl-C is not answered, so that what was begun is removed undisturbed."""


def _interrupting() -> Callable[[int, FrameType | None], None]:
    """Return a handler of Ctrl-C: the first one ends the work, further ones of the same moment do nothing."""
    latest = -math.inf

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal latest
        if time.monotonic() - latest > _CLEARING_SECONDS:
            latest = time.monotonic()
            raise KeyboardInterrupt

    return handle


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code. An error is one line on stderr.

    Args:
        arguments: the arguments of the command line, the command first.
    """
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors=REPLACED)  # an ASCII terminal shows other characters as question marks
    try:
        code = app(arguments or ["--help"], prog_name="tcja-deploy", standalone_mode=False)
    except Exception as error:
        if _by_interruption(error):
            return _failed(_INTERRUPTED, INTERRUPTED, arguments)
        known = user_error(error)
        if known is not None:
            return _failed(str(known), known.exit_code, arguments)
        if hasattr(error, "format_message"):  # a usage error of typer; its class is in another module in each version
            return _failed(_usage(error, arguments), BAD_USAGE, arguments)
        bug = f"a bug in {producer()}: {type(error).__name__}: {error}; please report it with the output of --verbose"
        return _failed(" ".join(bug.split()), BUG, arguments)
    if code == INTERRUPTED:  # typer's answer to Ctrl-C
        return _failed(_INTERRUPTED, INTERRUPTED, arguments)
    return int(code or 0)


_INTERRUPTED = "interrupted; nothing was written"


def _by_interruption(error: BaseException | None) -> bool:
    """Whether an error came of Ctrl-C. Native code turns an interruption into an error of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


_WORDS = (
    ("Value error, ", ""),
    (r", unable to parse string as an? \w+", ""),
    ("Input should be", "it must be"),
    ("a valid integer", "a whole number"),
    ("a valid number", "a number"),
    ("greater than or equal to", "at least"),
    ("less than or equal to", "at most"),
)
"""Words of typer, as regular expressions, and the words that are shown in their place."""


def _usage(error: Any, arguments: list[str]) -> str:
    """Return the message for a usage error of typer, with the help of its command."""
    said = error.format_message()
    for typers, ours in _WORDS:
        said = re.sub(typers, ours, said)
    said = re.sub(r"(?<=^Missing argument ')\w+", lambda found: found[0].upper(), said).rstrip(".")
    named = [word for word in arguments[:1] if word in _commands()]
    return f"{said} (see '{' '.join(['tcja-deploy', *named])} --help')"


def _failed(message: str, code: int, arguments: list[str]) -> int:
    if "--verbose" in arguments:
        traceback.print_exc()
    line = one_line(f"error: {flagged(message)}")
    with contextlib.suppress(OSError):  # if stderr cannot be written, the exit code still reports the error
        err.print(line, soft_wrap=True)
    return code
