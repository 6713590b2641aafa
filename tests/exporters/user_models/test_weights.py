"""Checkpoints of a user's network: which weights are taken, under which keys, and what is said of the rest."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_exporters.libraries import register
from tcja_exporters.user_models.weights import load_weights
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec


class Neuron(nn.Module):
    """A neuron of one's own that stores a constant and a state, as snnTorch's do."""

    def __init__(self, threshold: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.tensor(threshold))
        self.register_buffer("mem", torch.zeros(0))


register(Neuron, lambda neuron: NeuronSpec.linear(decay=0.5, threshold=float(neuron.threshold), strict=True))


class Net(nn.Module):
    def __init__(self, threshold: float = 1.0) -> None:
        super().__init__()
        self.a, self.norm, self.lif = nn.Linear(3, 2), nn.BatchNorm1d(2), Neuron(threshold)


def trained(**changed: Tensor) -> dict[str, Tensor]:
    """The weights after a training; the state of the neuron is that of the last batch."""
    state = Net().state_dict()
    values = {key: torch.full_like(value, i + 2) for i, (key, value) in enumerate(state.items())}
    return {**values, "lif.threshold": torch.tensor(1.0), "lif.mem": torch.ones(7, 2), **changed}


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def loaded(path: Path, content: object, net: nn.Module | None = None, **options: object) -> tuple[nn.Module, list[str]]:
    """Save a checkpoint, and load it into a network: the network, and what is said."""
    torch.save(content, path / "w.pth")
    net = Net() if net is None else net
    return net, load_weights(net, load_checkpoint(path / "w.pth", **options)).lines


REST = "not loaded: lif.mem"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (trained(), [f"8 of 9 tensors of the checkpoint are the network's weights; {REST}"]),
        (under("module.", trained()), ["under 'module', are the network's weights; not loaded: module.lif.mem"]),
        (
            {"state_dict": {**under("model.", trained()), "criterion.weight": torch.ones(3)}},
            ["8 of 10 tensors of the checkpoint, those under 'model', are", "model.lif.mem, criterion.weight"],
        ),
        (under("snn.", trained()), ["those under 'snn', are"]),
        (
            {**trained(), "total_ops": torch.zeros(1), "a.total_params": torch.zeros(1)},
            ["not loaded: lif.mem, total_ops, a.total_params"],
        ),
        ({"module": trained(), "global_steps": 5}, [REST]),
        ((trained(), 5), [REST]),
        ({"a": {"b": torch.ones(2, 2)}, "weights": trained()}, ["the weights are 'weights'; w.pth also has 'a': cho"]),
        (
            {"ema": under("module.", trained()), "net": trained()},
            ["the weights are 'net'; w.pth also has 'ema': choose with `weights`"],
        ),
        (
            {**under("ema_net.", trained(**{"a.bias": torch.zeros(2)})), **under("net.", trained())},
            ["those under 'net', are", "ema_net.* (9 keys)", "; choose other weights with `weights`: ema_net"],
        ),
        (
            {**under("ema.", trained(**{"a.bias": torch.zeros(2)})), **trained()},
            ["not loaded: ema.* (9 keys), lif.mem; choose other weights with `weights`: ema"],
        ),
        (under("_orig_mod.", trained()), [REST]),
        ({key.replace("a.", "a._orig_mod."): value for key, value in trained().items()}, [REST]),
    ],
)
def test_the_weights_that_end_as_the_networks_do_are_taken(tmp_path, content, said):
    net, lines = loaded(tmp_path, content)
    assert torch.equal(net.a.bias, trained()["a.bias"])
    assert torch.equal(net.norm.running_mean, trained()["norm.running_mean"])
    assert net.lif.mem.numel() == 0
    for part in said:
        assert part in "\n".join(lines)


@pytest.mark.parametrize("key", ["model_ema", "state_dict.model_ema"])
def test_the_named_copy_can_be_chosen(tmp_path, key):
    both = {**under("model.", trained()), **under("model_ema.", trained(**{"a.bias": torch.zeros(2)}))}
    content = {"state_dict": both} if "." in key else both
    assert f"choose other weights with `weights`: {key}" in "".join(loaded(tmp_path, content)[1])
    net, _ = loaded(tmp_path, content, weights=key)
    assert net.a.bias.tolist() == [0, 0]


def test_averaged_weights_of_torch_are_taken(tmp_path):
    """As torch.optim.swa_utils saves them."""
    net = Net()
    averaged = AveragedModel(net)
    nn.init.constant_(averaged.module.a.bias, 5.0)
    net, lines = loaded(tmp_path, averaged.state_dict())
    assert net.a.bias.tolist() == [5.0, 5.0]
    assert "not loaded: n_averaged" in lines[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("wrap", [nn.DataParallel, pytest.param(torch.compile, marks=pytest.mark.slow)])
def test_the_network_may_be_wrapped_too(tmp_path, wrap):
    net = Net()
    loaded(tmp_path, under("model.", trained()), wrap(net))
    assert torch.equal(net.a.bias, trained()["a.bias"])


def test_weights_are_chosen(tmp_path):
    other = trained(**{"a.bias": torch.tensor([9.0, 9.0])})
    net, lines = loaded(tmp_path, {"net": trained(), "ema": under("module.", other)}, weights="ema")
    assert net.a.bias.tolist() == [9.0, 9.0]
    assert lines[0] == "check this: the weights are 'ema'; w.pth also has 'net': choose with `weights`"
    epochs = {f"epoch {i}": trained() for i in range(9)}
    assert "w.pth also has 'epoch 1', 'epoch 2'" in loaded(tmp_path, epochs)[1][0]
    assert "'epoch 6' and 2 more: choose with `weights`" in loaded(tmp_path, epochs)[1][0]
    both = {**under("left.", trained()), **under("right.", other)}
    with pytest.raises(
        BadInput, match=r"several sets of keys that fit this .*Net; choose one with `weights`: left, right$"
    ):
        loaded(tmp_path, both)
    assert loaded(tmp_path, both, weights="right")[0].a.bias.tolist() == [9.0, 9.0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"a.bias": None}, "w.pth does not fit this .*Net: a.bias is missing$"),
        ({"c.weight": torch.ones(2, 2)}, "c.weight is not part of it$"),
        ({"a.scale": torch.ones(1)}, "a.scale is not part of it$"),
        ({"lif.tau": torch.tensor(2.0)}, "lif.tau is not part of it$"),
        ({"a.bias": torch.ones(3)}, r"a.bias is \(3,\), it should be \(2,\)$"),
        ({"a.weight": torch.ones(2, 3, dtype=torch.int8)}, "a.weight has the type int8, it should be float32$"),
        ({"a.weight": torch.full((2, 3), torch.nan)}, "a.weight holds 6 values that are NaN"),
        ({"a.weight": torch.ones(2, 3, dtype=torch.complex64)}, "a.weight is no tensor of real numbers"),
        ({"a.weight": torch.ones(2, 3).to_sparse()}, r"a.weight is no tensor of real numbers \(sparse_coo\)"),
        ({"a.weight": torch.ones(2, 3, device="meta")}, r"a.weight is no tensor of real numbers \(no values\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, changed, message):
    state = {key: value for key, value in trained(**changed).items() if value is not None}
    with pytest.raises(BadInput, match=message):
        loaded(tmp_path, {"net": state})


def test_values_that_are_not_used_may_be_anything(tmp_path):
    content = {"net": trained(), "best": torch.full((2, 2), torch.nan), "z": {"z": torch.ones(2, 2).to_sparse()}}
    loaded(tmp_path, content)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_the_weights_is_said(tmp_path, dtype):
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in trained().items()}
    net, lines = loaded(tmp_path, state)
    assert net.a.bias.dtype == torch.float32
    assert f"weights are stored as {str(dtype).removeprefix('torch.')}, and are used as float32" in lines


def test_constants_in_the_checkpoint_are_taken_and_said(tmp_path):
    net, lines = loaded(tmp_path, trained(**{"lif.threshold": torch.tensor(0.5)}))
    assert net.lif.threshold == 0.5
    assert (
        lines[-1]
        == "check this: constants of the checkpoint in place of the factory's: lif.threshold = 0.5 in place of 1"
    )


def test_constants_that_the_checkpoint_lacks_are_said(tmp_path):
    """As checkpoints of older releases lack them. Counters of batch norm may be missing too, without a word."""
    state = trained()
    del state["lif.threshold"], state["norm.num_batches_tracked"]
    net, lines = loaded(tmp_path, state, Net(0.25))
    assert net.lif.threshold == 0.25
    assert lines[-1] == (
        "check this: constants that the checkpoint does not have, with the network's own values: lif.threshold = 0.25"
    )


def test_snntorchs_checkpoints_of_all_releases_load(tmp_path):
    import snntorch

    def net(reset: str) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 2), snntorch.Leaky(beta=0.9, reset_mechanism=reset))

    state = net("zero").state_dict()
    old = {key: value for key, value in state.items() if "graded" not in key}
    for content in (state, {**state, "1.mem": torch.zeros(4, 2)}, old):
        found, _ = loaded(tmp_path, content, net("zero"))
        assert torch.equal(found[0].weight, state["0.weight"])


class Unknown(Neuron):
    """Not registered: the buffer `mem` may be a constant."""


def test_a_state_is_known_by_its_neuron(tmp_path):
    """The state of a known neuron is not loaded. A buffer of another module is, if its shape is that of the network."""
    for neuron, size, expected in ((Neuron, 2, 0.0), (Unknown, 2, 5.0), (Unknown, 3, 0.0)):
        net = nn.Sequential(nn.Linear(2, 2), neuron())
        net[1].mem = torch.zeros(2)
        state = {**net.state_dict(), "1.mem": torch.full((size,), 5.0)}
        _, lines = loaded(tmp_path, state, net)
        assert net[1].mem.tolist() == [expected, expected]
        assert ("not loaded: 1.mem" in "\n".join(lines)) == (expected == 0.0)


class Scaled(nn.Module):
    """A module with an extra state, as torch.nn.Module defines it."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.fc, self.scale = nn.Linear(2, 2), scale

    def get_extra_state(self) -> dict[str, float]:
        return {"scale": self.scale}

    def set_extra_state(self, state: dict[str, float]) -> None:
        self.scale = state["scale"]


@pytest.mark.parametrize("prefix", ["", "model."])
def test_the_extra_state_of_a_module_is_loaded(tmp_path, prefix):
    state = under(prefix, nn.Sequential(Scaled(3.0)).state_dict())
    net, _ = loaded(tmp_path, {"net": state}, nn.Sequential(Scaled(1.0)))
    assert net[0].scale == 3.0
    bad = {**state, f"{prefix}0._extra_state": {}}
    with pytest.raises(BadInput, match="w.pth: loading it into this .*Sequential fails: .*'scale'"):
        loaded(tmp_path, {"net": bad}, nn.Sequential(Scaled(1.0)))
    del state[f"{prefix}0._extra_state"]
    with pytest.raises(BadInput, match="0._extra_state is missing"):
        loaded(tmp_path, {"net": state}, nn.Sequential(Scaled(1.0)))


@pytest.mark.parametrize(
    "weight",
    [
        nn.Parameter(torch.ones(2, 3)),
        torch.ones(3, 2).t(),
        torch.ones(4, 6)[::2, ::2],
        torch.ones(1).expand(2, 3),
    ],
)
def test_tensors_may_lie_in_memory_in_any_way(tmp_path, weight):
    net, _ = loaded(tmp_path, trained(**{"a.weight": weight}))
    assert torch.equal(net.a.weight, torch.ones(2, 3))
    assert net.a.weight.requires_grad
