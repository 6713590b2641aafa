"""Networks that answer with a membrane, from their code to the proof: nothing of the readout goes unjudged."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from tcja_deploy.cli import app
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_exporters import custom_op, libraries, time_forms
from tcja_exporters.modules.neurons import all_neurons
from tcja_exporters.user_models.conversion import convert
from tcja_runtime.bundle.bundle import GOLDEN, MODEL, PLAIN_MODEL, Bundle
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden
from tcja_runtime.evidence.stimulus import EXACT, RANDOM
from tcja_runtime.neuron import NeuronSpec

from ...exporters.peers.own import awake

SHAPE = (5, 2, 3, 4)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Readout(nn.Module):
    """Two neurons that are called once a time step; the answer is made of the membranes of the second one."""

    def __init__(self, hidden: nn.Module, out: nn.Module, answer) -> None:
        super().__init__()
        self.a, self.hidden, self.b, self.out, self.answer = nn.Linear(24, 16), hidden, nn.Linear(16, 3), out, answer

    def forward(self, x: Tensor) -> Tensor:
        seen, hidden, out = [], (None,), (None,)
        for frame in x:
            spikes, *hidden = self.hidden(self.a(frame.flatten(1)), *hidden)
            result, *out = self.out(self.b(spikes), *out)
            seen.append(self.answer(result, out))
        return torch.stack(seen)


class Windows(nn.Module):
    """Two neurons that take whole windows."""

    def __init__(self, hidden: nn.Module, out: nn.Module, answer) -> None:
        super().__init__()
        self.a, self.hidden, self.b, self.out, self.answer = nn.Linear(24, 16), hidden, nn.Linear(16, 3), out, answer

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.hidden(self.a(x.flatten(2)))
        result = self.out(self.b(spikes[0] if isinstance(spikes, tuple) else spikes))
        return self.answer(result, self.out)


def leaky_integrator() -> nn.Module:
    from norse.torch import LICell, LIFCell

    return Readout(LIFCell(), LICell(), lambda v, _: v)


def largest_over_time() -> nn.Module:
    from norse.torch import LI, LIF

    return Windows(LIF(), LI(), lambda made, _: made[0].amax(0))


def without_reset() -> nn.Module:
    import snntorch

    synaptic = snntorch.Synaptic(alpha=0.75, beta=0.5)
    return Readout(synaptic, snntorch.Leaky(beta=0.5, reset_mechanism="none"), lambda _, states: states[0])


def spikes_and_membranes() -> nn.Module:
    """The membrane of a neuron that also fires, which its spikes lower."""
    import snntorch

    return Readout(snntorch.Leaky(beta=0.5), snntorch.Leaky(beta=0.75), lambda spikes, states: states[0] + spikes)


def infinite_threshold() -> nn.Module:
    from spikingjelly.activation_based import neuron

    node = neuron.LIFNode(tau=3.0, v_threshold=float("inf"), v_reset=-0.25, step_mode="m")
    return Windows(neuron.IFNode(step_mode="m"), node, lambda _, out: out.v)


READOUTS = {
    "norse": (leaky_integrator, ["hidden.synapse", "out.synapse", "out.neuron"]),
    "norse, windows": (largest_over_time, ["hidden.synapse", "out.synapse", "out.neuron"]),
    "snnTorch": (without_reset, ["hidden.synapse", "out"]),
    "snnTorch, spikes too": (spikes_and_membranes, ["out.membrane"]),
    "SpikingJelly": (infinite_threshold, ["out.integrator"]),
}
QUICK = ("snnTorch",)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in READOUTS],
)
def exported(request, tmp_path_factory):
    """The folder of a bundle, and the names of its integrators."""
    build, integrators = READOUTS[request.param]
    out = tmp_path_factory.mktemp("readout") / "own.bundle"
    request = ExportRequest(
        model=awake(build()), shape=SHAPE, layout="TN", out=out, target="onnx", samples=2, anytime=0
    )
    manifest, report = pipeline.export(request)
    assert report.met
    assert [layer.name for layer in manifest.integrators] == integrators
    return out, integrators


def changed(bundle, apply, to) -> None:
    """Copy a bundle, and change the models of the copy as a faulty exporter would."""
    shutil.copytree(bundle, to)
    manifest = Bundle.open(to).manifest
    model = onnx.load(to / MODEL)
    apply(model)
    plain = time_forms.lower(model)
    for file in (PLAIN_MODEL, MODEL):
        onnx.save(plain, to / file)
    write_manifest(to, manifest)


def test_a_wrong_constant_of_an_integrator_fails(exported, tmp_path, capsys):
    bundle, integrators = exported
    assert app.run(["verify", str(bundle)]) == 0
    capsys.readouterr()
    for name in integrators:
        for constant in ("decay", "gain"):

            def apply(model, name=name, constant=constant) -> None:
                node = next(node for node in model.graph.node if node.name == f"{name}/{custom_op.NAME}")
                spec = custom_op.spec_of(node)
                fields = {constant: getattr(spec, constant) * 0.99, "charge_order": "linear", "rate": 0.0, "tau": None}
                fields["v_rest"] = spec.v_reset
                other = dataclasses.replace(spec, **fields)
                del node.attribute[:]
                found = onnx.helper.make_node(custom_op.NAME, [], [], **custom_op.attributes(other))
                node.attribute.extend(found.attribute)

            wrong = tmp_path / f"{name} {constant}.bundle"
            changed(bundle, apply, wrong)
            assert app.run(["verify", str(wrong), "--bisect", "--json"]) == 1
            said = capsys.readouterr()
            culprit = json.loads(said.out)["culprit"]
            assert f"{name} in model.plain.onnx does not integrate as its neurons do" in said.err
            assert culprit["module"] == name
            assert culprit["node"].startswith(f"{name}/")
            assert any(fit.startswith(constant) for fit in culprit["fits"]), culprit


def test_membranes_are_compared_with_rounding_bounds(exported):
    """Also on the windows. The bounds are small; where powers of two round nothing, they are 0."""
    bundle, integrators = exported
    manifest = Bundle.open(bundle).manifest
    vectors = golden.load(bundle / GOLDEN, manifest.input)
    scenes = [vectors.scenes[name] for name in (RANDOM, EXACT)]  # that of the range has what the input alone decides
    for reference in (vectors.recorded, *scenes):
        for name in integrators:
            witnesses = reference.witnesses[name]
            assert np.abs(witnesses.values).max() > 0.1
            assert (
                0 < witnesses.bounds.max() < 1e-3 * np.abs(witnesses.values).max() or reference is vectors.scenes[EXACT]
            )
    exact = [layer for layer in manifest.integrators if layer.neuron.multiplies_exactly]
    for layer in exact:
        assert not vectors.scenes[EXACT].witnesses[layer.name].bounds.any()
    assert exact or "out" not in integrators


@pytest.mark.slow
@pytest.mark.rtx
def test_an_engine_is_built_and_a_step_at_a_time_is_the_same(tmp_path, capsys):
    build, integrators = READOUTS["norse, windows"]
    request = ExportRequest(
        model=awake(build()),
        shape=SHAPE,
        layout="TN",
        out=tmp_path / "own.bundle",
        target="tensorrt-rtx",
        samples=2,
        streaming=True,
    )
    manifest, report = pipeline.export(request)
    assert report.met
    assert report.stepwise
    assert not report.stepwise.failures
    assert manifest.engines
    assert {state.layer for state in manifest.streaming.states} == {*integrators, "hidden.neuron"}
    assert manifest.time_form.forms == dict.fromkeys(["hidden.neuron", *integrators], "fused")


def test_what_the_spikes_set_to_zero_is_no_output():
    import snntorch

    network = Readout(snntorch.Leaky(beta=0.5), snntorch.Leaky(beta=0.5, reset_mechanism="zero"), lambda _, s: s[0])
    inputs = np.random.default_rng(0).poisson(1.0, (2, *SHAPE)).astype(np.float32)
    said = r"computes with the membrane of the neuron 'out', and it resets its membrane \(to 0\) by more than a sub"
    with pytest.raises(BadInput, match=said):
        convert(awake(network), InputContract.of(SHAPE), inputs, layout="TN")


class Own(nn.Module):
    """A leaky neuron of one's own, which returns its membrane, too; its spikes may subtract the threshold."""

    def __init__(self, reset: str) -> None:
        super().__init__()
        self.spec = NeuronSpec.leaky(decay_input=True, rate=0.25, strict=True, reset=reset)

    def forward(self, x: Tensor, v: Tensor | None):
        v = torch.zeros_like(x) if v is None else v
        h = v + (x - v) * 0.25
        spikes = (h > 1).to(x)
        return spikes, h - spikes if self.spec.reset == "soft" else h


@pytest.mark.parametrize("reset", ["soft", "none"])
def test_a_membrane_that_leaks_and_is_lowered_is_no_output(reset, monkeypatch):
    """The reason is its charge, not its reset, which subtracts. Without a reset, the membrane is an integrator."""
    import snntorch

    monkeypatch.setattr(libraries, "_registered", {})
    libraries.register(Own, lambda own: own.spec)
    network = Readout(snntorch.Leaky(beta=0.5), Own(reset), lambda spikes, states: states[0] + spikes)
    inputs = np.random.default_rng(0).poisson(1.0, (2, *SHAPE)).astype(np.float32)
    said = r"of the neuron 'out', and its charge is h = v \+ \(x - v\) \* 0.25; a membrane that spikes lower can"
    with pytest.raises(BadInput, match=said) if reset == "soft" else contextlib.nullcontext():
        found = convert(awake(network), InputContract.of(SHAPE), inputs, layout="TN")
        assert set(all_neurons(found.model)) == {"hidden", "out", "out.membrane"}


class Both(Readout):
    """Returns the spikes and the membranes of each step, as the tutorials of snnTorch do."""

    def forward(self, x: Tensor):
        seen, mem = [], (None, None)
        for frame in x:
            spikes, hidden = self.hidden(self.a(frame.flatten(1)), mem[0])
            mem = hidden, self.out(self.b(spikes), mem[1])[1]
            seen.append((spikes, mem[1]))
        return {"spikes": torch.stack([s for s, _ in seen]), "mem": torch.stack([m for _, m in seen])}


def test_one_of_several_values_is_the_output(tmp_path):
    import snntorch

    network = awake(Both(snntorch.Leaky(beta=0.5), snntorch.Leaky(beta=0.5, reset_mechanism="none"), None))
    options = {"model": network, "shape": SHAPE, "layout": "TN", "target": "onnx", "samples": 2, "anytime": 0}
    with pytest.raises(BadInput, match="returns a dict with the keys spikes, mem; choose the output with `output`"):
        pipeline.export(ExportRequest(**options, out=tmp_path / "a.bundle"))
    manifest, report = pipeline.export(ExportRequest(**options, out=tmp_path / "b.bundle", output="mem"))
    assert report.met
    assert manifest.output_shape == (3,)
    assert "the output is the value mem of those that its forward returns, as chosen" in manifest.evidence
