"""A model in a Triton model repository, written as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tcja_runtime.bundle.bundle import Bundle, is_of_git
from tcja_runtime.errors import BadInput
from tcja_runtime.files.staging import copy_folder, locked, restaged, staged
from tcja_runtime.triton.server import BUNDLE

FIRST = "1"
"""The folder of the first version of a model."""
_MODEL = "model.py"
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@contextlib.contextmanager
def new_models(repository: Path, names: tuple[str, ...]) -> Iterator[tuple[Path, ...]]:
    """A context with new folders of models to fill. They are moved into the repository if the block ends well.

    Args:
        repository: the repository; it is made if it does not exist. Other models in it are not touched.
        names: the names of the models.

    Raises:
        BadInput: the repository has a model of such a name, or cannot be written.
        Unavailable: the disk is full.
    """
    if os.path.lexists(repository) and not repository.is_dir():
        raise BadInput(f"{repository} is not a folder; name a folder for the model repository")
    for name in names:
        if os.path.lexists(repository / name):
            raise BadInput(
                f"{repository / name} exists; add the bundle as its next version with `new_version`, choose another "
                "`name`, or remove it"
            )
    with contextlib.ExitStack() as until:
        yield tuple(until.enter_context(staged(repository / name, "folder")) for name in names)


@contextlib.contextmanager
def new_version(model: Path) -> Iterator[Path]:
    """A context with a copy of a model's folder, to which a version is added. It takes the model's place.

    The files of the copy are hard links: replace them, and do not write into them.

    Raises:
        BadInput: the folder cannot be written.
        Unavailable: the disk is full.
    """
    with locked(model), restaged(model) as folder:
        yield folder


def next_version(model: Path) -> Path:
    """The folder of a model's next version: the largest number in the model's folder, and one more.

    Other names of digits are no versions for the server: those with leading zeros, and numbers of more than 63 bits.
    """
    numbers = [int(each.name) for each in model.iterdir() if _VERSION.fullmatch(each.name)]
    return model / (str(max(numbers) + 1) if numbers else FIRST)


def check_outside(bundle: Bundle, folder: Path) -> None:
    """Check that a folder is not in the bundle that is copied into it.

    Raises:
        BadInput: it is.
    """
    if folder.resolve().is_relative_to(bundle.path.resolve()):
        raise BadInput(f"{folder} is in the bundle {bundle.path}; name a folder outside it")


def copy_bundle(bundle: Bundle, folder: Path) -> None:
    """Copy a whole bundle into a folder, which is made, with its signatures and engines.

    The owner may write into its folders, as `build` does, also if the bundle is read-only.
    """

    def left_out(of: str, names: list[str]) -> set[str]:
        return {name for name in names if is_of_git(name)} if Path(of) == bundle.path else set()

    folder.mkdir(parents=True, exist_ok=True)
    copy_folder(bundle.path, folder / BUNDLE, ignore=left_out)
    for place, _, _ in os.walk(folder / BUNDLE):
        Path(place).chmod(Path(place).stat().st_mode | 0o700)


def write_version(model: Path, bundle: Bundle, of: str) -> None:
    """Write the next version of a model: a copy of the bundle, and the model.py of the Python backend.

    Args:
        model: the folder of the model.
        bundle: the bundle.
        of: the class of `tcja_runtime` that runs it, "module.Class".
    """
    version = next_version(model)
    copy_bundle(bundle, version)
    module, _, name = of.rpartition(".")
    (version / _MODEL).write_text(
        f'"""The bundle in {BUNDLE}, run by tcja_runtime, which the server\'s Python must have."""\n\n'
        f"from {module} import {name} as TritonPythonModel  # noqa: F401, N813\n"
    )
