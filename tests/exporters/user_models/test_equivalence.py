"""What a user's network must not do beside its neurons, or the converted one would be another."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.libraries import register
from tcja_exporters.user_models.conversion import convert
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec

from ..peers import own
from ..peers.own import CONTRACT, Altered, windows

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.parametrize(
    "alter",
    [lambda x: x - x.mean(dim=1, keepdim=True), lambda x: x / x.max(), lambda x: x / x.sum(1, keepdim=True).max()],
)
@pytest.mark.parametrize("inputs", [windows(), windows(1), np.repeat(windows(1), 2, axis=0)], ids=["3", "1", "equal"])
def test_windows_must_not_change_with_their_batch(alter, inputs):
    with pytest.raises(BadInput, match="'n1' fires differently for a window alone and in a batch; the windows"):
        convert(own.awake(Altered(alter)), CONTRACT, inputs, layout="TN")


@pytest.mark.parametrize(
    "alter",
    [
        lambda x: (torch.rand_like(x) < x).to(x),
        lambda x: nn.functional.dropout(x, 0.5),
        lambda x: torch.bernoulli(x % 1),
    ],
)
def test_random_networks_are_refused(alter):
    """Even where the windows at hand, in whole numbers, leave nothing to chance."""
    with pytest.raises(
        BadInput, match=r"the network draws random numbers \(.*, line \d+\), so no two runs agree; remove"
    ):
        convert(own.awake(Altered(alter)), CONTRACT, windows(), layout="TN")


class Rounding(nn.Module):
    """A neuron of one's own whose spikes are float32, whatever its input is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 1).float()


class Random(nn.Module):
    def __init__(self, draw: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.a, self.n1, self.b, self.n2 = nn.Linear(128, 16), Rounding(), nn.Linear(16, 3), Rounding()
        self.draw = draw

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.n2(self.b(self.n1(self.a(self.draw(x).flatten(2)))))


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: x + torch.randn_like(x),
        lambda x: nn.functional.dropout(x, 0.5, training=True),
        lambda x: (torch.rand(x.shape) < x / 4).to(x),
    ],
)
def test_random_networks_are_refused_with_neurons_that_return_float32_too(draw):
    register(Rounding, NeuronSpec.linear(decay=0.0, threshold=1.0, strict=True))
    with pytest.raises(BadInput, match=r"the network draws random numbers \(.*, line \d+\), so no two runs agree"):
        convert(own.awake(Random(draw)), CONTRACT, windows(), layout="TN")


class Shy(Rounding):
    """A neuron that fails on the currents with which neurons are run alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if (x == -2).any():
            raise RuntimeError("not these")
        return super().forward(x)


def test_a_neuron_that_fails_alone_is_named_with_its_line():
    register(Shy, NeuronSpec.linear(decay=0.0, threshold=1.0, strict=True))
    network = own.awake(Random(lambda x: x))
    network.n2 = Shy()
    with pytest.raises(BadInput, match=r"the neuron 'n2' fails when it runs without the network.*: not these \(.*line"):
        convert(network, CONTRACT, windows(), layout="TN")


def test_random_operations_that_did_not_show_are_found_in_the_graph(tmp_path):
    network = own.awake(Altered(lambda x: x + (torch.rand_like(x) - 2).relu()))
    with pytest.raises(BadInput, match=r"the network draws random numbers \(RandomUniformLike\), so no two runs agree"):
        pipeline.export(ExportRequest(model=network, shape=own.SHAPE, layout="TN", out=tmp_path / "b", target="onnx"))


class Remembering(own.Step):
    trace: torch.Tensor | float = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.trace = self.trace * 0.5 + x
        return super().forward(self.trace)


def test_states_besides_the_neurons_are_refused():
    network = own.awake(Remembering(*own.activation_based("s")))
    with pytest.raises(BadInput, match="gives another output when the same windows run again: .* a state between"):
        convert(network, CONTRACT, windows(), layout="step")
