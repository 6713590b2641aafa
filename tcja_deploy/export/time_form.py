"""The choice of the time form of each spiking layer in model.plain.onnx (`tcja_exporters.time_forms`).

By default the target decides: a Scan for ONNX Runtime, which copies least memory in this form, and the form fused for
TensorRT, whose engines move least data in this form. "auto" measures each layer instead: the neurons of the layer,
without the rest of the network, run on random currents in the backend of the target. If this machine cannot run that
backend, an engine of each time form is built, and the form whose engine moves least data is taken
(`tcja_runtime.tensorrt.kernel_plan`), or that of the smallest engine if the kernels of an engine could not be read.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tcja_deploy.console import Progress
from tcja_exporters.graph.export import with_time_forms
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.precision import Lowered
from tcja_runtime.backends import select
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.session import Session
from tcja_runtime.bundle.bundle import ENGINES, PLAIN_MODEL
from tcja_runtime.bundle.manifest import TimeForms
from tcja_runtime.bundle.signature import Layer, NetworkSignature
from tcja_runtime.choices import AUTO, TIME_FORMS, TimeForm
from tcja_runtime.errors import BuildTimeout
from tcja_runtime.files.staging import scratch
from tcja_runtime.machine import gpu
from tcja_runtime.model_file.subgraph import Dimensions
from tcja_runtime.model_file.tensor_names import current_tensor, given_tensor, spikes_tensor
from tcja_runtime.tensorrt.build import Batch, BuildOptions, BuildRequest, build
from tcja_runtime.tensorrt.part_session import BuiltPart

WARM_RUNS, RUNS = 2, 5

CANDIDATES = (TimeForm.SCAN.value, TimeForm.UNROLLED.value)
"""The time forms that "auto" chooses from for ONNX Runtime; for engines it chooses from all of `TIME_FORMS`."""

Opener = Callable[[Path, Sequence[str], Mapping[str, Dimensions]], Session]


def choose(
    wish: str | None,
    target: str | None,
    network: Lowered,
    signature: NetworkSignature,
    progress: Progress,
) -> TimeForms:
    """Choose the time forms of a network's spiking layers.

    Args:
        wish: the requested time form: one of `tcja_runtime.choices.TIME_FORMS` for all layers, "auto" to measure, None
            for the default of the target.
        target: the target that engines are built for; None if no engine is built, so that ONNX Runtime is measured.
        network: the exported network, with its weights in the requested precision.
        signature: the signature of the network.
        progress: where progress is shown.

    Returns:
        The time form of each layer, and the reason for the choice.
    """
    layers = signature.layers
    if wish != AUTO:
        form = wish or (TimeForm.FUSED.value if target else TimeForm.SCAN.value)
        rule = "moves least data in this form" if target else "copies least memory in this form"
        why = "as requested" if wish else f"{select.title(target) if target else 'ONNX Runtime'} {rule}"
        return _time_forms({layer.name: {"form": form} for layer in layers}, why)
    with scratch() as folder:
        candidates = TIME_FORMS if target else CANDIDATES
        files = {form: _saved(network.exported, layers, form, folder / form) for form in candidates}
        if target is None:
            opened: Opener = functools.partial(OnnxRuntimeSession.open, keeps_memory=True)
        elif target == "tensorrt" or gpu.gpu() is not None:
            opened = functools.partial(BuiltPart.open, target=target, precision=network.precision)
        else:
            with progress.step("build an engine of each time form"):
                return _least(files, target, network.precision, signature)
        measured = {}
        with progress.counted("measure the time forms of layers", len(layers)) as advance:
            for layer in layers:
                measured[layer.name] = _fastest(files, opened, layer, signature.time_steps)
                advance(1)
    return _time_forms(
        measured, f"the fastest of each layer in {select.title(target or 'onnxruntime')} on this machine"
    )


def without_fused(chosen: TimeForms, why: str) -> TimeForms:
    """Return time forms with unrolled in place of fused.

    Args:
        chosen: the time forms.
        why: the reason, for the manifest.
    """
    fused, other = TimeForm.FUSED.value, TimeForm.UNROLLED.value
    layers = {
        name: {**layer, "form": other if layer["form"] == fused else layer["form"]}
        for name, layer in chosen.layers.items()
    }
    return _time_forms(layers, why)


def _time_forms(layers: dict[str, dict[str, Any]], why: str) -> TimeForms:
    forms = {layer["form"] for layer in layers.values()}
    return TimeForms(form=forms.pop() if len(forms) == 1 else "mixed", why=why, layers=layers)


def _saved(exported: Exported, layers: Sequence[Layer], form: str, folder: Path) -> Path:
    folder.mkdir()
    save(with_time_forms(exported, {layer.name: form for layer in layers}), folder)
    return folder / PLAIN_MODEL


def _fastest(files: Mapping[str, Path], opened: Opener, layer: Layer, time_steps: int) -> dict[str, Any]:
    """Measure a layer's neurons in each time form. Returns the fastest form, and all times in milliseconds."""
    given, spikes, shape = current_tensor(layer.name), spikes_tensor(layer.name), (time_steps, 1, *layer.shape)
    current = np.random.default_rng(0).normal(size=shape).astype(np.float32) * np.float32(layer.neuron.threshold or 1)
    seconds: dict[str, list[float]] = {form: [] for form in files}
    with contextlib.ExitStack() as stack:
        sessions = {
            form: stack.enter_context(contextlib.closing(opened(file, [spikes], {given: shape})))
            for form, file in files.items()
        }
        for _ in range(WARM_RUNS + RUNS):
            for form, session in sessions.items():
                began = time.perf_counter()
                session.run({given_tensor(given): current})
                seconds[form].append(time.perf_counter() - began)
    found = {form: statistics.median(each[WARM_RUNS:]) for form, each in seconds.items()}
    return {"form": min(found, key=lambda form: found[form])} | {
        f"{form}_ms": round(1000 * value, 4) for form, value in found.items()
    }


def _least(files: Mapping[str, Path], target: str, precision: str, signature: NetworkSignature) -> TimeForms:
    """Build an engine for one window in each time form. Returns, for all layers, the form that moves least data.

    If the kernels of an engine could not be read, the form of the smallest engine is returned. A form whose builder
    does not end in time is not taken.

    Raises:
        BuildTimeout: no builder ended in time.
    """
    found, unfinished = {}, ""
    for form, file in files.items():
        request = BuildRequest(
            model=file,
            engines=file.parent / ENGINES,
            target=target,
            precision=precision,
            options=BuildOptions(batch=Batch(1, 1, 1)),
            time_steps=signature.time_steps,
        )
        try:
            found[form] = build(request).info
        except BuildTimeout as error:
            if form == list(files)[-1] and not found:
                raise
            unfinished = f"; {error} in the form {form}"
    moved = {form: info.plan.moved for form, info in found.items() if info.plan}
    unread = next((f"of {form}: {info.plan_unread}" for form, info in found.items() if not info.plan), "")
    sizes = {form: info.bytes for form, info in found.items()} if unread else moved
    form = min(sizes, key=lambda form: sizes[form])
    numbers = ", ".join(f"{form} {size / 1e6:.1f} MB" for form, size in sizes.items())
    rule = "the form of the smallest engine" if unread else "the form whose engine moves least in a window"
    why = f"this machine has no GPU that runs {select.title(target)}; {rule} ({numbers})"
    why += f", as the kernels of an engine could not be read ({unread})" if unread else ""
    return _time_forms({layer.name: {"form": form} for layer in signature.layers}, why + unfinished)
