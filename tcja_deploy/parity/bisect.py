"""Where does an exported network first go wrong, and which kind of mistake is it?

Every layer was fed the reference's spikes, so a mistake shows where it is made, and not behind it: of all signals that
failed, in the order they are computed, the first is the culprit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tcja_deploy.parity import diagnose
from tcja_deploy.parity.diagnose import Fired, Seen
from tcja_deploy.parity.judge import Place, judge_signal
from tcja_deploy.parity.verdict import DRAWN, DYADIC, OUTPUT, WINDOWS, Failure, Parity
from tcja_runtime.backends.probe import Probe
from tcja_runtime.bundle.signature import NetworkSignature
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.trace import Observation, Reference
from tcja_runtime.model_file.subgraph import makers
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor

_LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool")
_NEURONS = ("Scan", "TcjaLif")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Culprit:
    """Where it first goes wrong.

    Attributes:
        model: file of the model.
        module: the PyTorch module.
        node: the ONNX node.
        seen: what shows it, in a line.
        place: time step, neuron and both values; None where neurons alone showed it.
        fits: the mistakes that would explain it, the likeliest first.
    """

    model: str
    module: str
    node: str
    seen: str
    place: Place | None
    fits: list[str]


def bisect(
    parity: Parity,
    folder: Path,
    probes: Sequence[Probe],
    scenes: Mapping[str, tuple[Floats, Reference]],
    golden: Golden,
    signature: NetworkSignature,
) -> Culprit | None:
    """Find what is wrong in a network that failed; None if nothing failed.

    Args:
        parity: the comparison that failed.
        folder: of the models.
        probes: the models that were compared.
        scenes: inputs of the drawn scenes and the reference's recordings.
        golden: the windows and their recordings.
        signature: of the network.
    """
    failures = [failure for failure in parity.failures if failure.signal]
    if not failures:
        return None
    order = [*next(iter(scenes.values()))[1].witnesses, OUTPUT]
    first = min(failures, key=lambda failure: _rank(failure, order))
    probe = next(probe for probe in probes if probe.model == first.model)
    made = makers((folder / first.model).read_bytes())
    layer = next((layer for layer in signature.layers if layer.name == first.signal), None)
    if layer and first.kind == "neurons":
        drawn = (stimulus.ties(layer, signature.time_steps), stimulus.currents(layer, signature.time_steps))
        fired = [Fired(current, probe.neurons(layer.name, current) == 1) for current in drawn]
        fits = diagnose.of_neurons(layer.neuron, fired)
        own = {f"{layer.name}/{op}" for op in _NEURONS}
        node = next((name for name, _, _ in made.values() if name in own), made[spikes_tensor(layer.name)][0])
        return _culprit(first, layer.name, node, fits)
    window = first.place.window if first.place else 0
    part = slice(window, window + 1)
    inputs, reference = scenes.get(first.scene or "") or (golden.samples.inputs[part], golden.reference(part))
    weights = stimulus.dyadic(signature.weights) if first.scene == DYADIC else None

    def observed(inputs: Floats) -> Observation:
        if first.scene == WINDOWS:
            return probe.forced(inputs, reference)
        return probe.stimulated(inputs, reference.spikes, weights)

    if first.signal == OUTPUT:
        seen, tensor = Seen.of_output(reference, observed(inputs).output), signature.output
    else:
        seen = Seen.of(reference.witnesses[str(first.signal)], observed(inputs).signals[str(first.signal)])
        tap = next((tap for tap in signature.taps if tap.name == first.signal), None)
        tensor = tap.tensor if tap else current_tensor(str(first.signal))
    name, operator = _computed(made, tensor)
    fits = diagnose.of_signal(seen)
    if operator in _POOLS:
        fits = ["pooling"]
    elif first.signal == order[0] and inputs.ndim == 5 and inputs.shape[2] == 2:
        turned = judge_signal(
            reference.witnesses[order[0]], observed(np.ascontiguousarray(inputs[:, :, ::-1])).signals[order[0]]
        )
        fits = fits if turned.beyond else ["polarity"]
    return _culprit(first, name.rpartition("/")[0], name, fits)


def _rank(failure: Failure, order: list[str]) -> tuple[int, int, int]:
    """Earlier signals first; values before neurons, and both before the spikes that follow; drawn scenes first."""
    kinds, scenes = ("values", "neurons", "spikes", "models"), (DRAWN, DYADIC, WINDOWS, None)
    return order.index(str(failure.signal)), kinds.index(failure.kind), scenes.index(failure.scene)


def _computed(made: Mapping[str, tuple[str, str, list[str]]], tensor: str) -> tuple[str, str]:
    """The node, and its operator, that computed a tensor before it was only moved."""
    while tensor in made:
        name, operator, inputs = made[tensor]
        if operator in (*_LINEAR, *_POOLS, "Sigmoid") or not inputs:
            return name, operator
        tensor = inputs[0]
    return "", ""


def _culprit(failure: Failure, module: str, node: str, fits: list[str]) -> Culprit:
    return Culprit(model=failure.model, module=module, node=node, seen=failure.text, place=failure.place, fits=fits)
