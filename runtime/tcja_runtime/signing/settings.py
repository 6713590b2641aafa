"""Reads files that say whom the user trusts: configuration files, and the keys that they name."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tcja_runtime.errors import BadInput
from tcja_runtime.files.limits import Limit
from tcja_runtime.files.reading import content, open_file


def read_settings(path: Path, limit: Limit) -> bytes:
    """Returns the content of a file that says whom the user trusts.

    Raises:
        BadInput: everybody may write the file; or it is no regular file, or too large.
        OSError: the system refuses it; among others, FileNotFoundError.
    """
    with open_file(path, limit) as stream:
        if os.fstat(stream.fileno()).st_mode & stat.S_IWOTH:
            raise BadInput(f"{path} says whom you trust, and all may write it; read it, then 'chmod o-w {path}'")
        return content(stream, path, limit)
