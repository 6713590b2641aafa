"""Networks as users write them: neurons of the real libraries are recognised, replaced and proven."""

import itertools
import re
import shutil
import threading

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.verify.verifier import verify
from tcja_exporters import libraries
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.user_models.conversion import convert
from tcja_runtime.bundle.bundle import MODEL
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput

from ...deploy.parity import mutations
from ..peers import own, refused
from ..peers.own import CONTRACT, Altered, Returning, windows

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def made(name: str) -> tuple[nn.Module, str]:
    """A network by name, or a skip where this release of its library has no such neurons."""
    build, layout = own.NETWORKS[name]
    try:
        return own.awake(build()), layout
    except ImportError as error:
        if "clock_driven" not in str(error):
            raise
        pytest.skip("SpikingJelly 2 has no clock_driven")


QUICK = ("SpikingJelly activation_based, windows", "snnTorch, hidden states")
"""One of each library and of each layout."""


@pytest.mark.tensorrt
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in own.NETWORKS]
)
def test_it_is_exported_and_matches(name, tmp_path):
    network, layout = made(name)
    np.savez(tmp_path / "data.npz", frames=windows(6))
    request = ExportRequest(
        model=network, layout=layout, data=tmp_path / "data.npz", out=tmp_path / "own.bundle", target="tensorrt-rtx"
    )
    manifest, result = pipeline.export(request)
    assert result.met
    assert not result.silent
    assert result.backends[0].twins == ["model.onnx"]
    neurons = [layer for layer, _ in network.named_children() if layer.startswith("n")]
    assert [layer.name for layer in manifest.layers] == list(neurons)
    assert manifest.output_shape == (5,)
    assert manifest.engines
    nodes = [node.op_type for node in onnx.load(tmp_path / "own.bundle" / MODEL, load_external_data=False).graph.node]
    assert sum(nodes.count(product) for product in ("Conv", "Gemm", "MatMul")) <= 6  # not one for each time step
    assert any(line.startswith("float64: all spikes agree with the original's") for line in manifest.evidence)


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.parametrize(("name", "precision"), list(zip(own.NETWORKS, itertools.cycle(["int8", "fp16"]))))
def test_it_is_exported_in_lower_precision(name, precision, tmp_path):
    network, layout = made(name)
    np.savez(tmp_path / "data.npz", frames=windows(6))
    request = ExportRequest(
        model=network,
        layout=layout,
        data=tmp_path / "data.npz",
        out=tmp_path / "own.bundle",
        target="tensorrt-rtx",
        precision=precision,
        keep=("nothing",),
    )
    manifest, result = pipeline.export(request)
    assert result.met
    assert precision in {weight.type for weight in manifest.weights}
    (info,) = manifest.engines.values()
    assert info.products[{"fp16": "HALF", "int8": "INT8"}[precision]] > 0


@pytest.mark.parametrize("name", list(own.NETWORKS))
def test_a_stale_membrane_changes_nothing(name):
    network, layout = made(name)
    fresh = convert(network, CONTRACT, windows(), layout=layout)
    x = torch.from_numpy(windows(3, seed=1))
    network.train()
    network(x[:, 0] if layout == "step" else x.transpose(0, 1))  # with gradients, and without a reset
    network.eval()
    stale = convert(network, CONTRACT, windows(), layout=layout)
    with torch.no_grad():
        assert torch.equal(stale.model(x), fresh.model(x))
        assert torch.equal(stale.model(x), fresh.model(x))  # nor does a run of ours


def parallel(steps: int) -> nn.Module:
    from spikingjelly.activation_based import neuron

    if not hasattr(neuron, "PSN"):
        pytest.skip("this release of SpikingJelly has no PSN")
    nodes = [
        neuron.PSN(steps),
        neuron.MaskedPSN(2, steps, lambda_init=1.0, step_mode="m"),
        neuron.SlidingPSN(3, step_mode="m"),
        neuron.SlidingPSN(2, exp_init=False, step_mode="m"),
    ]
    network = own.awake(own.Window(*nodes))
    for node in nodes:
        node.bias.data.fill_(-0.3)
        node.weight.data.abs_()
    return network


@pytest.mark.slow
@pytest.mark.tensorrt
def test_parallel_neurons_have_no_loop(tmp_path):
    np.savez(tmp_path / "data.npz", frames=windows(6))
    network = parallel(own.T)
    request = ExportRequest(
        model=network, layout="TN", data=tmp_path / "data.npz", out=tmp_path / "own.bundle", target="tensorrt-rtx"
    )
    manifest, result = pipeline.export(request)
    assert result.met
    assert not result.silent
    assert [layer.name for layer in manifest.layers] == ["n1", "n2", "n3", "n4"]
    assert {"n1.weight", "n2.weight"} <= {weight.parameter for weight in manifest.weights if weight.left}
    for file in ("model.onnx", "model.plain.onnx"):
        nodes = onnx.load(tmp_path / "own.bundle" / file).graph.node
        assert len(nodes) < 45
        assert "Scan" not in {node.op_type for node in nodes}
        assert sum(node.op_type == "Gemm" for node in nodes) == 4


@pytest.mark.slow
def test_wrong_weights_of_parallel_neurons_are_caught(tmp_path):
    """Some weights and biases, by 1 %; the weights of a SlidingPSN are computed, and have no name of their own."""
    network, original = parallel(own.T), tmp_path / "own.bundle"
    pipeline.export(ExportRequest(model=network, shape=own.SHAPE, layout="TN", out=original, target="onnx"))
    assert verify(original).report.met
    for name, at in (("n1.weight", 0), ("n1.weight", 6), ("n1.bias", 3), ("n4.bias", 0)):

        def wrong(values, at=at):
            values.reshape(-1)[at] *= 1.01
            return values

        mutant = tmp_path / f"{name} {at}"
        shutil.copytree(original, mutant)
        mutations.change(mutant, mutations.edited(name, wrong))
        assert not verify(mutant).report.met, mutant.name


def test_parallel_neurons_are_made_for_a_number_of_steps():
    with pytest.raises(
        BadInput, match="'n1', 'n2' of SpikingJelly are made for T = 8, and a window has 4 time steps; "
    ):
        convert(parallel(2 * own.T), CONTRACT, windows(), layout="TN")


@pytest.mark.slow
@pytest.mark.parametrize("build", [own.snntorch_hidden, lambda: own.Step(*own.activation_based("s"))])
def test_the_model_of_a_network_that_takes_one_step_does_not_grow_with_the_steps(build):
    nodes = {}
    for steps in (3, 8):
        contract = InputContract.of((steps, *own.SHAPE[1:]))
        inputs = np.random.default_rng(0).poisson(1.0, (2, *contract.shape)).astype(np.float32)
        found = convert(own.awake(build()), contract, inputs, layout="step")
        assert f"called once for all {steps} time steps" in found.evidence[-1]
        model = export_onnx(found.model, contract, "rates", {"producer": "tests"}).model
        nodes[steps] = [node.op_type for node in model.graph.node]
    assert nodes[3] == nodes[8]
    assert nodes[3].count("Conv") == 2
    assert nodes[3].count("TcjaLif") == 4


class Changed(own.Step):
    """A network that changes its input in a way that is another one at each step, or with all steps at once."""

    def __init__(self, change) -> None:
        super().__init__(*own.activation_based("s"))
        self.change, self.step = change, 0

    def scale(self) -> float:
        self.step = self.step % own.T + 1
        return self.step / 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.change(self, x))


CHANGES = {
    "a scale for each step": (lambda net, x: x * net.scale(), "'n1' fires otherwise at time step 2 if all are"),
    "a batch of few": (
        lambda _net, x: x if len(x) <= 4 else x[:4],
        "'n1' gets currents of another shape if all steps|called with all of them at once, it fails: RuntimeError",
    ),
}


@pytest.mark.parametrize(("change", "why"), CHANGES.values(), ids=CHANGES)
def test_a_network_whose_steps_depend_on_each_other_is_called_step_by_step(change, why):
    found = convert(network := own.awake(Changed(change)), CONTRACT, windows(), layout="step")
    assert re.search(
        f"{CHECK}forward is called once for each of the 4 time steps, .* each step alone: ({why})", found.evidence[-1]
    )
    x = torch.from_numpy(windows(3, seed=1))
    libraries.reset(network)
    with torch.no_grad():
        expected = torch.stack([network(x[:, t]) for t in range(own.T)]).mean(0)
    assert expected.any()
    torch.testing.assert_close(found.model(x), expected)


def test_structures_that_cannot_be_exported_are_refused(tmp_path):
    def exported(name: str) -> None:
        build, layout = refused.NETWORKS[name]
        pipeline.export(
            ExportRequest(model=own.awake(build()), shape=own.SHAPE, layout=layout, out=tmp_path / "b", target="onnx")
        )

    with pytest.raises(BadInput, match="a spiking layer is recurrent: its current depends on its own spikes"):
        exported("a recurrent layer")
    with pytest.raises(
        BadInput, match=r"computes with the membrane of the neuron 'lif', and it resets its membrane \(to 0\)"
    ):
        exported("a membrane as output")
    with pytest.raises(BadInput, match="the neuron 'b' is the same module as 'a'; give each layer its own neuron"):
        exported("a neuron for two layers")
    assert not list(tmp_path.iterdir())


def test_the_layout_must_fit():
    network = own.awake(own.Window(*own.activation_based("m")))
    with pytest.raises(BadInput, match=r"the network fails on windows of shape \(4, 2, 8, 8\): .*; see `shape`"):
        convert(network, CONTRACT, windows(), layout="NT")
    with pytest.raises(
        BadInput,
        match="`layout` TN is for time steps, not for images; for features",
    ):
        convert(network, InputContract.of((2, 8, 8)), windows()[:, 0], layout="TN")
    with pytest.raises(BadInput, match=r"`shape` must be T,P,H,W \(frames\), C,H,W \(images\), .*, not 4"):
        InputContract.of((4,))


def test_windows_are_handed_over_as_a_loader_does_and_stay_as_they_are():
    inputs = windows()
    before = inputs.copy()
    network = own.awake(Altered(lambda x: x - 0.5))
    plain = convert(network, CONTRACT, inputs, layout="TN")
    network.alter = lambda x: x.view(-1).sub_(0.5).view(x.shape)
    found = convert(network, CONTRACT, inputs, layout="TN")
    with torch.no_grad():
        x = torch.from_numpy(inputs)
        assert torch.equal(found.model(x[:1]), plain.model(x[:1]))
    np.testing.assert_array_equal(inputs, before)


def holding(attribute: object) -> Altered:
    network = own.awake(Altered(lambda x: x))
    network.held = attribute
    return network


def masked() -> Altered:
    network = own.awake(Altered(lambda x: x * network.mask))
    network.mask = torch.linspace(0, 2, 64).view(8, 8)
    return network


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            lambda: own.awake(Altered(lambda x: x.float())),
            r"runs in float32 only, but the proof runs in float64 \(RuntimeError: .*; convert to the type of "
            r"the weights, not to a fixed type: x.to\(self.conv.weight.dtype\), not x.float\(\)",
        ),
        (masked, r"a tensor of the network \('mask'\) does not move with the network to another"),
        (
            lambda: own.awake(Altered(lambda x: x + torch.ones(8, device="cpu"))),
            r"a tensor of the network \(made in its forward\) does not move .*, and create tensors in forward with dev",
        ),
        (
            lambda: holding(threading.Lock()),
            "'held' of the network cannot be copied .*_thread.lock' object.; remove it first",
        ),
        (
            lambda: holding(torch.ones(1, requires_grad=True) * 2),
            r"'held' of the network cannot be copied .*detach\(\)",
        ),
    ],
)
def test_what_a_network_must_not_hold_or_fix_is_named(network, message):
    with pytest.raises(BadInput, match=message):
        convert(network(), CONTRACT, windows(), layout="TN")


class Reading(Returning):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.lif.v


class Again(Returning):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lif(super().forward(x))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Reading,
            "the network uses more than the spikes of its neurons, which cannot be exported: .* attribute 'v'",
        ),
        (Again, "the neuron 'lif' is called 2 times in a window; give each call its own neuron"),
    ],
)
def test_neurons_that_are_used_otherwise_are_refused(network, message):
    with pytest.raises(BadInput, match=message):
        convert(own.awake(network(lambda s: s)), CONTRACT, windows(), layout="TN")


def test_a_neuron_alone_is_no_network():
    with pytest.raises(BadInput, match=r"the network is only a neuron \(spikingjelly.IFNode\); put it into a network"):
        convert(own.activation_based("m")[0], CONTRACT, windows(), layout="TN")


def test_a_wrong_layout_is_not_taken_for_a_batch_that_matters():
    contract = InputContract.of((2, 2, 8, 8))
    network = own.awake(Returning(lambda s: s))
    with pytest.raises(
        BadInput, match="'lif' runs for 3 time steps, not 2; this looks like layout TN; give `layout` TN$"
    ):
        convert(network, contract, np.ones((2, 2, 2, 8, 8), np.float32), layout="NT")
    with pytest.raises(BadInput, match="`layout` XX must be one of NT, TN, step"):
        convert(network, contract, np.ones((2, 2, 2, 8, 8), np.float32), layout="XX")


class Looping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.lif = nn.Linear(128, 3), own.activation_based("s")[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.lif(self.a(frame.flatten(1))) for frame in x])


@pytest.mark.parametrize("steps", [1, 4])
def test_a_loop_over_the_other_axis_is_told_its_layout(steps):
    contract = InputContract.of((steps, 2, 8, 8))
    inputs = np.ones((2, *contract.shape), np.float32)
    with pytest.raises(
        BadInput, match=f"runs for 3 time steps, not {steps}; this looks like layout TN; give `layout` TN"
    ):
        convert(own.awake(Looping()), contract, inputs)
    assert convert(own.awake(Looping()), contract, inputs, layout="TN").time_steps == steps


def test_images_in_whole_numbers_are_divided_and_it_is_said():
    class Image(Returning):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.expand(4, *x.shape)).mean(0)

    inputs = np.random.default_rng(0).uniform(size=(2, 2, 8, 8)).astype(np.float32)
    found = convert(own.awake(Image(lambda s: s)), InputContract.of((2, 8, 8)), inputs)
    assert "images are in [0, 1]: images of integers are divided by 255" in found.evidence


def test_a_spiking_layer_that_leads_nowhere_is_named(tmp_path):
    network = own.awake(refused.Dead(*own.activation_based("m")))
    with pytest.raises(
        BadInput, match=r"the network's output does not depend on the spiking layer 'n2', so it is not in"
    ):
        pipeline.export(ExportRequest(model=network, shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx"))


@pytest.mark.slow
def test_neurons_that_are_never_called_do_no_harm(tmp_path):
    network = own.awake(own.Window(*own.activation_based("m")))
    network.spare = own.activation_based("m")[0]
    request = ExportRequest(model=network, shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx")
    manifest, _ = pipeline.export(request)
    assert not any("spare" in layer.name for layer in manifest.layers)


class Layered(own.Window):
    """With a layer on each step's features."""

    def __init__(self, layer: nn.Module, fold: int) -> None:
        super().__init__(*own.activation_based("m"))
        self.layer, self.fold = layer, fold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = own.merged(self.layer, self.n1(own.merged(self.conv1, x)))
        x = self.n2(own.merged(self.conv2, x[..., : 8 * self.fold : self.fold, : 8 * self.fold : self.fold]))
        return self.n4(self.fc2(self.n3(self.fc1(x.flatten(2)))))


@pytest.mark.parametrize(
    ("layer", "fold"),
    [
        pytest.param(nn.GroupNorm(2, 6), 1, marks=pytest.mark.slow),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 2),
        pytest.param(nn.GroupNorm(1, 6, affine=False), 1, marks=pytest.mark.slow),
        pytest.param(nn.Upsample(scale_factor=2), 2, marks=pytest.mark.slow),
    ],
)
def test_layers_whose_models_have_untyped_parts(layer, fold, tmp_path):
    network = own.awake(Layered(layer, fold))
    request = ExportRequest(model=network, shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx")
    assert pipeline.export(request)[1].met


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            refused.Branching,
            r"the network's forward looks at the values of tensors \(.*refused.py, line \d+\), which cannot",
        ),
        (refused.Exotic, "torch.onnx cannot export the network: .*linalg_eig"),
        (
            lambda *_: Altered(lambda x: x + nn.functional.adaptive_max_pool3d(x, 3).sum((2, 3, 4), True)),
            r"torch 2\..* cannot export adaptive_max_pool3d; torch does from 2.12 on, where the size of the result",
        ),
    ],
)
def test_what_torch_cannot_export_is_said_in_a_line(network, message, tmp_path):
    model = own.awake(network(*own.activation_based("m")))
    with pytest.raises(BadInput, match=message) as caught:
        pipeline.export(ExportRequest(model=model, shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx"))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
