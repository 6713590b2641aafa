"""The options that several commands have, the functions that read values of options, and the flags in messages.

The modules outside `tcja_deploy.cli` name Python arguments in their messages, in backticks: "`time_form` must be ...".
The command line shows the flag instead: "--time-form must be ...".
"""

from __future__ import annotations

import inspect
import math
import re
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tcja_deploy.console import Progress, err
from tcja_deploy.texts.options import TextOptions
from tcja_runtime.choices import BackendName, LabelRule, Resize
from tcja_runtime.data.camera import CameraView
from tcja_runtime.data.contract import LARGEST
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.data.split_rules import microseconds
from tcja_runtime.errors import BadInput
from tcja_runtime.files import limits
from tcja_runtime.files.reading import read_file
from tcja_runtime.signing.trust import Trust

Taken = TypeVar("Taken")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Print all details, and the traceback of an error.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV on stdout: a line for each window.")]
Top = Annotated[int, typer.Option(min=1, max=1000, metavar="K", help="Name the K likeliest classes.")]
TrustCheckpoint = Annotated[
    bool,
    typer.Option(
        "--trust-checkpoint/--weights-only",
        help="Also load a checkpoint that holds more than weights; code in it is run. Default: load only weights.",
    ),
]
WeightsKey = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="KEY",
        help="The key of the weights in a checkpoint that has several, such as model_ema; inspect lists the keys. Or a "
        "key and the begin of the names in it, such as state_dict.teacher. Default: the likeliest that fit the "
        "network, and no average if there are others.",
    ),
]
NetworkName = Annotated[
    str | None,
    typer.Option(
        help="The name of the network. Default: the network that fits the names and shapes of the checkpoint's weights."
    ),
]
BatchSizes = Annotated[
    str,
    typer.Option(
        metavar="MIN:OPT:MAX",
        help="The smallest, the optimal and the largest batch size of the engine; one number stands for all three.",
    ),
]
BuildTimeout = Annotated[
    int | None,
    typer.Option(
        metavar="SECONDS",
        min=1,
        max=10**6,
        help="The longest that the builder of an engine may take. Default: 7200 for TensorRT, which runs all kernels "
        "that it may choose, and 600 for TensorRT-RTX.",
    ),
]
TrustEngine = Annotated[
    bool,
    typer.Option(
        "--trust-engine",
        help="Also load engines of unknown origin, and engines that the bundle does not list. An engine can run code "
        "on this machine.",
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="The private key that signs: of OpenSSH, or in PEM; or a public key of OpenSSH, whose private key "
        "ssh-agent has.",
    ),
]
RequireSignature = Annotated[
    bool,
    typer.Option(
        "--require-signature",
        help="Take only a bundle that is signed by one of the keys that you trust.",
    ),
]
PublicKeys = Annotated[
    list[Path] | None,
    typer.Option(
        "--public-key",
        metavar="PATH",
        help="The public key of someone whom you trust: of OpenSSH or in PEM, or the PEM certificate of an authority. "
        "A signature by it is then required. Repeat the option for several keys. Default: the keys of "
        "TCJA_PUBLIC_KEYS or of a configuration file.",
    ),
]
Anytime = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Run the first N windows again with only 1 to T of their frames, to find after how many frames "
        "the network predicts its final class. Each window takes T runs. Default: as many real windows as take little "
        "time, 64 at most.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Set a value of the network that the checkpoint does not store, such as T=10 for a network without "
        "attention, or dialect=norse, the code that wrote a NIR graph. Repeat the option for several values.",
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
        help="The distance from the begin of a window to the begin of the next window, in the unit of --window. "
        "Default: the length of --window.",
    ),
]


Crop = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y,WIDTH,HEIGHT",
        help="Take only this part of the picture: X columns from the left, Y rows from the top. Default: as the bundle "
        "says; in an export, the whole picture.",
    ),
]
ResizeMethod = Annotated[
    Resize | None,
    typer.Option(
        "--resize",
        help="Resize the picture, or its part, to the network's frames or images, as training did. sum adds up the "
        "events of pixels that become one (tonic's Downsample), bilinear is torch's interpolate with antialias, and "
        "nearest is torch's interpolate by default. Default: as the bundle says; in an export, no resizing.",
    ),
]
Labels = Annotated[
    LabelRule | None,
    typer.Option(
        "--labels",
        help="How folders and label files tell classes: by the names of the classes; by numbers, so that 10 is class "
        "10 (tonic, snnTorch); or by the order of the names as texts, so that of 0 to 10 the folder 10 is class 2 "
        "(SpikingJelly). Default: as the bundle says; in an export, the rule that fits; a note says which, if several "
        "fit.",
    ),
]
TimeUnit = Annotated[
    str | None,
    typer.Option(
        "--time-unit",
        metavar="UNIT",
        help="The unit of the times in recordings that do not say it (.npy, .npz, HDF5): ns, us, ms or s. Default: us "
        "for whole numbers, which is said; times with fractions need this option.",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        metavar="ORDER",
        help="The order of the columns in recordings that are an array of four columns, such as txyp.",
    ),
]
Topic = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The events to read from a recording that has several: a topic of a ROS bag, or a group of an HDF5 file.",
    ),
]


Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Share the windows among processes with Ray. ADDRESS is that of a cluster of Ray, HOST:PORT, or auto for "
        "the one that runs on this machine. Default without an address: start Ray here, for this command alone.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=10_000,
        help="The number of processes that --ray runs the network in, each with one thread or one GPU. Default: as "
        "many as there are CPUs; or GPUs, if the network runs on these.",
    ),
]


BackendChoice = Annotated[
    BackendName,
    typer.Option(
        "--backend",
        help="The backend that runs the network; auto takes the engine that was built last and fits this machine, or "
        "ONNX Runtime on the CPU if none fits.",
    ),
]


def taking(kind: type[Taken]) -> Callable[[Callable[[Taken], int]], Callable[..., int]]:
    """Return a decorator: the command takes the fields of a record as its arguments and options, and gets the record.

    Args:
        kind: a dataclass. Each field is annotated with an argument or an option of typer.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    parameters = [each.replace(annotation=hints[each.name]) for each in inspect.signature(kind).parameters.values()]

    def decorated(command: Callable[[Taken], int]) -> Callable[..., int]:
        def run(**given: Any) -> int:
            return command(kind(**given))

        run.__name__, run.__doc__, run.__annotations__ = command.__name__, command.__doc__, hints
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorated


def shape(given: str | None) -> tuple[int, ...] | None:
    """Return the value of --shape, such as 10,2,128,128, as a tuple; None if the option is not given.

    Raises:
        BadInput: the value is not a shape, or is too large.
    """
    if given is None:
        return None
    sizes = given.replace("x", ",").split(",")
    if not all(size.strip().isdecimal() for size in sizes):
        raise BadInput(f"--shape {given} is not T,P,H,W, C,H,W, T,F or T,C,L, such as 10,2,128,128")
    if any(len(size.strip()) > 9 for size in sizes):
        raise BadInput(f"--shape {given} is too large; windows have at most {LARGEST:,} values")
    return tuple(map(int, sizes))


def window(length: str | None, hop: str | None) -> Window | None:
    """Return the windows that --window and --hop describe; None if neither is given.

    Raises:
        BadInput: a value is not a length, or --hop is given without --window.
    """
    if length is None and hop is not None:
        raise BadInput(f"--hop {hop} needs --window, which says how long a window is")
    return None if length is None else Window.parse(length, hop)


def duration(argument: str, given: str | None) -> int:
    """Return a time such as 500us or 2ms in microseconds; 0 if it is not given.

    Raises:
        BadInput: the value is not a time.
    """
    found = 0 if given is None else microseconds(given)
    if found is None:
        raise BadInput(f"`{argument}` {given} is not a time, such as 500us or 2ms")
    return found


def view(crop: str | None, resize: Resize | None) -> CameraView:
    """Return what --crop and --resize say that frames are made from.

    Raises:
        BadInput: the value of --crop is not a part of a picture.
    """
    return CameraView.parse(crop, None if resize is None else resize.value)


def trust(trust_engine: bool, require_signature: bool, public_keys: list[Path] | None) -> Trust:
    """Return what --trust-engine, --require-signature and --public-key say."""
    return Trust(trust_engine=trust_engine, require_signature=require_signature, public_keys=tuple(public_keys or ()))


def settings(given: list[str] | None) -> dict[str, str]:
    """Return the values of --set, by name.

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
    """Return the class names of --classes, which is a list of names or the path of a file; None if it is not given.

    Raises:
        BadInput: the file cannot be read.
    """
    if given is None:
        return None
    if "," in given or not given.strip():
        names = given.split(",")
    else:
        try:
            names = read_file(Path(given), limits.SETTINGS).decode("utf-8-sig").splitlines()
        except BadInput as error:
            raise BadInput(f"--classes {error}") from error
        except FileNotFoundError as error:
            raise BadInput(f"--classes {given} is neither a file nor a list of names with commas") from error
        except UnicodeDecodeError as error:
            raise BadInput(f"--classes {given} is not a text file in UTF-8") from error
        except OSError as error:
            raise BadInput(f"--classes {given!r} cannot be read: {error.strerror}") from error
    return tuple(name.strip() for name in names if name.strip())


def speed(given: str | None) -> float | None:
    """Return the number of --speed, which is infinite for "max"; None if the option is not given.

    `tcja_runtime.events.sources.open_source` checks its range.

    Raises:
        BadInput: the value is neither a number nor "max".
    """
    if given is None:
        return None
    try:
        return math.inf if given == "max" else float(given)
    except ValueError as error:
        raise BadInput(f"--speed {given} is neither a number nor max") from error


_ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*(?:=False)?)`")
_FLAGS = {
    "form": "--format",
    "hardware": "--hardware-compatible",
    "level": "--optimization-level",
    "public_keys": "--public-key",
    "lossless=False": "--lossy",
    "settings": "--set",
}
"""The flag of each Python argument. Flags with another name are listed here; `learn_flags` adds the rest."""


def learn_flags(flags: Iterable[str]) -> None:
    """Store flags of commands as the flags of arguments: ``--time-form`` becomes the flag of `time_form`."""
    _FLAGS.update({flag.lstrip("-").replace("-", "_"): flag for flag in flags})


def flagged(text: str) -> str:
    """Return a message with flags in place of Python arguments; other words in backticks do not change.

    Example: ``"`batch` 0 must be at least 1"`` becomes ``"--batch 0 must be at least 1"``.
    """
    return _ARGUMENT.sub(lambda found: _FLAGS.get(found[1], found[0]), text)


def telling(verbose: bool) -> TextOptions:
    """Return how results are told: with all details if --verbose is given, and with flags in place of arguments."""
    return TextOptions(details=verbose, worded=flagged, more="All details: --verbose")


def progress() -> Progress:
    """Return a `Progress` that writes to stderr, with flags in place of Python arguments in its notes."""
    return Progress(err, worded=flagged)
