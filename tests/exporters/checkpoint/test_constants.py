from pathlib import Path

import pytest
from torch import nn

from tcja_exporters.checkpoint.constants import check_module, check_neurons, remarks
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec

from ..peers import own

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
FILE = Path("whole.pth")


def network(**changed: object) -> nn.Module:
    neurons = own.activation_based("m")
    for name, value in changed.items():
        setattr(neurons[1], name, value)
    return own.Window(*neurons)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"v_threshold": 0.4}, r"layer 'n2': .* h >= 0.4, .* in the checkpoint, .* h >= 0.8, .* in the network; give"),
        ({"tau": 2.0}, r"layer 'n2': .* / 2 .* in the checkpoint, .* / 3 .* in the network"),
        ({"v_reset": None}, r"layer 'n2': .* reset minus 0.8 in the checkpoint, .* reset to 0 in the network"),
    ],
)
def test_other_constants_of_a_saved_module_are_refused(changed, message):
    with pytest.raises(BadInput, match=message):
        check_neurons(network(**changed), network(), FILE)


def test_the_same_constants_are_said_to_be_the_same():
    saved = nn.DataParallel(network())
    line = "the saved module has the same neuron constants in all 4 spiking layers"
    assert check_neurons(saved, network(), FILE) == [line]
    assert check_module(saved, network(), FILE) == []


def test_a_saved_neuron_that_lacks_a_constant_is_named():
    saved = network()
    del saved.n2.v_threshold
    with pytest.raises(
        BadInput, match=r"constants of the neuron 'n2' \(spikingjelly.LIFNode\) cannot be read \(Attribut"
    ):
        check_neurons(saved, network(), FILE)


def test_a_saved_module_of_another_structure_is_said():
    less = network()
    less.n1 = nn.Identity()
    (line,) = check_neurons(less, network(), FILE)
    assert line.startswith(
        "check this: the saved module has 3 known spiking layers, the network has 4; their constants are not"
    )
    (line,) = check_neurons(nn.Linear(1, 1), network(), FILE)
    assert line.startswith("check this: the saved module has no known neurons")
    assert [line.removeprefix("check this: ") for line in check_module(less, network(), FILE)] == [
        "layers of the saved module that are of another class in the network: n1 (an Identity, here an IFNode)",
        "layers that only one of the saved module and the network has: n1.surrogate_function",
    ]


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (
            nn.Conv2d(2, 2, 3, stride=2),
            nn.Conv2d(2, 2, 3),
            r"0.stride is \(2, 2\) in the checkpoint, \(1, 1\) in the n",
        ),
        (nn.BatchNorm2d(2, eps=1e-3), nn.BatchNorm2d(2), "0.eps is 0.001 in the checkpoint, 1e-05 in the network"),
        (nn.MaxPool2d(2), nn.MaxPool2d((2, 2), 2), None),
        (nn.Dropout(0.5), nn.Dropout(0.2), None),
    ],
)
def test_other_attributes_of_torchs_layers_are_refused(one, other, message):
    saved, ours = nn.Sequential(one), nn.Sequential(other)
    if message is None:
        assert check_module(saved, ours, FILE) == []
        return
    with pytest.raises(BadInput, match=f"the module saved in whole.pth is not this network: {message}"):
        check_module(saved, ours, FILE)


def test_other_attributes_of_ones_own_classes_are_named():
    saved, ours = own.Altered(None), own.Altered(None)
    saved.scale, ours.scale = 2.0, 1.0
    line = "check this: attributes of the saved module that differ: scale is 2.0 in the checkpoint, 1.0 in the network"
    assert check_module(saved, ours, FILE) == [line]


LIF, TET = NeuronSpec.leaky(decay_input=True, tau=2.0), NeuronSpec.linear(decay=0.25, strict=True)


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"args.T": 4, "args.tau": 2.0, "args.v_threshold": 1.0, "v_reset": 0.0}, []),
        ({"tau": 0.25}, []),
        ({"metadata.T": "8"}, ["check this: the checkpoint says metadata.T = 8, but T is 4 here"]),
        ({"args.tau": 1.5}, ["check this: the checkpoint says args.tau = 1.5, but no spiking layer has it: h = "]),
        ({"v_th": 0.3}, ["check this: the checkpoint says v_th = 0.3, but no spiking layer has it: h > 1, h >= 1"]),
        ({"v_reset": -1}, ["check this: the checkpoint says v_reset = -1, but no spiking layer has it: reset to 0"]),
        ({"a.v_threshold": float("inf")}, []),
        ({"T": True, "tau": None, "v_th": "high", "lr": 0.1, "temperature": 7}, []),
    ],
)
def test_options_that_contradict_the_network_are_named(beside, said):
    found = remarks(beside, {"a": LIF, "b": TET}, 4)
    assert len(found) == len(said)
    for line, begin in zip(found, said, strict=True):
        assert line.startswith(begin)
