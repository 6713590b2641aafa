"""A folder whose files are read by name: a bundle, or the folder of an export that becomes one."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tcja_runtime.errors import BadInput
from tcja_runtime.model_file.model import WEIGHTS, Model


class Files(Protocol):
    """A folder whose files are read by name. Whoever loads a file of a bundle reads it so, and opens no path."""

    @property
    def path(self) -> Path:
        """The path of the folder, for messages."""
        ...

    def read(self, name: str) -> bytes:
        """Returns the content of a file. Its name is the path in the folder, with "/"."""
        ...


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder that only this process writes, such as that of an export.

    Attributes:
        path: the path of the folder.
    """

    path: Path

    def read(self, name: str) -> bytes:
        """Returns the content of a file.

        Raises:
            OSError: it cannot be read.
        """
        return (self.path / name).read_bytes()


def model_in(file: Path) -> Model:
    """Returns the model in a file that this process wrote, with the weights in the same folder, if it has any there.

    Raises:
        OSError: a file cannot be read.
    """
    weights = file.parent / WEIGHTS
    return Model(file, file.read_bytes(), weights.read_bytes() if weights.exists() else b"")


def write_model(model: Model, file: Path) -> None:
    """Write a model into a file for a program that reads files, with the weights that it reads beside it.

    Raises:
        BadInput: the model cannot be read, or it reads another file than the weights.
        OSError: a file cannot be written.
    """
    with readable(model):
        model.write(file)


@contextlib.contextmanager
def readable(model: Model) -> Iterator[None]:
    """A context that reads a model. A `ValueError` becomes a `BadInput` that names the model."""
    try:
        yield
    except ValueError as error:
        raise BadInput(f"{model.path} cannot be read: {error}; export it again") from error


def read_model(files: Files, name: str) -> Model:
    """Returns a model of a folder with its weights.

    Raises:
        BadInput: a file was changed, or is missing.
    """
    return Model(files.path / name, files.read(name), files.read(WEIGHTS))
