"""The user's folders for the files of programs (XDG Base Directory Specification, version 0.8)."""

from __future__ import annotations

import os
from pathlib import Path

_OURS = "tcja-deploy"


def user_folder(variable: str, default: str) -> Path:
    """Returns the folder of tcja-deploy in one of the user's folders. It may not exist yet.

    A path that is not absolute does not count, as the specification says. So no file of the current folder is taken for
    one of the user's.

    Args:
        variable: the environment variable that names the user's folder, such as "XDG_STATE_HOME".
        default: the folder in the user's home if the variable does not name any, such as ".local/state".

    Raises:
        RuntimeError: it is in the user's home, and this user has none.
    """
    folder = Path(os.environ.get(variable, ""))
    if not folder.is_absolute():
        folder = Path.home() / default
    if not folder.is_absolute():
        raise RuntimeError("the path of the user's home is not absolute")
    return folder / _OURS


def machine_folders(variable: str, default: str) -> list[Path]:
    """Returns the folders of tcja-deploy in folders of the machine, such as those of "XDG_CONFIG_DIRS"."""
    named = (os.environ.get(variable) or default).split(os.pathsep)
    return [Path(each) / _OURS for each in named if Path(each).is_absolute()]
