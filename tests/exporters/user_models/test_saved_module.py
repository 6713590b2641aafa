from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tcja_exporters.user_models.saved_module import compare_outputs
from tcja_runtime.errors import BadInput

from ..peers import own

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
]
FILE = Path("whole.pth")


class Scaled(own.Altered):
    def __init__(self, scale: float) -> None:
        super().__init__(lambda x: x * self.scale)
        self.scale = scale


class Fails(own.Window):
    def forward(self, _x: Tensor) -> Tensor:
        raise RuntimeError("no CuPy here\nmore")


def compared(saved: nn.Module, network: nn.Module) -> list[str]:
    return compare_outputs(own.awake(saved), own.awake(network), own.CONTRACT, "TN", own.windows(2), FILE)


def test_equal_modules_return_the_same():
    assert compared(Scaled(1.0), Scaled(1.0)) == [
        "the saved module and the network return the same output on 2 windows"
    ]


def test_another_output_is_refused():
    """No constant of a layer differs, but a number that forward uses."""
    with pytest.raises(
        BadInput, match=r"whole.pth is not this network: on 2 windows with the same weights, their outp"
    ):
        compared(Scaled(0.25), Scaled(1.0))
    with pytest.raises(BadInput, match=r"its output has the shape \(4, 2, 5\), that of the network \(4, 2, 20\)"):
        network = Scaled(1.0)
        network.fc2, network.n4 = nn.Identity(), nn.Identity()
        compared(Scaled(1.0), network)


def test_a_saved_module_that_does_not_run_is_said():
    line = "check this: the saved module does not run here (no CuPy here), so its output is not compared"
    assert compared(Fails(*own.activation_based("m")), Scaled(1.0)) == [line]
    assert compared(Scaled(1.0), Fails(*own.activation_based("m"))) == []


def test_neither_module_is_changed():
    saved, network = Scaled(1.0), Scaled(1.0)
    compared(saved, network)
    for module in (saved, network):
        assert module.conv1.weight.dtype == torch.float32
