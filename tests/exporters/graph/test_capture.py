"""Contexts in a forward that change nothing in float32: the models are those of the network without them."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tcja_exporters.graph.export import export_onnx
from tcja_exporters.modules.neurons import SpikingNeuron, SteppedNeuron
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec

pytestmark = [
    pytest.mark.filterwarnings("ignore:CUDA is not available or torch_xla is imported:UserWarning"),
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning"),
    pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda':UserWarning"),
]
CONTRACT = InputContract.of((3, 2, 2, 2))
SPEC = NeuronSpec.linear(decay=0.5, strict=True)


class Plain(nn.Module):
    """Two layers of neurons between three linear layers, on windows [N, T, 2, 2, 2]."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a, self.b, self.c = nn.Linear(8, 6), nn.Linear(6, 5), nn.Linear(5, 3)
        self.n1, self.n2 = SpikingNeuron(SPEC), SpikingNeuron(SPEC)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.transpose(0, 1).flatten(2)))

    def first(self, x: Tensor) -> Tensor:
        return self.n1(self.a(x))

    def last(self, s: Tensor) -> Tensor:
        return self.c(self.n2(self.b(s))).mean(0)


class NoGrad(Plain):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Inference(Plain):
    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Autocast(Plain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cuda"):
            return super().forward(x)


class SetGrad(Plain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.training):
            return super().forward(x)


class Reentrant(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(super().forward, x, use_reentrant=True)


class NotReentrant(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(super().forward, x, use_reentrant=False)


class Nested(Plain):
    """Contexts inside each other and one after the other; two results leave the first of them."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            with torch.no_grad():
                x = x.transpose(0, 1).flatten(2)
                current = self.a(x)
                with torch.enable_grad(), torch.inference_mode():
                    s = self.n1(current)
            s = checkpoint(self.b, s, use_reentrant=True)
        with torch.set_grad_enabled(False), torch.autocast("cuda"):
            return self.c(self.n2(s) + 0 * current[..., :5]).mean(0)


class Loop(Plain):
    """Each time step has its own context."""

    def __init__(self) -> None:
        super().__init__()
        self.n1, self.n2 = SteppedNeuron(SPEC), SteppedNeuron(SPEC)

    def forward(self, x: Tensor) -> Tensor:
        fired = []
        for frame in x.unbind(1):
            with torch.no_grad():
                s = self.n1(self.a(frame.flatten(1)))
            with torch.autocast("cpu", enabled=False):
                fired.append(self.c(self.n2(self.b(s))))
        return torch.stack(fired).mean(0)


@pytest.mark.parametrize(
    "network",
    [
        Nested,
        Loop,
        *(
            pytest.param(network, marks=pytest.mark.slow)
            for network in (NoGrad, Inference, Autocast, SetGrad, Reentrant, NotReentrant)
        ),
    ],
)
def test_contexts_hide_no_layer_and_change_no_value(network):
    exported = export_onnx(network(), CONTRACT, "scores", {"producer": "tests"})
    assert {node.name for node in exported.model.graph.node} >= {"n1/TcjaLif", "n2/TcjaLif"}
    assert {weight.module for weight in exported.weights} == {"a", "b", "c"}
    inputs = np.random.default_rng(0).poisson(1.0, (5, *CONTRACT.shape)).astype(np.float32)
    with torch.no_grad():
        expected = Plain()(torch.from_numpy(inputs))
    assert expected.unique().numel() > 5
    (actual,) = onnxruntime.InferenceSession(exported.plain.SerializeToString()).run(None, {"frames": inputs})
    np.testing.assert_allclose(actual, expected.numpy(), rtol=0, atol=1e-6)


class Viewed(Plain):
    """Time and windows flattened, and apart again by a view: what SpikingJelly's Flatten(step_mode="m") does."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        return self.last(self.first(x.flatten(0, 1).flatten(1).view(*x.shape[:2], 8)))


def test_a_view_behind_a_flatten_fixes_no_batch_size():
    """torch can not prove it for a named size, and a batch of one is not like the two windows of the capture."""
    exported = export_onnx(Viewed(), CONTRACT, "scores", {"producer": "tests"})
    session = onnxruntime.InferenceSession(exported.plain.SerializeToString())
    inputs = np.random.default_rng(0).poisson(1.0, (5, *CONTRACT.shape)).astype(np.float32)
    for n in (1, 2, 5):
        with torch.no_grad():
            expected = Plain()(torch.from_numpy(inputs[:n]))
        (actual,) = session.run(None, {"frames": inputs[:n]})
        np.testing.assert_allclose(actual, expected.numpy(), rtol=0, atol=1e-6)


class Half(Plain):
    def __init__(self, dtype: torch.dtype, *, autocast: bool) -> None:
        super().__init__()
        self.dtype, self.autocast = dtype, autocast

    def forward(self, x: Tensor) -> Tensor:
        if not self.autocast:
            return super().forward(x.to(self.dtype).float())
        with torch.no_grad(), torch.autocast("cpu", dtype=self.dtype):
            return super().forward(x)


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_in_a_forward_is_named_with_its_line(dtype, autocast):
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(
        BadInput,
        match=rf"forward computes in {name} \(.*test_capture.py, line \d+\), not in float32 as the exported network; "
        r"remove autocast, \.half\(\) and \.bfloat16\(\) from it, and lower the precision with `precision`",
    ):
        export_onnx(Half(dtype, autocast=autocast), CONTRACT, "scores", {"producer": "tests"})


class Fixed(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.zeros(2, 3)


class Branch(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 3 else x


class Unknown(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.linalg.eigvals(torch.eye(2)).real.sum()


class Wrong(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.missing


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Fixed, "the network fixes the batch size"),
        (Branch, r"the network's forward looks at the values of tensors \(.*test_capture.py, line \d+\), which cannot"),
        pytest.param(Unknown, "torch.onnx cannot export the network: .*linalg_eig", marks=pytest.mark.slow),
        (
            Wrong,
            r"torch.export cannot export the network: AttributeError: .* 'missing' \(.*test_capture.py, line \d+\)",
        ),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_line(network, message):
    with pytest.raises(BadInput, match=message) as caught:
        export_onnx(network(), CONTRACT, "scores", {"producer": "tests"})
    assert "\n" not in str(caught.value)
