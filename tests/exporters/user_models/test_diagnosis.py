"""Wrong networks: the message names the true cause, and the line of the user's code."""

import inspect
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tcja_exporters.graph.capture import capture
from tcja_exporters.user_models.conversion import convert
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput

from ..peers.own import awake

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
CONTRACT = InputContract.of((4, 2, 4, 4))
WINDOWS = np.random.default_rng(0).poisson(1.0, (2, *CONTRACT.shape)).astype(np.float32)


class Right(nn.Module):
    """A network of SpikingJelly's neurons on [T, N, 2, 4, 4]."""

    def __init__(self, mode: str = "m") -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron

        self.a, self.b = nn.Linear(32, 16), nn.Linear(16, 3)
        self.n1, self.n2 = neuron.LIFNode(step_mode=mode), neuron.IFNode(step_mode=mode)

    def body(self, x: Tensor) -> Tensor:
        return self.n2(self.b(self.n1(self.a(x.flatten(2)))))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Branch(Right):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 3:
            x = 2 * x
        return self.body(x)


class Item(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * self.b.weight.abs().max().item())


class Numpy(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(torch.from_numpy(x.numpy().clip(0, 2)))


class Listed(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * torch.tensor(x.flatten()[:1].tolist(), dtype=x.dtype).clip(1, 1))


class Masked(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x + 0 * x[x > 1].sum())


class Unique(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x + 0 * x.unique().sum())


class Asserting(Right):
    def forward(self, x: Tensor) -> Tensor:
        assert x.min() >= 0
        return self.body(x)


class MissingPart(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class OwnCheck(Right):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] != 3:
            raise ValueError("I want colours\nand more")
        return self.body(x)


class WrongSize(Right):
    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Linear(17, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.n2(self.b(self.n1(self.a(x.flatten(2)))))


class ForgottenMode(Right):
    def __init__(self) -> None:
        super().__init__("s")


class ForgottenModeOfLayers(ForgottenMode):
    def __init__(self) -> None:
        from spikingjelly.activation_based import layer

        super().__init__()
        self.conv = layer.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.conv(x))


class Dropping(Right):
    def forward(self, x: Tensor) -> Tensor:
        x = x + 0
        return self.body(nn.functional.dropout(x, 0.5))


class Training(Right):
    def forward(self, x: Tensor) -> Tensor:
        self.train()
        return self.body(torch.nn.Dropout(0.5)(x))


class Remembering(Right):
    trace: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.trace = x if self.trace is None else 0.5 * self.trace + x
        return self.body(self.trace)


class OwnRandom(Right):
    random = np.random.default_rng(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * float(self.random.uniform()))


class OnDevice(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x + torch.ones(4, device="cpu"))


class Membrane(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.n2.v


class HeavisideOfState(Right):
    """It keeps a state, which is float64 after it has failed in float64."""

    membrane: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.membrane = 0.5 * self.membrane + x
        return self.body(torch.heaviside(self.membrane - 1, torch.tensor(0.0)))


class InFloat32(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.float())


VALUES = (
    r"the network's forward looks at the values of tensors{at}, which cannot be exported \(\w+: .*\); replace if by "
)
FAILS = r"the network's forward fails: "
RANDOM = r"the network draws random numbers{at}, so no two runs agree; remove the random numbers from its forward"
SHAPE = r"the network fails on windows of shape \(4, 2, 4, 4\): "
MODE = (
    r"'n1', 'n2'.* of SpikingJelly in step mode 's' take one time step a call: call functional.set_step_mode\(network"
)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Branch, VALUES),
        (Item, VALUES),
        (Numpy, VALUES),
        (Listed, VALUES),
        (Asserting, VALUES),
        (
            Masked,
            r"a shape in the network's forward depends on the values of tensors{at}, .*; replace x\[mask\], nonzero",
        ),
        (
            Unique,
            r"a shape in the network's forward depends on the values of tensors{at}, which cannot be exported \(Not",
        ),
        (MissingPart, FAILS + "AttributeError: 'MissingPart' object has no attribute 'head'{at}$"),
        (OwnCheck, FAILS + "ValueError: I want colours{at}$"),
        (WrongSize, SHAPE + "RuntimeError: mat1 and mat2 shapes .*{at}; see `shape` and `layout`$"),
        (ForgottenMode, f"'n1' runs for 1 time step, not 4; {MODE}, 'm'\\) in the factory, or give `layout` step$"),
        (ForgottenModeOfLayers, SHAPE + "RuntimeError: Expected 3D .*{at}; 'n1', 'n2', 'conv' of SpikingJelly in step"),
        (Dropping, RANDOM),
        (Training, RANDOM),
        (
            Remembering,
            r"besides the state of its neurons it keeps a state between windows \('trace'\); reset that state",
        ),
        (
            OwnRandom,
            r"it keeps a state between windows \(or has its own random numbers\); reset that state at the start",
        ),
        (
            OnDevice,
            r"a tensor of the network \(made in its forward\) does not move .*{at}; register stored tensors with",
        ),
        (Membrane, "the network uses more than the spikes of its neurons, .*: AttributeError: .* attribute 'v'{at}$"),
        (
            HeavisideOfState,
            r"the network runs in float32 only, .*different dtypes. ?{at}\); convert .* with dtype=x.dtype$",
        ),
        (
            InFloat32,
            r"the network runs in float32 only, but the proof runs in float64 \(RuntimeError: .*{at}\); convert",
        ),
    ],
)
def test_the_cause_and_the_line_are_named(network, message):
    with pytest.raises(BadInput, match=message.replace("{at}", r" \(.*test_diagnosis\.py, line \d+\)")) as caught:
        convert(awake(network()), CONTRACT, WINDOWS, layout="TN")
    assert "\n" not in str(caught.value)
    lines, start = inspect.getsourcelines(Right.body if network is InFloat32 else network.forward)
    line = re.search(r"test_diagnosis\.py, line (\d+)\)", str(caught.value))
    assert line is None or start <= int(line[1]) < start + len(lines)


def test_windows_given_to_a_network_of_steps_are_named():
    with pytest.raises(
        BadInput,
        match="'n1', 'n2' of SpikingJelly in step mode 'm' take whole windows: call functional.set_step_mode"
        r"\(network, 's'\) in the factory, or give `layout` TN$",
    ):
        convert(awake(Right()), CONTRACT, WINDOWS, layout="step")


LENGTHS: list[int] = []
"""The length of the log at each run of a network that keeps one."""


class Keeping(Right):
    """Keeps things in attributes that have no influence on its output."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.log.append(x)
        LENGTHS.append(len(self.log))
        self.last = self.body(x)
        return self.last


def test_what_a_forward_keeps_for_others_does_no_harm():
    """torch.export warns of a tensor that is left in an attribute; older releases fail."""
    found = convert(awake(Keeping()), CONTRACT, WINDOWS, layout="TN")
    windows = torch.from_numpy(WINDOWS)
    found.model(windows)
    kept = LENGTHS[-1]
    program = capture(found.model, CONTRACT)
    assert len(program.graph_signature.user_outputs) == 1
    found.model(windows)
    assert LENGTHS[-1] == kept + 1
