"""A model in a Triton model repository, written as a whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from tcja_runtime.bundle.bundle import Bundle, is_of_git
from tcja_runtime.errors import BadInput
from tcja_runtime.files.staging import staged
from tcja_runtime.triton.server import BUNDLE

VERSION = "1"
"""The folder of the only version of a model."""
MODEL = "model.py"


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
    if repository.exists() and not repository.is_dir():
        raise BadInput(f"{repository} is not a folder; name a folder for the model repository")
    for name in names:
        if (repository / name).exists():
            raise BadInput(f"{repository / name} exists; choose another `name`, or remove it")
    with contextlib.ExitStack() as until:
        yield tuple(until.enter_context(staged(repository / name)) for name in names)


def copy_bundle(bundle: Bundle, version: Path) -> None:
    """Copy a whole bundle into the folder of a model's version, with its signatures and engines."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if is_of_git(name)} if Path(folder) == bundle.path else set()

    version.mkdir(parents=True, exist_ok=True)
    shutil.copytree(bundle.path, version / BUNDLE, ignore=left_out)


def write_model(version: Path, of: str) -> None:
    """Write the model.py of the Python backend.

    Args:
        version: the folder of the model's version.
        of: the class of `tcja_runtime` that is the model, "module.Class".
    """
    module, _, name = of.rpartition(".")
    (version / MODEL).write_text(
        f'"""The bundle in {BUNDLE}, run by tcja_runtime, which the server\'s Python must have."""\n\n'
        f"from {module} import {name} as TritonPythonModel  # noqa: F401, N813\n"
    )
