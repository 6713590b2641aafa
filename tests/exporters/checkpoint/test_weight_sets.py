import argparse
import collections
import dataclasses
import types

import pytest
import torch
from torch import nn

from tcja_exporters.checkpoint.weight_sets import contents, is_average, summary

W = torch.ones(2, 2)
STATE = {"a.weight": W, "a.bias": torch.ones(2)}


class Broken(nn.Module):
    """A module of another version of its library."""

    def state_dict(self, *_args, **_kwargs):
        raise AttributeError("_buffers")


class Incomplete(collections.UserDict):
    """The options of a package whose values are read late."""

    def __getitem__(self, key):
        raise ValueError("a mandatory value is missing")


@dataclasses.dataclass
class Options:
    tau: float


def test_options_are_read_from_any_container():
    kinds = {"a": argparse.Namespace(T=1), "b": types.SimpleNamespace(T=2), "c": Options(tau=3.0), "d": Options}
    found = contents({"net": STATE, **kinds, "e": Incomplete(a=1)})
    assert found.beside == {"a.T": 1, "b.T": 2, "c.tau": 3.0, "d": "a type", "e": "an Incomplete"}


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (STATE, [""]),
        (collections.OrderedDict(STATE), [""]),
        ({"net": STATE, "optimizer": {"state": {0: {"exp_avg": W}}, "param_groups": [{"lr": 0.1}]}}, ["net"]),
        ({"state_dict_ema": {**STATE}, "state_dict": {**STATE}}, ["state_dict", "state_dict_ema"]),
        ({"model_ema": {"n_averaged": W[0, 0], **STATE}, "model": {**STATE}}, ["model", "model_ema"]),
        ({"teacher": {**STATE}, "student": {**STATE}}, ["student", "teacher"]),
        ({"ema": {**STATE}}, ["ema"]),
        ({"other": {**STATE}, "net": {"state_dict": {**STATE}}}, ["net.state_dict", "other"]),
        ((STATE, 5), ["0"]),
        ([5, {"a": STATE}], ["1.a"]),
        ({"module": STATE, "ds_config": {"lr": 1}}, ["module"]),
        ({"net": STATE, "rng_state": torch.zeros(5, dtype=torch.uint8), "loss": torch.tensor(0.5)}, ["net"]),
        ({"model": nn.Linear(2, 2), "epoch": 3}, ["model"]),
        (nn.Linear(2, 2), [""]),
        (argparse.Namespace(net=STATE), ["net"]),
        ({"net": {}}, []),
        ({1: W, 2: STATE}, ["2"]),
        (Broken(), []),
        (None, []),
    ],
)
def test_the_sets_of_weights_are_found_the_likeliest_first(content, keys):
    assert [one.key for one in contents(content).sets] == keys


def test_what_is_not_a_weight_is_listed():
    found = contents(
        {
            "net": {**STATE, "version": 2},
            "args": {"T": 4, "tau": 2.0, "data": ["a"]},
            "epoch": 7,
            "optimizer": {"param_groups": []},
            "loss": torch.tensor(0.5),
            "rng": torch.zeros(5),
            "note": "x" * 100,
        }
    )
    assert summary(found.beside) == [
        "epoch = 7",
        "optimizer = the state of an optimizer",
        "note = a str",
        "net (version = 2)",
        "args (T = 4, tau = 2.0, data = a list)",
        "loss = 0.5",
        "rng = a tensor",
    ]
    assert (found.beside["args.tau"], found.beside["net.version"]) == (2.0, 2)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_a_nested_tensor_has_no_shape_and_is_no_weight(layout):
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)
    found = contents({"net": {**STATE, "n": nested}})
    assert list(found.sets[0].state) == list(STATE)
    assert list(found.beside) == ["net.n"]


def test_many_values_are_cut():
    assert summary({f"args.k{i}": i for i in range(10)}) == [
        "args (k0 = 0, k1 = 1, k2 = 2, k3 = 3, k4 = 4, k5 = 5, k6 = 6, k7 = 7 and 2 more)"
    ]


def test_a_saved_module_is_kept_with_its_weights():
    saved = nn.Linear(2, 2)
    (one,) = contents({"net": saved}).sets
    assert one.module is saved
    assert not one.state["weight"].requires_grad


@pytest.mark.parametrize(
    ("key", "average"),
    [("model_ema", True), ("ema", True), ("EMA.shadow", True), ("swa_model", True), ("schema", False), ("net", False)],
)
def test_averages_are_known_by_their_key(key, average):
    assert is_average(key) is average


def test_many_keys_are_a_set_of_weights():
    """The time grows with the number of keys, and not with its square: that took minutes."""
    weight = torch.zeros(2, 2)
    state = {f"layer{i}.weight": weight for i in range(2**15)}
    (found,) = contents({"net": state, "epoch": 3}).sets
    assert found.state.keys() == state.keys()
