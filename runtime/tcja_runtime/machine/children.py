"""Child processes that run Python, and import no module from the current folder.

`python -m` and `python -c` take modules from the current folder first, which may be a folder of downloaded data. The
variable PYTHONSAFEPATH prevents it from Python 3.11 on, not in 3.10. So every child is started isolated (`-I`): it
reads no variable PYTHON*, and adds no folder to the path of modules. It gets the path of this process in its arguments,
without the current folder.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

_OURS = re.compile("tcja_[a-z]+")

_MAIN = """import sys
count = int(sys.argv[1])
sys.path[:], (module, *arguments) = sys.argv[2 : count + 2], sys.argv[count + 2 :]
import importlib
importlib.import_module(module).main(*arguments)"""


def main_of(module: str, *arguments: str, first: Sequence[str] = ()) -> list[str]:
    """Returns the command that calls the function `main` of a module.

    Args:
        module: the full name of the module.
        arguments: the arguments of the function.
        first: folders to look for modules in before those of this process.
    """
    path = [*first, *_path(module.partition(".")[0])]
    return [*_python(), "-c", _MAIN, str(len(path)), *path, module, *arguments]


def program(code: str, *arguments: str) -> list[str]:
    """Returns the command that runs a program that imports nothing but the modules of Python itself."""
    return [*_python(), "-S", "-c", code, *arguments]


def _python() -> list[str]:
    """Python without the current folder and the variables PYTHON*, with the same options as this process."""
    options = [part for each in sys.warnoptions for part in ("-W", each)]
    return [sys.executable, "-I", "-X", f"utf8={sys.flags.utf8_mode}", *["-B"] * sys.dont_write_bytecode, *options]


def _path(package: str) -> list[str]:
    """The path of this process without the current folder, unless our packages, or the given one, come from there."""
    roots = {name: each for name, each in sys.modules.items() if name == package or _OURS.fullmatch(name)}
    ours = {str(Path(folder).absolute().parent) for each in roots.values() for folder in getattr(each, "__path__", ())}
    here = _current_folder()
    kept = [each for each in sys.path if Path(each).is_absolute() and (each in ours or Path(each).resolve() != here)]
    return [*kept, *sorted(ours - set(kept))]


def _current_folder() -> Path | None:
    """The current folder, without links; None if it was removed."""
    try:
        return Path.cwd().resolve()
    except OSError:
        return None


def limit_memory(room: int) -> None:
    """Limit the memory of this process, a child: it may take `room` bytes more than it has.

    If what it unpacks is too large, then only this process ends, and other programs keep their memory.
    """
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
