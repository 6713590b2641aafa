"""Finds the line of a user's code at which an error or an operation arose."""

from __future__ import annotations

import re
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

from tcja_runtime.errors import first_line

_LIBRARIES = ("torch", "numpy", "onnx", "onnxscript", "spikingjelly", "snntorch", "norse")
_OURS = ("tcja_exporters", "tcja_deploy", "tcja_runtime")
_INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")
_LONG = 160
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')

Frame = tuple[str, int]
"""The path of a file, and the number of a line in it."""


def where(error: BaseException) -> str:
    """Return the last line of the user's code in the traceback of an error, such as " (nets.py, line 12)".

    It is empty if no user's code was running, or if the error is a SyntaxError, whose text names its line.
    """
    if isinstance(error, SyntaxError):
        return ""
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return _shown(frames) or (where(cause) if cause else "")


def where_now() -> str:
    """Return the last line of the user's code that is running now, such as " (nets.py, line 12)"; empty without one."""
    return _shown([(frame.filename, frame.lineno or 0) for frame in traceback.extract_stack()])


def where_traced(stack: str) -> str:
    """Return the last line of the user's code in a stack as text, such as " (nets.py, line 12)"; empty without one.

    Args:
        stack: the stack, with the lines ``File "nets.py", line 12, in forward`` of Python's tracebacks.
    """
    return _shown([(match["file"], int(match["line"])) for match in _FRAME.finditer(stack)])


def kind_and_line(error: BaseException) -> str:
    """Return the type and the first line of the text of an error, such as "ValueError: too small".

    Of a long line, it is the first sentence.
    """
    kind, text = type(error).__name__, first_line(error)
    text = text if len(text) <= _LONG else text.partition(". ")[0]
    return kind if text == kind else f"{kind}: {text}"


def _shown(frames: Sequence[Frame]) -> str:
    """Return the last user's frame as text: the last one outside all installed packages, or else of one unknown here.

    The known packages are Python's own, torch, the neurons' libraries and this project.
    """
    modules = [sys.modules[name] for name in (*_LIBRARIES, *_OURS) if name in sys.modules]
    known = tuple(str(Path(module.__file__).parent) for module in modules if module.__file__)
    unknown = [(file, line) for file, line in frames if not file.startswith(("<", *known))]
    installed = tuple(sysconfig.get_path(name) for name in _INSTALLED)
    outside = [(file, line) for file, line in unknown if not file.startswith(installed)]
    packages = [(file, line) for file, line in unknown if "-packages" in file]
    if not (outside or packages):
        return ""
    file, line = (outside or packages)[-1]
    path = Path(file)
    return f" ({path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}, line {line})"
