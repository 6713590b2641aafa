"""Checks what an export would make of a network: it runs the steps of the export that come before the comparison.

The steps are those of `tcja_deploy.export.models`, and the check needs the same packages, so the check and the export
say the same. Only a few windows are read, and the models are made in a temporary folder. The check does not compare
spikes, and builds no engine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping

from tcja_deploy.build import chosen_target, parsed_layers
from tcja_deploy.check.modules import modules
from tcja_deploy.check.result import Becomes, Checked, EngineFacts, ModelFacts, NetworkFacts
from tcja_deploy.console import Progress, silent
from tcja_deploy.export import spike_counts
from tcja_deploy.export.models import Prepared, prepare
from tcja_deploy.export.network import Known
from tcja_deploy.export.request import ExportRequest, check_options
from tcja_exporters.costs.roofline import Costs
from tcja_exporters.graph.export import with_time_forms
from tcja_exporters.reference.recorder import record
from tcja_exporters.user_models.equivalence import NeuronsDiffer
from tcja_runtime.backends import onnxruntime
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.choices import AUTO, TIME_FORMS, SpikeCounts
from tcja_runtime.data import dataset
from tcja_runtime.errors import BadInput, TcjaError, Unavailable, user_error
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.rounding import MODEL_ARITHMETIC
from tcja_runtime.files.staging import scratch
from tcja_runtime.records import argument

WINDOWS = 2
"""The number of windows that a check reads. An export predicts the layers to keep in float32 from more of them."""

_OPEN = (
    f"An export builds two engines to decide whether {PLAIN_MODEL} returns spike counts. "
    "These numbers are without them."
)


def check(request: ExportRequest, progress: Progress | None = None) -> Checked:
    """Return what an export would make of a network. Nothing is written.

    Args:
        request: the request of the export. Its `out`, `report`, `samples`, `judge`, `batch` and `build_timeout` have no
            influence. A time form that an export would measure is taken as that for the target. Spike counts that an
            export would decide on by engines are left out, and a remark says so.
        progress: where progress is shown; None shows nothing.

    Raises:
        BadInput: options contradict each other.
        Unavailable: this machine lacks a package that an export needs, too.
    """
    asked = argument("request", request, ExportRequest)
    form = None if asked.time_form == AUTO else asked.time_form
    counts = SpikeCounts.OFF.value if asked.spike_counts == AUTO else asked.spike_counts
    request = dataclasses.replace(asked, samples=WINDOWS, report=None, time_form=form, spike_counts=counts)
    progress = progress or silent()
    progress.left_out = []
    check_options(request)
    target = chosen_target(request.target)
    onnxruntime.require()
    remarks = list[str]()
    known, prepared, models, error = Known(), None, None, None
    with _no_bytecode(), scratch() as folder:
        try:
            prepared = prepare(request, target, folder, known, progress)
            models = _models(prepared, target, progress)
            if target and asked.spike_counts == AUTO and _counts_are_open(prepared):
                remarks.append(_OPEN)
            models = dataclasses.replace(models, engine=_engine(request, prepared, target, progress))
        except Exception as raised:
            error = _refusal(raised)
            if error is None:
                raise
        rows = modules(known, prepared, error.reasons if isinstance(error, NeuronsDiffer) else {})
    reasons = [] if error is None else [str(error), *(row.remark for row in rows if row.becomes is Becomes.REFUSED)]
    read = prepared.windows if prepared and isinstance(prepared.windows, dataset.Data) else None
    return Checked(
        subject=_subject(request),
        error=error,
        refusals=list(dict.fromkeys(reasons)),
        modules=rows,
        network=_network(known),
        models=models,
        remarks=[*progress.left_out, *remarks, *(dataset.remarks([read]) if read else [])],
    )


def _counts_are_open(prepared: Prepared) -> bool:
    network = prepared.network
    return spike_counts.is_open(network.lowered, network.signature, prepared.time_form.forms)


def _refusal(error: Exception) -> TcjaError | None:
    """Return the error with which an export would refuse a network; None if the error says nothing of the network."""
    known = user_error(error)
    return None if isinstance(known, Unavailable) else known


def _subject(request: ExportRequest) -> str:
    if request.checkpoint is not None:
        return request.checkpoint.name
    return request.model if isinstance(request.model, str) else type(request.model).__name__


@contextlib.contextmanager
def _no_bytecode() -> Iterator[None]:
    """A context in which Python writes no compiled files of the modules that it imports, such as the user's."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _network(known: Known) -> NetworkFacts | None:
    trained, signature = known.trained, known.signature
    if trained is None or signature is None:
        return None
    return NetworkFacts(
        name=trained.name,
        summary=trained.summary,
        dialect=trained.dialect,
        checkpoint=trained.source,
        evidence=trained.evidence,
        time_steps=trained.time_steps,
        input=trained.contract,
        output=trained.output,
        output_shape=signature.output_shape,
        classes=trained.classes,
        parameters=trained.parameters,
        layers=list(signature.layers),
        integrators=list(signature.integrators),
    )


def _models(prepared: Prepared, target: str | None, progress: Progress) -> ModelFacts:
    """Return the facts of the models, without what TensorRT makes of them."""
    network = prepared.network
    exported, signature = network.lowered.exported, network.signature
    with progress.step("look for bounds that are estimates"):
        estimated = _estimated(prepared)
    with progress.step("count nodes and memory"):
        costs = progress.inform("memory", lambda: _costs(prepared), None)
        nodes = {MODEL: len(exported.model.graph.node), PLAIN_MODEL: len(exported.plain.graph.node)}
        streaming = prepared.split.models if prepared.split else {}
        return ModelFacts(
            nodes={**nodes, **{file: len(model.graph.node) for file, model in streaming.items()}},
            time_form=prepared.time_form.form,
            why=prepared.time_form.why,
            forms=_forms(prepared, target),
            precision=network.lowered.precision,
            lowered=sum(weight.type == network.lowered.precision for weight in signature.weights),
            kept=[weight.module for weight in signature.weights if weight.type != network.lowered.precision],
            weight_bytes=None if costs is None else costs.weight_bytes,
            activation_bytes=None if costs is None else costs.total().activation_bytes,
            unjudged=list(signature.unjudged),
            estimated=estimated,
            engine=EngineFacts(target=target, why=""),
        )


def _estimated(prepared: Prepared) -> Mapping[str, list[str]]:
    """Return the operations without a rule for their rounding, by signal, as the comparison of an export finds them.

    The network runs once on given spikes, in which every signal is recorded. A second run, as on windows, records fewer
    signals. It is needed only if there are such operations: it has no others.
    """
    network, signature = prepared.network, prepared.network.signature
    arithmetic, module = MODEL_ARITHMETIC[network.lowered.precision], network.lowered.network
    given = {
        layer.name: stimulus.spikes(layer.name, layer.shape, signature.time_steps, 1) for layer in signature.layers
    }
    inputs = stimulus.inputs(signature.input, 1)
    found = dict(record(module, inputs, signature, spikes=given, arithmetic=arithmetic).estimated)
    if found:
        window = next(prepared.windows.batches(1))
        found.update(record(module, window, signature, arithmetic=arithmetic).estimated)
    return found


def _forms(prepared: Prepared, target: str | None) -> dict[str, int]:
    """Return the number of nodes of the plain model in each time form that can be made."""
    exported, signature = prepared.network.lowered.exported, prepared.network.signature
    layers = [*signature.layers, *signature.integrators]
    found = {}
    for form in TIME_FORMS:
        if form == prepared.time_form.form:
            found[form] = len(exported.plain.graph.node)
            continue
        with contextlib.suppress(BadInput):  # the number of time steps is not known
            made = with_time_forms(exported, {layer.name: form for layer in layers}, pooled=target is None)
            found[form] = len(made.plain.graph.node)
    return found


def _costs(prepared: Prepared) -> Costs | None:
    """Return the costs of the canonical model, for one window."""
    spiking = prepared.network.signature.input.scaling == "spikes"
    return Costs.of(prepared.network.lowered.exported.model, spiking=spiking)


def _engine(request: ExportRequest, prepared: Prepared, target: str | None, progress: Progress) -> EngineFacts:
    """Return what TensorRT makes of the plain model.

    Raises:
        BadInput: TensorRT cannot parse the model.
    """
    if target is None:
        why = "`target` onnx builds no engine" if request.target == "onnx" else "no TensorRT is installed here"
        return EngineFacts(target=None, why=why)
    network = prepared.network
    with progress.step(f"ask the parser of {target}"):
        try:
            layers = parsed_layers(
                network.folder / PLAIN_MODEL, target, network.lowered.precision, network.signature.weights
            )
        except Unavailable as error:
            return EngineFacts(target=target, why=str(error))
    return EngineFacts(target=target, layers=layers)
