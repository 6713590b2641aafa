"""A wrong constant of any kind of neuron fails the check of the neurons alone, in ONNX Runtime."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import onnx
import pytest

from tcja_deploy.parity.checks import misfires, misintegrates
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.probe import Probe
from tcja_runtime.bundle.network_signature import Layer, NetworkSignature
from tcja_runtime.constant_arrays import ConstantArray, array_of, constant
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.neuron_rules import RESET_KINDS

from ...exporters.time_forms.one_layer import SPIKES, model

STEPS, SHAPE = 6, (3, 4, 4)
SHARE = 1e-4
"""By how much a constant is wrong, as a share of it."""
BY_CHANNEL = np.array([0.5, 1.0, 1.5]).reshape(3, 1, 1)
KINDS = {
    "decayed": NeuronSpec.leaky(decay_input=True, tau=2.0),
    "decayed, divided, v_reset": NeuronSpec.leaky(decay_input=True, tau=3.0, v_reset=-0.25),
    "leaky, by its rate, soft": NeuronSpec.leaky(decay_input=False, rate=0.3, reset="soft", threshold=0.7),
    "linear, all constants": NeuronSpec.linear(
        decay=0.75, gain=1.5, bias=0.125, strict=False, v_reset=-0.5, v_initial=0.25
    ),
    "integrate and fire": NeuronSpec.linear(decay=1.0, strict=False),
    "soft": NeuronSpec.linear(decay=0.5, strict=True, reset="soft"),
    "late": NeuronSpec.linear(decay=0.9, strict=True, reset="late"),
    "refractory": NeuronSpec.linear(decay=0.9, strict=True, reset="refractory"),
    "none": NeuronSpec.linear(decay=0.5, strict=True, reset="none"),
    "parallel": NeuronSpec.linear(decay=0.0, threshold=0.0, strict=False, reset="none"),
    "a spike of an integer neuron": NeuronSpec.linear(decay=0.0, threshold=2.5, gain=2.0, strict=True, reset="none"),
    "KLIF": dataclasses.replace(NeuronSpec.leaky(decay_input=True, tau=2.0, v_reset=-0.2), slope=1.25),
    "KLIF, rescales": dataclasses.replace(
        NeuronSpec.leaky(decay_input=False, tau=2.0, reset="soft"), slope=1.25, rescales=True
    ),
    "integrator": NeuronSpec.leaky(decay_input=True, rate=0.3, strict=True, v_initial=0.5).integrator(),
    "integrator, all constants": NeuronSpec.linear(decay=0.9, gain=0.7, bias=0.1, strict=True).integrator(),
    "by channel": NeuronSpec.linear(decay=0.5 * BY_CHANNEL, threshold=BY_CHANNEL, strict=True),
}
QUICK = ("linear, all constants", "parallel", "KLIF", "integrator", "by channel")


def mutations(spec: NeuronSpec) -> Iterator[tuple[str, NeuronSpec]]:
    """The neuron with each constant and each rule changed that it computes with, and what was changed."""
    leak = "tau" if spec.tau is not None else "rate"
    names = ["decay", "gain", "bias"] if spec.charge_order == "linear" else [leak]
    names += [] if spec.integrates else ["threshold"]
    names += [] if spec.instant else ["v_initial"]
    if spec.threshold == 0 and spec.instant and not spec.bias:  # the gain of a current does not change its sign
        names.remove("gain")
    names += ["v_reset"] if spec.reset == "hard" else []
    names += [] if spec.slope is None else ["slope"]
    for name in names:
        value = getattr(spec, name)
        if isinstance(value, ConstantArray):
            changed = value.array.copy()
            changed[-1] *= 1 - SHARE
        else:
            changed = float(array_of(value)) * (1 - SHARE) or SHARE
        wrong = {name: constant(name, changed)}
        if name == leak:  # what follows from it changes, too
            rate = changed if leak == "rate" else 1 / changed
            gain = rate if spec.charge_order == "decayed" else 1.0
            wrong |= {"rate": rate, "decay": 1 - rate, "gain": gain, "bias": rate * array_of(spec.v_rest)}
        if name == "v_reset" and spec.charge_order == "linear":
            wrong["v_rest"] = changed
        yield name, dataclasses.replace(spec, **wrong)
    if spec.integrates:
        return
    yield "strict", dataclasses.replace(spec, strict=not spec.strict)
    if spec.rescales:
        yield "rescales", dataclasses.replace(spec, rescales=False)
    for reset in () if spec.instant else RESET_KINDS:
        linear = spec.charge_order == "linear" and spec.slope is None
        possible = (reset == "hard" or not spec.v_reset) and (reset not in ("late", "refractory") or linear)
        if reset != spec.reset and possible and not (spec.rescales and reset == "none"):
            yield reset, dataclasses.replace(spec, reset=reset)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow) for kind in KINDS]
)
def test_a_wrong_constant_of_every_kind_of_neuron_is_caught(kind, tmp_path):
    spec = KINDS[kind]
    layer = Layer(name="layer", shape=SHAPE, neuron=spec)
    signature = NetworkSignature(
        input=InputContract.of((STEPS, *SHAPE)),
        output=SPIKES,
        output_shape=SHAPE,
        time_steps=STEPS,
        layers=[] if spec.integrates else [layer],
        integrators=[layer] if spec.integrates else [],
    )

    def found(neuron: NeuronSpec) -> str:
        file = tmp_path / "model.onnx"
        onnx.save(model(neuron, "scan", STEPS, neurons=SHAPE), file)
        opened = functools.partial(OnnxRuntimeSession.open, file, backend="onnxruntime")
        check = misintegrates if spec.integrates else misfires
        return check(Probe(file.name, "ONNX Runtime", opened, signature), layer, STEPS)

    assert not found(spec)
    changed = dict(mutations(spec))
    said = f"does not {'integrate' if spec.integrates else 'fire'} as its neurons do"
    assert [name for name, wrong in changed.items() if said not in found(wrong)] == []
    assert len(changed) > 1
