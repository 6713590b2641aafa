"""The choice of the time form of each spiking layer in model.plain.onnx (`tcja_exporters.time_forms`).

By default the target decides: a Scan for ONNX Runtime, which copies least memory in this form, and the form fused for
TensorRT, which makes one kernel of all time steps of a layer in this form. "auto" measures each layer instead: the
neurons of the layer, without the rest of the network, run on random currents in the backend of the target. If this
machine cannot run that backend, an engine of each time form is built, and the form whose engine moves least data is
taken (`tcja_runtime.tensorrt.kernel_plan`). A form is left out if its builder does not end in time, or if the kernels
of its engine cannot be read, as with a loop. If those of no engine can be read, the form of the smallest engine is
taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tcja_deploy.console import Progress
from tcja_deploy.export.trials import Trials
from tcja_exporters.graph.export import with_time_forms
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.precision import Lowered
from tcja_exporters.time_forms.blocks import LONGEST, block_steps
from tcja_runtime.backends import select
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.session import Session
from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.bundle.manifest import TimeForms
from tcja_runtime.bundle.network_signature import Layer, NetworkSignature
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.choices import AUTO, TIME_FORMS, TimeForm
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.errors import BuildTimeout
from tcja_runtime.files.folder import model_in
from tcja_runtime.files.staging import scratch
from tcja_runtime.machine import gpu
from tcja_runtime.model_file.subgraph import Dimensions
from tcja_runtime.model_file.tensor_names import current_tensor, given_tensor
from tcja_runtime.tensorrt.part_session import BuiltPart

WARM_RUNS, RUNS = 2, 5

CANDIDATES = (TimeForm.SCAN.value, TimeForm.UNROLLED.value)
"""The time forms that "auto" chooses from for ONNX Runtime; for engines it chooses from all of `TIME_FORMS`."""

Opener = Callable[[Path, Sequence[str], Mapping[str, Dimensions]], Session]


def choose(
    wish: str | None,
    trials: Trials | None,
    network: Lowered,
    signature: NetworkSignature,
    progress: Progress,
) -> TimeForms:
    """Choose the time forms of a network's spiking layers.

    Args:
        wish: the requested time form: one of `tcja_runtime.choices.TIME_FORMS` for all layers, "auto" to measure, None
            for the default of the target.
        trials: how engines are built to choose; None if no engine is built, so that ONNX Runtime is measured.
        network: the exported network, with its weights in the requested precision.
        signature: the signature of the network.
        progress: where progress is shown.

    Returns:
        The time form of each layer, and the reason for the choice.

    Raises:
        BuildTimeout: the time forms are to be measured, and the builder ended in time in none of them.
    """
    layers = [*signature.layers, *signature.integrators]
    if wish != AUTO:
        form, rule = _rule(trials, signature.time_steps)
        form, why = (wish, "as requested") if wish else (form, rule)
        loops = not wish and signature.time_steps > LONGEST
        forms = dict.fromkeys((layer.name for layer in layers), form)
        forms |= {layer.name: TimeForm.SCAN.value for layer in signature.integrators if loops}  # blocks hold spikes
        return _time_forms({name: {"form": form} for name, form in forms.items()}, why)
    with scratch() as folder:
        candidates = _Candidates(
            {
                form: _saved(network.exported, layers, form, folder / form)
                for form in (TIME_FORMS if trials else CANDIDATES)
            }
        )
        if trials and trials.target != "tensorrt" and gpu.gpu() is None:
            with progress.step("build an engine of each time form"):
                return _least(candidates, trials, layers)
        opened = _opener(trials)
        measured = {}
        with progress.counted("measure the time forms of layers", len(layers)) as advance:
            for layer in layers:
                measured[layer.name] = _fastest(candidates, opened, layer, signature.time_steps)
                advance(1)
    backend = select.title(trials.target if trials else "onnxruntime")
    return _time_forms(measured, f"the fastest of each layer in {backend} on this machine{candidates.told}")


@dataclasses.dataclass
class _Candidates:
    """The time forms that "auto" chooses from.

    Attributes:
        files: the plain model of the network in each form.
        told: what is said of the forms that were left out.
    """

    files: dict[str, Path]
    told: str = ""

    def leave_out(self, form: str, why: str, where: str = "") -> None:
        """Remove a form.

        Args:
            form: the form.
            why: the reason.
            where: from where on, if not everywhere.

        Raises:
            BuildTimeout: no form is left.
        """
        del self.files[form]
        self.told += f"; the form {form} is left out{where}: {why}"
        if not self.files:
            raise BuildTimeout(f"no engine could be built in time{self.told}; give it more time with `build_timeout`")


def _rule(trials: Trials | None, time_steps: int) -> tuple[str, str]:
    """Return the time form that is taken by default, and the reason."""
    if trials is None:
        return TimeForm.SCAN.value, "ONNX Runtime copies least memory in this form"
    title = select.title(trials.target)
    if time_steps <= LONGEST:
        return TimeForm.FUSED.value, f"{title} makes one kernel of all time steps of a layer in this form"
    if block := block_steps(time_steps):
        why = f"{title} makes one kernel of {block} of the {time_steps:,} time steps of a layer in this form"
        return TimeForm.FUSED.value, why
    return TimeForm.SCAN.value, f"an engine of {title} does not grow with the {time_steps:,} time steps in this form"


def _opener(trials: Trials | None) -> Opener:
    if trials is None:
        return functools.partial(OnnxRuntimeSession.open, keeps_memory=True)
    built = functools.partial(
        BuiltPart.open, target=trials.target, precision=trials.precision, build_timeout=trials.build_timeout
    )
    return lambda file, outputs, given: built(model_in(file), outputs, given)


def instead_of_fused(time_steps: int) -> str:
    """Return the time form that is taken if no engine can be built in time in the form fused."""
    return TimeForm.SCAN.value if time_steps > LONGEST else TimeForm.UNROLLED.value


def without_fused(chosen: TimeForms, time_steps: int, why: str) -> TimeForms:
    """Return time forms with another one in place of fused.

    Args:
        chosen: the time forms.
        time_steps: the number of time steps of a window.
        why: the reason, for the manifest.
    """
    fused, other = TimeForm.FUSED.value, instead_of_fused(time_steps)
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


def _fastest(candidates: _Candidates, opened: Opener, layer: Layer, time_steps: int) -> dict[str, Any]:
    """Measure a layer's neurons in each time form. Returns the fastest form, and all times in milliseconds.

    A form whose builder does not end in time is left out, for the layers behind as well.
    """
    given, result, shape = current_tensor(layer.name), layer.result_tensor, (time_steps, 1, *layer.shape)
    current = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    current *= float(array_of(layer.neuron.largest.threshold)) or 1.0
    seconds: dict[str, list[float]] = {form: [] for form in candidates.files}
    with contextlib.ExitStack() as stack:
        sessions = {
            form: stack.enter_context(contextlib.closing(opened(file, [result], {given: shape})))
            for form, file in candidates.files.items()
        }
        for _ in range(WARM_RUNS + RUNS):
            for form in [*candidates.files]:
                began = time.perf_counter()
                try:
                    sessions[form].run({given_tensor(given): current})
                except BuildTimeout as error:
                    candidates.leave_out(form, str(error), f" from {layer.name} on")
                seconds[form].append(time.perf_counter() - began)
    found = {form: statistics.median(seconds[form][WARM_RUNS:]) for form in candidates.files}
    return {"form": min(found, key=lambda form: found[form])} | {
        f"{form}_ms": round(1000 * value, 4) for form, value in found.items()
    }


def _least(candidates: _Candidates, trials: Trials, layers: Sequence[Layer]) -> TimeForms:
    """Build an engine for one window in each time form. Returns, for all layers, the form that moves least data.

    A form is left out if its builder does not end in time, or if the kernels of its engine cannot be read. If those of
    no engine can be read, the form of the smallest engine is returned. In long windows, unrolled is left out.
    """
    if trials.time_steps > LONGEST:
        candidates.leave_out(TimeForm.UNROLLED.value, f"its engine grows with the {trials.time_steps:,} time steps")
    found: dict[str, EngineInfo] = {}
    for form, file in [*candidates.files.items()]:
        try:
            found[form] = trials.engine(file)
        except BuildTimeout as error:
            candidates.leave_out(form, str(error))
    unread = {form: info.plan_unread for form, info in found.items() if info.plan is None}
    if len(unread) == len(found):
        rule, sizes = "the form of the smallest engine", {form: info.bytes for form, info in found.items()}
        reasons = ", ".join(f"of {form}: {why}" for form, why in unread.items())
        because = f", as the kernels of no engine could be read ({reasons})"
    else:
        rule, because = "the form whose engine moves least in a window", ""
        sizes = {form: info.plan.moved for form, info in found.items() if info.plan}
        for form, why in unread.items():
            candidates.leave_out(form, f"the kernels of its engine could not be read ({why})")
    form = min(sizes, key=lambda form: sizes[form])
    numbers = ", ".join(f"{form} {size / 1e6:.1f} MB" for form, size in sizes.items())
    machine = f"this machine has no GPU that runs {select.title(trials.target)}"
    why = f"{machine}; {rule} ({numbers}){because}{candidates.told}"
    return _time_forms({layer.name: {"form": form} for layer in layers}, why)
