"""The options that commands share, the functions that read their values, and the flags that messages name.

Below the command line, messages name arguments as Python has them, in backticks: "`time_form` must be ...". A user of
the command line knows the flag: "--time-form must be ...".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.console import Progress, err
from tcja_runtime.choices import BackendName
from tcja_runtime.data.contract import LARGEST
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV on stdout: a line for each window.")]
Top = Annotated[int, typer.Option(min=1, max=1000, metavar="K", help="Name the K likeliest classes.")]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-checkpoint/--weights-only",
        help="Load a checkpoint that holds more than weights, and run any code in it. Default: weights only.",
    ),
]
NetworkName = Annotated[
    str | None,
    typer.Option(help="The checkpoint's network. Default: found from the checkpoint's keys and shapes."),
]
BatchSizes = Annotated[
    str, typer.Option(metavar="MIN:OPT:MAX", help="Batch sizes that the engine takes; one number stands for all three.")
]
TrustEngine = Annotated[
    bool,
    typer.Option("--trust-engine", help="Load engines that the manifest does not know. An engine is code that runs."),
]
Anytime = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        max=1_000_000,
        help="Run the first N windows with 1 to T of their frames, to tell how early a prediction can be had; a window "
        "takes T runs. Default: as many real ones as take little time, 64 at most.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A value of the network that the checkpoint does not store, such as T=10 for a network without attention; "
        "repeatable.",
    ),
]


WindowLength = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="LENGTH",
        help="The length of the windows that recordings are cut into: a time, such as 500ms or 1s, or a number of "
        "events, such as 20000events. Default: a recording, or a labelled segment of it, is one window.",
    ),
]
Hop = Annotated[
    str | None,
    typer.Option(
        metavar="LENGTH",
        help="The distance from the begin of a window to the begin of the next, in the same unit. Default: the length.",
    ),
]


BackendChoice = Annotated[
    BackendName,
    typer.Option(
        "--backend",
        help="The backend: auto takes the last built engine that fits this machine, else the CPU.",
    ),
]


def shape(given: str | None) -> tuple[int, ...] | None:
    """The value of --shape, such as 10,2,128,128, as a tuple; None without it.

    Raises:
        BadInput: the value is no shape, or too large.
    """
    if given is None:
        return None
    sizes = given.replace("x", ",").split(",")
    if not all(size.strip().isdecimal() for size in sizes):
        raise BadInput(f"--shape {given} is not T,P,H,W or C,H,W, such as 10,2,128,128")
    if any(len(size.strip()) > 9 for size in sizes):
        raise BadInput(f"--shape {given} is too large; windows have at most {LARGEST:,} values")
    return tuple(map(int, sizes))


def window(length: str | None, hop: str | None) -> Window | None:
    """The values of --window and --hop; None without them.

    Raises:
        BadInput: a value is no length, or --hop stands alone.
    """
    if length is None and hop is not None:
        raise BadInput(f"--hop {hop} says where the next window begins; say with --window how long windows are")
    return None if length is None else Window.parse(length, hop)


def settings(given: list[str] | None) -> dict[str, str]:
    """The values of --set, by name.

    Raises:
        BadInput: a value is not NAME=VALUE, or a name has two values.
    """
    settings: dict[str, str] = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise BadInput(f"--set {pair} is not NAME=VALUE, such as T=10")
        if settings.setdefault(name, value) != value:
            raise BadInput(f"--set {name} is given twice, as {settings[name]} and as {value}")
    return settings


def class_names(given: str | None) -> tuple[str, ...] | None:
    """The class names in the value of --classes, or in the file that it names; None without it.

    Raises:
        BadInput: the file cannot be read, there is no name, or a name stands twice.
    """
    if given is None:
        return None
    if "," in given or not given.strip():
        names = given.split(",")
    else:
        try:
            names = Path(given).read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError as error:
            raise BadInput(f"--classes {given} is neither a file nor a comma list of names") from error
        except UnicodeDecodeError as error:
            raise BadInput(f"--classes {given} is not a text file in UTF-8") from error
        except OSError as error:
            raise BadInput(f"--classes {given!r} cannot be read: {error.strerror}") from error
    classes = [name.strip() for name in names if name.strip()]
    if not classes:
        raise BadInput(f"--classes {given!r} names no classes")
    for name in classes:
        if classes.count(name) > 1:
            raise BadInput(f"--classes names '{name}' twice; each class needs a name of its own")
    return tuple(classes)


def speed(given: str | None) -> float | None:
    """The value of --speed, infinite for "max"; None without it.

    Raises:
        BadInput: the value is no number above 0.
    """
    if given is None:
        return None
    try:
        speed = math.inf if given == "max" else float(given)
    except ValueError:
        speed = math.nan
    if not speed > 0 or (given != "max" and math.isinf(speed)):
        raise BadInput(f"--speed {given} is neither a number above 0 nor max")
    return speed


_ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*(?:=False)?)`")
_FLAGS = {
    "form": "--format",
    "hardware": "--hardware-compatible",
    "level": "--optimization-level",
    "lossless=False": "--lossy",
    "settings": "--set",
}
"""The flag of each argument: at first those with another name, then those of all commands (`learn_flags`)."""


def learn_flags(flags: Iterable[str]) -> None:
    """Take flags of commands, such as ``--time-form``, for the arguments of the same name, such as `time_form`."""
    _FLAGS.update({flag.lstrip("-").replace("-", "_"): flag for flag in flags})


def flagged(text: str) -> str:
    """The message with flags in place of arguments; other words in backticks stay.

    Example: ``"`batch` 0 must be at least 1"`` becomes ``"--batch 0 must be at least 1"``.
    """
    return _ARGUMENT.sub(lambda found: _FLAGS.get(found[1], found[0]), text)


def progress() -> Progress:
    """Progress on stderr, whose notes name flags."""
    return Progress(err, worded=flagged)
