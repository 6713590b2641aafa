"""Loops over time in a network's forward: the model computes all steps at once, as torch does one after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tcja_exporters.graph.export import export_onnx
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.graph.rolling import AT_ONCE, ROLLING
from tcja_exporters.modules.neurons import SteppedNeuron
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec

SPECS = (
    NeuronSpec.linear(decay=0.9, threshold=0.6, strict=True, reset="late"),
    NeuronSpec.leaky(decay_input=False, tau=2.0, threshold=0.5),
)


class Loop(nn.Module):
    """Layers and two neurons, and a forward that loops over time; `steps` is T."""

    def __init__(self, steps: int, forward: Callable[[Loop, Tensor], Tensor]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.fc, self.fc2 = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(96, 8), nn.Linear(8, 3)
        self.image, self.drop = nn.Linear(128, 96), nn.Dropout(0.5)
        self.a, self.b = map(SteppedNeuron, SPECS)
        self.steps, self.loop = steps, forward
        for parameter in self.parameters():
            if parameter.ndim > 1:
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.data = drawn * 2 / parameter[0].numel() ** 0.5
        self.norm.running_mean.uniform_(-1, 1, generator=generator)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.a.restart()
        self.b.restart()
        return self.loop(self, x)


def running_sum(net: Loop, x: Tensor) -> Tensor:
    x, total = x.transpose(0, 1), 0
    for t in range(net.steps):
        s = net.a(net.norm(net.conv(x[t])))
        s = nn.functional.max_pool2d(net.conv2(s) + s, 2)
        total = total + net.b(net.fc(net.drop(s).flatten(1)))
    return total / net.steps


def same_image(net: Loop, x: Tensor) -> Tensor:
    fired = []
    for _ in range(net.steps):
        s = net.a(torch.relu(net.image(x[:, 0].flatten(1))))
        fired.append(net.b(net.fc(s)))
    return torch.stack(fired).mean(0)


def windows_first(net: Loop, x: Tensor) -> Tensor:
    fired = [net.b(net.fc(net.a(net.image(x[:, t].flatten(1) / 2)))) for t in range(net.steps)]
    return net.fc2(torch.stack(fired, 1)).mean(1)


def frames(net: Loop, x: Tensor) -> Tensor:
    return torch.stack([net.b(net.fc(net.a(net.image(frame.flatten(1))))) for frame in x.transpose(0, 1)]).sum(0)


def neuron_behind_neuron(net: Loop, x: Tensor) -> Tensor:
    total = torch.zeros(x.shape[0], 96)
    for t in range(net.steps):
        total = net.b(net.a(net.image(x[:, t].flatten(1)))) + total
    return total


def exported(loop: Callable[[Loop, Tensor], Tensor], steps: int) -> tuple[Loop, InputContract, Exported]:
    network, contract = Loop(steps, loop), InputContract.frames(steps, 8, 8)
    return network, contract, export_onnx(network, contract, "rates", {"producer": "tests", "T": str(steps)})


def check(network: Loop, contract: InputContract, found: Exported, folder) -> None:
    """The models compute in ONNX Runtime what torch computes in its loop."""
    save(found, folder)
    windows = np.random.default_rng(0).poisson(1.0, (3, *contract.shape)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(windows)).numpy()
    assert len(np.unique(expected)) > 2
    for model in (MODEL, PLAIN_MODEL):
        for n in (1, 3):
            session = OnnxRuntimeSession.open(folder / model)
            np.testing.assert_allclose(session.run({"frames": windows[:n]})["rates"], expected[:n], rtol=0, atol=1e-5)


LOOPS = [running_sum, same_image, windows_first, frames, neuron_behind_neuron]


@pytest.mark.parametrize("loop", [pytest.param(f, marks=[] if f is running_sum else pytest.mark.slow) for f in LOOPS])
def test_the_model_does_not_grow_with_the_steps(loop, tmp_path):
    operators = {}
    for steps in (3, 6):
        network, contract, found = exported(loop, steps)
        (report,) = (each for each in found.passes if each["name"] == ROLLING)
        assert (report["exact"], report["note"]) == (False, AT_ONCE)
        operators[steps] = sorted(node.op_type for node in found.model.graph.node)
    assert operators[3] == operators[6]
    assert len(operators[3]) < 20
    assert operators[3].count("Gather") == (loop is same_image)
    check(network, contract, found, tmp_path)


def scaled(net: Loop, x: Tensor) -> Tensor:
    fired = [net.b(net.fc(net.a(net.image(x[:, t].flatten(1) * (t + 1) / 4)))) for t in range(net.steps)]
    return torch.stack(fired).mean(0)


def sum_of_values(net: Loop, x: Tensor) -> Tensor:
    total = torch.zeros(x.shape[0], 3)
    for t in range(net.steps):
        total = total + net.fc2(net.b(net.fc(net.a(net.image(x[:, t].flatten(1))))))
    return total


def stacked_and_added(net: Loop, x: Tensor) -> Tensor:
    total, kept = torch.zeros(x.shape[0], 3), []
    for t in range(net.steps):
        kept.append(net.fc2(net.b(net.fc(net.a(net.image(x[:, t].flatten(1)))))))
        total = total + kept[-1]
    return total + torch.stack(kept).amax(0)


def whole_batch(net: Loop, x: Tensor) -> Tensor:
    fired = [net.b(net.fc(net.a(net.image((x[:, t] - x[:, t].sum() * 0).flatten(1))))) for t in range(net.steps)]
    return torch.stack(fired).mean(0)


@pytest.mark.parametrize(
    ("loop", "products", "note"),
    [
        (
            scaled,
            3 + 1,
            "operations of 'Mul', 'Div', 'image' once for each time step: their operations or constants differ",
        ),
        (
            sum_of_values,
            3,
            "operations of 'Add' once for each time step: they take several time steps, or are not known",
        ),
        (stacked_and_added, 3, "operations of 'Add' once for each time step: they take several time steps"),
        (
            whole_batch,
            3 + 1,
            "operations of 'ReduceSum', 'Sub' once for each time step: they take several time steps, or are not known",
        ),
    ],
)
@pytest.mark.slow
def test_what_differs_by_step_stays_and_is_named(loop, products, note, tmp_path):
    network, contract, found = exported(loop, 3)
    assert sum(node.op_type in ("Gemm", "MatMul") for node in found.model.graph.node) == products
    (report,) = (each for each in found.passes if each["name"] == ROLLING)
    assert note in report["note"]
    check(network, contract, found, tmp_path)
