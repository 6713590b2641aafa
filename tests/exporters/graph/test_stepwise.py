"""Head and tail against the whole network in ONNX Runtime: the same spikes and the same answers, to the bit."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from tcja_exporters import custom_op
from tcja_exporters.graph import stepwise
from tcja_exporters.graph.export import export_onnx, with_pass
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.modules.attention import attention
from tcja_exporters.modules.layers import PerStep, Readout
from tcja_exporters.modules.neurons import SpikingNeuron, SteppedNeuron, spiking_neurons
from tcja_exporters.passes.base import PassResult
from tcja_exporters.precision import calibrate, lowered
from tcja_exporters.reference.recorder import layers
from tcja_exporters.user_models.conversion import convert
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.model_file.model import WEIGHTS
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.tensorrt import build
from tcja_runtime.tensorrt.build import BuildRequest

from ... import networks
from ..peers import own
from ..peers.joined import check_in_any_order
from ..peers.streamed import pushed, split

FAMILIES = [
    pytest.param(small, id=name, marks=[] if name == "dvs128" else pytest.mark.slow)
    for name, small in networks.REGISTRY.items()
    if name not in ("fashion_mnist", "ms_resnet")
]
IMAGES = networks.REGISTRY["fashion_mnist"]

FRAMES = InputContract.frames(5, 8, 8)
LIF = NeuronSpec.leaky(decay_input=True, tau=2.0)
NEURONS = {
    "hard": LIF,
    "hard, strict": NeuronSpec.linear(decay=0.5, strict=True),
    "hard to -0.5": NeuronSpec.leaky(decay_input=True, tau=3.0, v_reset=-0.5),
    "hard to 0.25, leaky": NeuronSpec.leaky(decay_input=False, rate=0.3, v_reset=0.25),
    "soft": NeuronSpec.linear(decay=0.9, gain=0.7, bias=0.1, strict=False, reset="soft"),
    "late": NeuronSpec.linear(decay=0.9, strict=True, reset="late"),
    "refractory": NeuronSpec.linear(decay=0.9, strict=True, reset="refractory"),
    "none": NeuronSpec.linear(decay=0.6, strict=False, reset="none", threshold=0.7),
}


def counts(n: int, contract: InputContract = FRAMES, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(1.0, (n, *contract.shape)).astype(np.float32)


@pytest.mark.parametrize("small", FAMILIES)
def test_every_network_with_frames(small, tmp_path):
    contract = small.network.contract(small.sizes)
    both = split(small.module(), contract, tmp_path)
    windows = small.inputs(3).numpy()
    np.testing.assert_array_equal(pushed(both.streams(3), windows), both.whole(windows)[0])
    expected, found = both.spikes(windows), both.head_spikes(windows)
    assert len(found) >= 2
    for layer, spikes in expected.items():
        assert spikes.any()
        np.testing.assert_array_equal(found[layer], spikes, err_msg=layer)
    check_in_any_order(both, small.inputs(6, seed=1).numpy())


@pytest.mark.parametrize("name", ["snnTorch, hidden states", pytest.param("snnTorch, loop", marks=pytest.mark.slow)])
def test_a_network_of_ones_own_that_takes_one_step_or_loops_over_time(name, tmp_path):
    build, layout = own.NETWORKS[name]
    module = convert(own.awake(build()), own.CONTRACT, own.windows(), layout=layout).model
    both, windows = split(module, own.CONTRACT, tmp_path), own.windows(3, seed=1)
    assert [state.layer for state in both.split.streaming.states] == [
        layer.name for layer in layers(module, own.CONTRACT)
    ]
    assert [feature.shape for feature in both.split.streaming.features] == [(5,)]
    np.testing.assert_array_equal(pushed(both.streams(3), windows), both.whole(windows)[0])
    for layer, spikes in both.spikes(windows).items():
        assert spikes.any()
        np.testing.assert_array_equal(both.head_spikes(windows)[layer], spikes, err_msg=layer)


@pytest.fixture(
    scope="module",
    params=[pytest.param(0, id="time first"), pytest.param(1, id="windows first", marks=pytest.mark.slow)],
)
def exported(request) -> tuple[networks.Streamable, Exported]:
    module = networks.streamable(LIF, time_axis=request.param)
    return module, export_onnx(module, FRAMES, "logits", {"producer": "tests", "T": "5"})


@pytest.mark.parametrize("spec", NEURONS.values(), ids=NEURONS)
def test_every_reset(spec, exported, tmp_path):
    module, plain = exported

    def with_neurons(graph: gs.Graph) -> PassResult:
        for node in graph.nodes:
            if node.op == custom_op.NAME:
                node.attrs.update(custom_op.attributes(spec))
        return PassResult(0)

    for neuron in spiking_neurons(module).values():
        neuron.spec = spec
    both = split(module, FRAMES, tmp_path, with_pass(plain, "neurons", with_neurons, plain.weights))
    assert [state.start for state in both.split.streaming.states] == [spec.v_reset] * 2
    windows = counts(4)
    expected, found = both.spikes(windows), both.head_spikes(windows)
    for layer, spikes in expected.items():
        assert 0.02 < spikes.mean() < 0.98
        np.testing.assert_array_equal(found[layer], spikes, err_msg=layer)
    streams = both.streams(4)
    for again in range(2):  # the second window of a stream starts from rest, too
        windows = counts(4, seed=again)
        np.testing.assert_array_equal(pushed(streams, windows), both.whole(windows)[0])
    if spec.v_initial:  # the joined model begins there by itself
        check_in_any_order(both, counts(6, seed=2))


@pytest.mark.parametrize(
    ("pool", "precision"),
    [
        pytest.param(nn.AvgPool2d(2), "int8", id="int8, average", marks=pytest.mark.slow),
        pytest.param(nn.MaxPool2d(2), "fp16", id="fp16, maximum", marks=pytest.mark.slow),
        pytest.param(nn.AvgPool2d(2), "fp16", id="fp16, average", marks=pytest.mark.slow),
        pytest.param(nn.MaxPool2d(2), "int8", id="int8, maximum", marks=pytest.mark.slow),
    ],
)
def test_lower_precision(precision, pool, tmp_path):
    """In onnx's evaluator: ONNX Runtime leaves some roundings to half out, in each model others."""
    module = networks.streamable(LIF, pool=pool)
    exported = export_onnx(module, FRAMES, "logits", {"producer": "tests"})
    modules = {weight.module for weight in exported.weights if ".conv" not in weight.module}
    scales = calibrate(module, modules, [counts(4)], lambda _n: None) if precision == "int8" else {}
    both = split(module, FRAMES, tmp_path, lowered(module, exported, precision, set(), scales).exported)
    states = both.split.streaming.states
    windows = counts(2)
    v = {f"{s.layer}/v": np.full((2, *s.shape), s.start, np.float32) for s in states}
    steps = []
    for frame in np.moveaxis(windows, 1, 0):
        steps.append(evaluated(both.split.head, {"frame": frame, **v}))
        v = {f"{s.layer}/v": steps[-1][f"{s.layer}/v_next"] for s in states}
    kept = {name: np.stack([made[name] for made in steps], 1) for name in steps[0] if name.endswith("/kept")}
    expected = evaluated(both.exported.plain, {"frames": windows})["logits"]
    np.testing.assert_array_equal(evaluated(both.split.tail, kept)["logits"], expected)
    check_in_any_order(both, counts(6, seed=1))
    kinds = {tensor.data_type for part in both.split.models.values() for tensor in part.graph.initializer}
    assert {"fp16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.INT8}[precision] in kinds


def evaluated(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [value.name for value in model.graph.output]
    model.opset_import[0].version = 19  # it has no older DequantizeLinear, which is the same
    return dict(zip(names, ReferenceEvaluator(model).run(names, feeds), strict=True))


@pytest.mark.slow
def test_a_maximum_pooling_is_done_ahead_of_the_gate_and_another_one_is_not(tmp_path):
    pooled = split(networks.streamable(LIF), FRAMES, tmp_path).split.streaming
    assert [feature.shape for feature in pooled.features] == [(8, 4, 4), (8,)]
    (tmp_path / "average").mkdir()
    average = split(networks.streamable(LIF, pool=nn.AvgPool2d(2)), FRAMES, tmp_path / "average")
    assert [feature.shape for feature in average.split.streaming.features] == [(8, 8, 8), (8,)]
    windows = counts(2)
    np.testing.assert_array_equal(pushed(average.streams(2), windows), average.whole(windows)[0])


def test_without_attention_the_readout_is_what_is_left(tmp_path):
    body = nn.Sequential(PerStep(nn.Conv2d(2, 4, 3)), SpikingNeuron(LIF), nn.Flatten(2), PerStep(nn.Linear(144, 3)))
    module = Frames(body, Readout()).eval()
    both = split(module, FRAMES, tmp_path)
    assert [feature.shape for feature in both.split.streaming.features] == [(3,)]
    assert [node.op_type for node in both.split.tail.graph.node][-1] == "ReduceMean"
    assert len(both.split.tail.graph.node) <= 5
    windows = counts(2)
    np.testing.assert_array_equal(pushed(both.streams(2), windows), both.whole(windows)[0])


@pytest.mark.slow
def test_shapes_that_the_exporter_has_not_noted(tmp_path):
    """Of a matrix product whose steps and windows are two axes, as networks of one's own have."""
    body = nn.Sequential(PerStep(nn.Conv2d(2, 4, 3)), SpikingNeuron(LIF), nn.Flatten(2), nn.Linear(144, 3))
    both = split(Frames(body, Readout()).eval(), FRAMES, tmp_path)
    assert [feature.shape for feature in both.split.streaming.features] == [(3,)]
    windows = counts(2)
    np.testing.assert_array_equal(pushed(both.streams(2), windows), both.whole(windows)[0])


@pytest.mark.slow
def test_answers_of_each_step(tmp_path):
    """A network that returns what it answers at each step mixes none."""
    body = nn.Sequential(PerStep(nn.Conv2d(2, 4, 3)), SpikingNeuron(LIF), nn.Flatten(2), PerStep(nn.Linear(144, 3)))
    module = Frames(body, Readout()).eval()
    module.readout.per_step = True  # as --per-step does
    both = split(module, FRAMES, tmp_path)
    windows = counts(2)
    np.testing.assert_array_equal(pushed(both.streams(2), windows), both.whole(windows)[0])


class Frames(nn.Module):
    """Takes [N, T, ...], and is [T, N, ...] inside."""

    def __init__(self, body: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.body, self.readout = body, readout

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.readout(self.body(frames.transpose(0, 1)))
        return answer


def test_both_models_are_as_the_others(tmp_path):
    """Standard operators, IR version, metadata, and every weight stored once."""
    both = split(networks.streamable(LIF), FRAMES, tmp_path)
    stored = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / "alone").mkdir()
    save(both.exported, tmp_path / "alone")
    assert stored == (tmp_path / "alone" / WEIGHTS).read_bytes()
    for file, part in ((HEAD, "head"), (TAIL, "tail")):
        onnx.checker.check_model(tmp_path / file, full_check=True)
        model = onnx.load(tmp_path / file, load_external_data=False)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
        assert {node.domain for node in model.graph.node} == {""}
        assert not model.functions
        assert model.ir_version == 8
        assert {p.key: p.value for p in model.metadata_props} == {"producer": "tests", "T": "5", "part": part}
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert all(node.op_type != "Scan" for node in both.split.head.graph.node)


def refused(module: nn.Module, contract: InputContract) -> str:
    exported = export_onnx(module.eval(), contract, "logits", {"producer": "tests"})
    with pytest.raises(BadInput) as caught:
        stepwise.split(exported, contract, layers(module, contract))
    return str(caught.value)


def test_images_are_refused():
    said = refused(IMAGES.module(), IMAGES.network.contract(IMAGES.sizes))
    assert said == "the network takes images, which have no frames to stream; leave `streaming` out"


def test_a_window_of_one_step_is_refused():
    body = nn.Sequential(PerStep(nn.Conv2d(2, 4, 3)), SpikingNeuron(LIF), nn.Flatten(2))
    said = refused(Frames(body, Readout()), InputContract.frames(1, 8, 8))
    assert said == "a window of the network is one time step, with nothing to stream; leave `streaming` out"


def test_a_network_that_mixes_steps_first_is_refused():
    body = nn.Sequential(*attention("tcja", (3, 2), 5, 2), PerStep(nn.Conv2d(2, 4, 3)), SpikingNeuron(LIF))
    body.append(nn.Flatten(2))
    said = refused(Frames(body, Readout()), FRAMES)
    assert said.startswith("`streaming`: 'body.0.conv' mixes time steps and is before every spiking layer, so ")
    assert said.endswith(
        "no step can be computed before the window is complete; make it work step by step, or leave `streaming` out"
    )


class Loop(nn.Module):
    """Layers that are called for each time step in a loop, with another scale at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif = nn.Conv2d(2, 4, 3), SteppedNeuron(LIF)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.lif.restart()
        return torch.stack([self.lif(self.conv(step * (t + 1))).flatten(1) for t, step in enumerate(x)])


def test_a_loop_whose_steps_differ_is_refused_with_what_to_write():
    said = refused(Frames(Loop(), Readout()), FRAMES)
    assert re.fullmatch(
        "`streaming`: '[^']+' takes single time steps out of the window, because the models have some operations once "
        "for each time step, which the export names; compute the same at each step, or leave `streaming` out",
        said,
    )


@pytest.mark.tensorrt
@pytest.mark.rtx
def test_nvidias_builder_takes_both(tmp_path):
    split(networks.streamable(LIF), FRAMES, tmp_path)
    for file in (HEAD, TAIL):
        built = build.build(
            BuildRequest(
                model=tmp_path / file, engines=tmp_path / f"{file} engine", target="tensorrt-rtx", precision="fp32"
            )
        )
        assert built.info.layers > 5
