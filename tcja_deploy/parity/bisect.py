"""Finds where an exported network first goes wrong, and which kind of mistake it is.

In a teacher-forced comparison a mistake shows in the signal where it is made, and not in the signals after it. So
of all signals that failed, the one that is computed first is the culprit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set

import numpy as np

from tcja_deploy.parity import diagnose
from tcja_deploy.parity.checks import large_recording
from tcja_deploy.parity.diagnose import Fired, SignalComparison
from tcja_deploy.parity.failures import EXACT, OUTPUT, RANDOM, RANGE, WIDE, WINDOWS, Failure
from tcja_deploy.parity.judge import Place, judge_signal
from tcja_deploy.parity.verdict import Parity
from tcja_runtime.backends.probe import Probe
from tcja_runtime.bundle.network_signature import Layer, NetworkSignature
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.trace import Observation, Recording
from tcja_runtime.files.folder import Files
from tcja_runtime.model_file.subgraph import makers
from tcja_runtime.model_file.tensor_names import current_tensor

_LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool")
_NEURONS = ("Scan", "TcjaLif")

Makers = Mapping[str, tuple[str, str, list[str]]]
"""By tensor, the name, the operator and the inputs of the node that computes it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Culprit:
    """The first signal that is wrong.

    Attributes:
        model: the file of the model.
        module: the name of the PyTorch module that computes it.
        node: the name of the ONNX node that computes it.
        seen: the failure that shows it, in a line.
        place: the time step and the neuron, with both values; None where neurons that were run alone show it.
        fits: the mistakes that would explain it, the likeliest first.
    """

    model: str
    module: str
    node: str
    seen: str
    place: Place | None
    fits: list[str]


def bisect(
    parity: Parity, files: Files, probes: Sequence[Probe], golden: Golden, signature: NetworkSignature
) -> Culprit | None:
    """Find what is wrong in a network that failed; None if no signal failed.

    Args:
        parity: the comparison that failed.
        files: the bundle, or the folder of the models.
        probes: the models that were compared.
        golden: the golden vectors that they were compared with.
        signature: the signature of the network.
    """
    failures = [failure for failure in parity.failures if failure.signal]
    if not failures:
        return None
    stimuli = golden.stimuli(signature.input)
    order = [*next(iter(stimuli.values())).reference.witnesses, OUTPUT]
    integrators = {layer.name for layer in signature.integrators}
    first = min(failures, key=lambda failure: _rank(failure, order, integrators))
    probe = next(probe for probe in probes if probe.model == first.model)
    made = makers(files.read(first.model))
    if first.kind == "neurons":
        layers = (*signature.layers, *signature.integrators)
        layer = next(layer for layer in layers if layer.name == first.signal)
        return _wrong_neurons(first, probe, layer, signature.time_steps, made)
    window = first.place.window if first.place else 0
    if first.scene == WIDE:
        recording = large_recording(stimuli[RANDOM], parity.largest_batch, signature)
    else:
        recording = stimuli.get(first.scene or "") or golden.recording(slice(window, window + 1))
    return _wrong_signal(first, probe, recording, signature, made, earliest=order[0])


def _rank(failure: Failure, order: list[str], integrators: Set[str]) -> tuple[int, int, int]:
    """Earlier signals first; values before neurons, and both before the spikes that follow from them; stimuli first.

    The values of an integrator follow from its neurons, so they come behind them.
    """
    kinds, scenes = ("values", "neurons", "spikes", "models"), (RANDOM, EXACT, RANGE, WIDE, WINDOWS, None)
    if failure.signal in integrators:
        kinds = ("neurons", "values", "spikes", "models")
    return order.index(str(failure.signal)), kinds.index(failure.kind), scenes.index(failure.scene)


def _wrong_neurons(failure: Failure, probe: Probe, layer: Layer, time_steps: int, made: Makers) -> Culprit:
    """The culprit where the neurons of a layer, run alone, fire or integrate otherwise than specified."""
    if layer.neuron.integrates:
        current = stimulus.currents(layer, time_steps)
        fits = diagnose.of_membranes(layer.neuron, current, probe.neurons(layer.name, current))
    else:
        currents = (stimulus.ties(layer, time_steps), stimulus.currents(layer, time_steps))
        fired = [Fired(current, probe.neurons(layer.name, current) == 1) for current in currents]
        fits = diagnose.of_neurons(layer.neuron, fired)
    own = {f"{layer.name}/{op}" for op in _NEURONS}
    node = next((name for name, _, _ in made.values() if name in own), made[layer.result_tensor][0])
    return _culprit(failure, layer.name, node, fits)


def _wrong_signal(
    failure: Failure, probe: Probe, recording: Recording, signature: NetworkSignature, made: Makers, *, earliest: str
) -> Culprit:
    """The culprit where a signal is beyond its bound, or a layer has an unexplained flip.

    Args:
        failure: the failure.
        probe: the model.
        recording: the windows or the stimulus that show it.
        signature: the signature of the network.
        made: the nodes of the model.
        earliest: the first signal that the network computes, which depends on the inputs alone.
    """
    reference, name = recording.reference, str(failure.signal)
    weights = stimulus.exact_weights(signature.weights) if failure.scene == EXACT else None

    def observed(inputs: Floats) -> Observation:
        if failure.scene == WINDOWS:
            return probe.forced(inputs, reference)
        return probe.stimulated(inputs, reference.spikes, weights, signals=reference.witnesses)

    found = observed(recording.inputs)
    if name == OUTPUT:
        compared, tensor = SignalComparison.of_output(reference, found.output), signature.output
    else:
        compared = SignalComparison.of_signal(reference.witnesses[name], found.signals[name])
        integrators = {layer.name for layer in signature.integrators}  # what they return follows from their current
        taps = {tap.name: tap.tensor for tap in signature.taps if tap.name not in integrators}
        tensor = taps.get(name, current_tensor(name))
    node, operator = _computed(made, tensor)
    fits = diagnose.of_signal(compared)
    if operator in _POOLS:
        fits = ["pooling"]
    elif name == earliest and recording.inputs.ndim == 5 and recording.inputs.shape[2] == 2:
        exchanged = observed(np.ascontiguousarray(recording.inputs[:, :, ::-1])).signals[name]
        fits = fits if judge_signal(reference.witnesses[name], exchanged).beyond else ["polarity"]
    return _culprit(failure, node.rpartition("/")[0], node, fits)


def _computed(made: Makers, tensor: str) -> tuple[str, str]:
    """The node, and its operator, that computed a tensor before it was reshaped or transposed."""
    while tensor in made:
        name, operator, inputs = made[tensor]
        if operator in (*_LINEAR, *_POOLS, "Sigmoid") or not inputs:
            return name, operator
        tensor = inputs[0]
    return "", ""


def _culprit(failure: Failure, module: str, node: str, fits: list[str]) -> Culprit:
    return Culprit(model=failure.model, module=module, node=node, seen=failure.text, place=failure.place, fits=fits)
