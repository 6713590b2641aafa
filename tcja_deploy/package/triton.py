"""`package triton`: a bundle as models of a Triton Inference Server, in a model repository."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from tcja_deploy.console import Progress, silent
from tcja_deploy.formatting import si
from tcja_deploy.package.configuration import CONFIG, check_fits, read
from tcja_deploy.package.onnx_stream import write_onnx_stream
from tcja_deploy.package.options import MOST_WINDOWS, CameraOptions, Packaged, TritonOptions
from tcja_deploy.package.own_backends import write_onnx_windows, write_plan_windows
from tcja_deploy.package.repository import FIRST, check_outside, new_models, new_version, next_version
from tcja_deploy.package.streams import STREAM, write_streams
from tcja_deploy.package.windows import shared_memory, write_windows
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.choices import TritonBackend
from tcja_runtime.errors import BadInput
from tcja_runtime.files.staging import copy_folder, scratch
from tcja_runtime.records import argument
from tcja_runtime.triton.streams import rule_of

_Writer = Callable[[Path, str, Bundle, TritonOptions], None]

_WINDOWS: dict[str, _Writer] = {
    TritonBackend.PYTHON.value: write_windows,
    TritonBackend.ONNXRUNTIME.value: write_onnx_windows,
    TritonBackend.TENSORRT.value: write_plan_windows,
}
"""By backend, what writes the model of whole windows."""
_STREAMS: dict[str, _Writer] = {
    TritonBackend.PYTHON.value: write_streams,
    TritonBackend.ONNXRUNTIME.value: write_onnx_stream,
}
"""By backend, what writes the model of streams."""
_NOT_LOADED = re.compile(r"[^A-Za-z0-9_@%+=:,./-]")
"""A character in a path from which Triton's Python backend may load nothing."""
_OF_A_CONTAINER = 64 * 2**20
"""The shared memory of a container of Docker without the option --shm-size."""


def package_triton(
    path: Path | str, repository: Path | str, options: TritonOptions, progress: Progress | None = None
) -> Packaged:
    """Write a bundle into a Triton model repository: the model NAME, and NAME_stream if the bundle is stepwise.

    They are written as a whole or not at all. NAME_stream takes the frames or the events of cameras as they come; for
    ONNX Runtime it takes a frame a request. There is none for TensorRT.

    Args:
        path: the bundle. It is copied into the repository.
        repository: the folder of the repository; it is made if it does not exist.
        options: how the model runs.
        progress: where progress is shown; None shows nothing.

    Raises:
        BadInput: the bundle is damaged, or is not signed as required; or is not stepwise, and there are options for
            cameras; the repository has such a model already, or cannot be written; or an option does not fit the
            bundle.
        ParityNotMet: a model for ONNX Runtime does not give the bundle's answers.
        Unavailable: the package tritonclient, or one that the backend needs here, is not installed; or the disk is
            full.
    """
    path, repository = argument("path", path, Path), argument("repository", repository, Path)
    options, progress = argument("options", options, TritonOptions), progress or silent()
    with progress.step("check the hashes"):
        bundle = Bundle.open(path, options.trust)
    check_outside(bundle, repository)
    name = options.model(path)
    backend = read(repository / name).backend if options.new_version else options.backend
    if backend not in _WINDOWS:
        raise BadInput(
            f"{repository / name} is a model of Triton's backend '{backend}', for which no bundle is packaged; choose "
            "another `name`"
        )
    options.check_engine(backend)
    models = {name: _WINDOWS[backend]}
    answers = bundle.manifest.classes or backend != TritonBackend.PYTHON.value
    if backend in _STREAMS and bundle.manifest.streaming and answers:
        models[name + STREAM] = _STREAMS[backend]
    elif options.cameras != CameraOptions():
        raise BadInput(
            f"there is no model of streams of {path} for the backend {backend}, so leave `cameras`, `idle` and "
            "`window` out; or export a network of events with `streaming`, and choose another `backend`"
        )
    if options.new_version and backend in _STREAMS:
        _check_streams(repository / (name + STREAM), path, expected=len(models) > 1)
    with progress.step("write the models"), contextlib.ExitStack() as written:
        if options.new_version:
            copies = {each: written.enter_context(new_version(repository / each)) for each in models}
            version = max((next_version(copy).name for copy in copies.values()), key=int)  # the same of both models
            for each, copy in copies.items():
                _add_version(copy / version, models[each], bundle, backend, options.engine)
        else:
            version = FIRST
            folders = written.enter_context(new_models(repository, tuple(models)))
            for folder, (each, write) in zip(folders, models.items(), strict=True):
                write(folder, each, bundle, options)
            _note_shared_memory(bundle, options, progress)
        _note_path(repository, backend, progress)
    return Packaged(folder=repository, models=tuple(models), version=int(version), backend=backend)


def _check_streams(model: Path, bundle: Path, *, expected: bool) -> None:
    """Check that a repository has a model of streams where a bundle has one: both models get a version, or none.

    Args:
        model: the folder where the model of streams is, if there is one.
        bundle: the path of the bundle, for messages.
        expected: whether a model of streams is made of the bundle.

    Raises:
        BadInput: the repository has one and the bundle has none, or the other way round.
    """
    there = (model / CONFIG).is_file() and read(model).HasField("sequence_batching")
    if there and not expected:
        raise BadInput(
            f"{model} takes frames, and {bundle} was exported without `streaming`, so that model would keep the old "
            "bundle; package this one under another `name`"
        )
    if expected and not there:
        raise BadInput(
            f"{bundle} was exported with `streaming`, and there is no model {model}; package it under another `name`"
        )


def _add_version(version: Path, write: _Writer, bundle: Bundle, backend: str, engine: str | None) -> None:
    """Add a bundle to the folder of a model, as its next version. The configuration stays as it is.

    The model is written anew elsewhere, and of that only the version is taken.

    Args:
        version: the folder of the version, which is made in that of the model.
        write: what writes models of its kind.
        bundle: the bundle.
        backend: the server's backend that runs the model.
        engine: the name of the engine, for TensorRT; None takes the last built one.

    Raises:
        BadInput: the configuration is not that of such a model, or does not fit the bundle.
    """
    model = version.parent
    config = read(model)
    given = {name: value.string_value for name, value in config.parameters.items()}
    most = config.max_batch_size or None
    if not 0 <= config.max_batch_size <= MOST_WINDOWS:
        raise BadInput(
            f"{config.name}: max_batch_size in its configuration is {config.max_batch_size:,}, and must be 0 to "
            f"{MOST_WINDOWS:,}; package the bundle under another `name`"
        )
    is_stream = config.HasField("sequence_batching")
    cameras = CameraOptions(count=most, rule=rule_of(given)) if is_stream and most else CameraOptions()
    kept = TritonOptions(backend=backend, engine=engine, max_batch=most, cameras=cameras)
    with scratch() as place:
        write(place, config.name, bundle, kept)
        check_fits(model, place)
        copy_folder(place / FIRST, version)


def _note_shared_memory(bundle: Bundle, options: TritonOptions, progress: Progress) -> None:
    """Say if the Python backend needs more shared memory than a container has."""
    shared = shared_memory(bundle, options)
    if options.backend == TritonBackend.PYTHON.value and shared > _OF_A_CONTAINER:
        progress.note(
            f"the largest batches take {si(shared)}B of shared memory, and a container has 67 MB by default: start it "
            "with --shm-size, or take a smaller `max_batch`"
        )


def _note_path(repository: Path, backend: str, progress: Progress) -> None:
    """Say if the Python backend may not load a model from this path.

    Release 24.10 starts the process of a model by a line for a shell, in which the path is not quoted
    (src/stub_launcher.cc of https://github.com/triton-inference-server/python_backend), and then waits for it without
    end. The Python in this process reads only ASCII in paths if the locale is C.
    """
    found = _NOT_LOADED.search(str(repository))
    if found and backend == TritonBackend.PYTHON.value:
        progress.note(
            f"Triton's Python backend may load no model from a path with '{found[0]}', and wait for it without end: "
            f"give {repository} a name of ASCII letters, digits, _ . and - before you start the server"
        )
