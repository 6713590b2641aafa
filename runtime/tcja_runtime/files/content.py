"""The content of a file, by which it is identified."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path

_BLOCK = 2**20  # bytes


@dataclasses.dataclass(frozen=True)
class Content:
    """The content of a file or a folder. It is read when `checks` is asked for first, and only once.

    Attributes:
        file: the file or folder.
    """

    file: Path

    @functools.cached_property
    def checks(self) -> tuple[int, str]:
        """The size of the file, or of the files in a folder, in bytes, and the SHA-256 of the bytes."""
        size, digest = 0, hashlib.sha256()
        for file in filter(Path.is_file, sorted(self.file.iterdir()) if self.file.is_dir() else [self.file]):
            with file.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    size += len(block)
                    digest.update(block)
        return size, digest.hexdigest()
