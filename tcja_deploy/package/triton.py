"""`package triton`: a bundle as models of a Triton Inference Server, in a model repository."""

from __future__ import annotations

from pathlib import Path

from tcja_deploy.console import Progress, silent
from tcja_deploy.package.configuration import read
from tcja_deploy.package.options import Packaged, TritonOptions
from tcja_deploy.package.repository import new_models, new_version, next_version
from tcja_deploy.package.windows import add_windows, write_windows
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.records import argument


def package_triton(
    path: Path | str, repository: Path | str, options: TritonOptions, progress: Progress | None = None
) -> Packaged:
    """Write a bundle into a Triton model repository, as the model NAME. It is written as a whole or not at all.

    Args:
        path: the bundle. It is copied into the repository.
        repository: the folder of the repository; it is made if it does not exist.
        options: how the model runs.
        progress: where progress is shown; None shows nothing.

    Raises:
        BadInput: the bundle is damaged, or is not signed as required; the repository has such a model already, or
            cannot be written; or an option does not fit the bundle.
        Unavailable: the package tritonclient is not installed, or the disk is full.
    """
    path, repository = argument("path", path, Path), argument("repository", repository, Path)
    options, progress = argument("options", options, TritonOptions), progress or silent()
    with progress.step("check the hashes"):
        bundle = Bundle.open(path, options.trust)
    name = options.model(path)
    with progress.step("write the model"):
        if options.new_version:
            with new_version(repository / name) as folder:
                add_windows(folder, read(repository / name), bundle)
        else:
            with new_models(repository, (name,)) as (folder,):
                write_windows(folder, name, bundle, options)
    version = int(next_version(repository / name).name) - 1
    return Packaged(folder=repository, models=(name,), version=version, backend=options.backend)
