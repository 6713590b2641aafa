"""`tcja_deploy.export` and `check`: a trained network becomes a bundle, or is checked whether it can become one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tcja_deploy.api.data import windows_of
from tcja_deploy.api.options import made, shown_progress, takes
from tcja_deploy.api.results.check import CheckResult
from tcja_deploy.api.results.export import ExportResult
from tcja_deploy.check import checker
from tcja_deploy.console import Progress
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest, default_bundle
from tcja_exporters.user_models.wrappers import network_inside
from tcja_runtime.data.windows import GivenWindows
from tcja_runtime.errors import BadInput
from tcja_runtime.records import argument

_OWN = ("checkpoint", "data", "out")
"""The fields of the request that are arguments of the functions."""


@takes(ExportRequest, *_OWN)
def export(
    trained: str | os.PathLike[str] | nn.Module,
    /,
    *,
    data: Any = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = False,
    **options: Any,
) -> ExportResult:
    """Export a trained network and prove that the exported one fires the same spikes.

    Args:
        trained: the path of a checkpoint or of a NIR graph, or a module that has its trained weights. A copy of the
            module is exported, in eval mode; the module itself keeps its mode, and the state of its neurons is reset.
        data: the windows to compare on: a path; `(frames, labels)` or frames [N, T, P, H, W], images [N, C, H, W] or
            features [N, T, F] or [N, T, C, L], as arrays or tensors; an iterable of such batches, such as a
            `DataLoader`; or a `Dataset` of windows. The last two are read into memory, 4 GiB at most. None takes
            random windows, which give no accuracy.
        out: the path of the bundle, which must not exist. None: in the current folder, with the name of the checkpoint
            or of the module's class.
        progress: whether progress is shown on stderr.
        options: the options of the command `tcja-deploy export`, by name:

            * the network: `weights`, `model` (a module, or ``pkg.mod:factory``, that gets the weights of the
              checkpoint), `shape`, `input` and `layout` of what a module takes, `output`, `network` of the registry,
              `settings` that the file does not store, `per_step`, `classes`, `trust_checkpoint`;
            * the data: `samples`, `judge`, `anytime`, `labels`, `split`, `crop`, `resize`, `time_unit`, `columns`,
              `topic`;
            * the models: `precision`, `keep`, `calibration`, `time_form`, `spike_counts`, `streaming`, `target`,
              `batch`, `build_timeout`;
            * `report`: the path of a second copy of the report.

            `tcja_deploy.export.request.ExportRequest` describes them. `batch` is one number, three, or MIN:OPT:MAX.

    Returns:
        The bundle and the comparison. `print` shows what the command prints.

    Raises:
        BadInput: the network, the data or an option cannot be used, or TensorRT cannot build the model.
        Unavailable: this machine lacks a package, a device or memory that the export needs.
        ParityNotMet: the exported network does not agree with the trained one; no bundle is written. The attribute
            `figures` of the error has the figures of the comparison.
    """
    shown = shown_progress(progress)
    request = _request("export", trained, options, out)
    request = dataclasses.replace(request, data=_windows(data, request, shown))
    manifest, report = pipeline.export(request, shown)
    return ExportResult(bundle=request.out, manifest=manifest, parity=report, notes=tuple(shown.notes))


@takes(ExportRequest, *_OWN)
def check(
    trained: str | os.PathLike[str] | nn.Module,
    /,
    *,
    data: Any = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = False,
    **options: Any,
) -> CheckResult:
    """Say what `export` would make of a network, and write nothing: each module, the judged layers, nodes and memory.

    Args:
        trained: the path of a checkpoint, or a module that has its trained weights.
        data: windows that the network takes, in a form that `export` takes; the first two are read. None takes random
            windows.
        out: as for `export`; nothing is written to it.
        progress: whether progress is shown on stderr.
        options: those of `export`. These change its models: `weights`, `model`, `shape`, `input`, `layout`, `output`,
            `network`, `settings`, `per_step`, `classes`, `trust_checkpoint`, `precision`, `keep`, `calibration`,
            `time_form`, `spike_counts`, `streaming`, `target`; these are on recordings in the data: `labels`, `split`,
            `crop`, `resize`, `time_unit`, `columns`, `topic`; and these are only checked: `samples`, `judge`,
            `anytime`, `batch`, `build_timeout`, `report`.

    Returns:
        What was found, whether the network would be exported or not. `print` shows what the command prints.

    Raises:
        BadInput: the data or an option cannot be used, whatever the network is.
        Unavailable: this machine lacks something that is needed to find out, such as a package.
    """
    shown = shown_progress(progress)
    request = _request("check", trained, options, out)
    request = dataclasses.replace(request, samples=checker.WINDOWS)
    request = dataclasses.replace(request, data=_windows(data, request, shown))
    return CheckResult(found=checker.check(request, shown), notes=tuple(shown.notes))


def _request(function: str, trained: Any, options: Mapping[str, Any], out: Any) -> ExportRequest:
    """Return the request for a network, without data.

    Args:
        function: the function that the user calls.
        trained: the path of a checkpoint, or a module.
        options: the options by name.
        out: the path of the bundle; None for the default.

    Raises:
        BadInput: the network is neither, or an option cannot be used.
    """
    own: dict[str, Any] = {"data": None}
    if isinstance(trained, nn.Module):
        if "model" in options:
            raise BadInput("`model` goes with a checkpoint, and a module is given in place of one; leave `model` out")
        own |= {"checkpoint": None, "model": trained}
        bundle = default_bundle(network_inside(trained))
    elif isinstance(trained, (str, os.PathLike)):
        own["checkpoint"] = argument("trained", trained, Path)
        bundle = default_bundle(own["checkpoint"])
    else:
        is_class = isinstance(trained, type)
        found = f"the class {trained.__name__}" if is_class else f"a value of type {type(trained).__name__}"
        call = f"; call it: {trained.__name__}()" if is_class else ""
        raise BadInput(f"{function} takes the path of a checkpoint, or a module of torch, not {found}{call}")
    return made(ExportRequest, function, options, **own, out=bundle if out is None else out)


def _windows(data: Any, request: ExportRequest, progress: Progress) -> Path | GivenWindows | None:
    """Return the data for a request."""
    return windows_of(
        data,
        progress,
        samples=request.samples,
        layout=request.layout,
        time_steps=request.shape[0] if request.shape and request.layout != "NT" else None,
    )
