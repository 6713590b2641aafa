import pytest
import torch
from torch import nn

from tcja_exporters import libraries
from tcja_exporters.user_models.wrappers import network_inside, unwrap_parts
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


class Neuron(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 1).to(x.dtype)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.neuron = nn.Linear(2, 3), Neuron()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.neuron(self.fc(x))


class Trainer(nn.Module):
    """As a LightningModule that only trains a network: it has no forward."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.loss = nn.CrossEntropyLoss()


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(libraries, "_registered", {})
    libraries.register(Neuron, NeuronSpec.linear(decay=0.5, strict=True))


WRAPPERS = [
    nn.DataParallel,
    torch.compile,
    torch.optim.swa_utils.AveragedModel,
    lambda network: nn.DataParallel(torch.compile(network)),
    lambda network: Trainer(net=network),
    lambda network: Trainer(net=nn.DataParallel(network)),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_the_network_inside_wrappers_is_found(wrap):
    network = Network()
    found = network_inside(wrap(network))
    assert type(found) is Network
    assert torch.equal(found.fc.weight, network.fc.weight)
    assert network_inside(network) is network


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_the_network_inside_distributed_data_parallel_is_found():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        network = Network()
        assert network_inside(nn.parallel.DistributedDataParallel(network)) is network
    finally:
        torch.distributed.destroy_process_group()


def test_wrapped_parts_are_replaced():
    network = Network()
    network.fc = nn.Sequential(torch.compile(nn.DataParallel(nn.Linear(2, 3))), nn.Identity())
    keys = [key.replace("_orig_mod.", "").replace("module.", "") for key in network.state_dict()]
    unwrap_parts(network)
    assert type(network.fc[0]) is nn.Linear
    assert list(network.state_dict()) == keys


def test_a_wrapper_of_ones_own_that_has_a_forward_stays():
    class Scaled(Trainer):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x / 255)

    scaled = Scaled(net=Network())
    assert network_inside(scaled) is scaled


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: Trainer(net=Network(), teacher=Network()),
            r"tests.Trainer has no forward, and 2 networks \(net, teacher\) in it; return the network itself",
        ),
        (
            lambda: Trainer(net=nn.Linear(2, 3)),
            "tests.Trainer has no forward, and no network with known neurons in it; return the network itself",
        ),
        (
            lambda: torch.jit.trace(Network(), torch.zeros(1, 2)),
            r"the network \(Network\) is a TorchScript module, whose neurons cannot be replaced; return it before",
        ),
        (
            lambda: nn.DataParallel(torch.jit.script(Network())),
            r"the network \(Network\) is a TorchScript module, whose neurons cannot be replaced",
        ),
    ],
)
def test_what_holds_no_single_network_is_refused(model, message):
    with pytest.raises(BadInput, match=message):
        network_inside(model())


def test_a_part_in_torchscript_is_named():
    network = Network()
    network.fc = torch.jit.script(nn.Linear(2, 3))
    with pytest.raises(
        BadInput, match=r"'fc' of the network is a TorchScript module; build it without torch.jit.script"
    ):
        unwrap_parts(network)
