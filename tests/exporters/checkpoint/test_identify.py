import dataclasses
import re

import pytest
import torch

from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.weight_sets import WeightSet
from tcja_runtime.errors import BadInput

from ... import networks
from ..peers.published import Dvs128
from .wrapped import wrapped


def same_function(name: str, state: dict[str, torch.Tensor]) -> None:
    """The state is identified as the network and computes what the network does."""
    found = identify(wrapped(state))
    assert found.name == name
    batch = networks.SMALL[name].inputs(2)
    with torch.no_grad():
        assert torch.equal(found.model(batch), networks.SMALL[name].module()(batch))


def test_published_keys(name):
    same_function(name, networks.SMALL[name].state())
    found = identify(wrapped(networks.SMALL[name].state()))
    tensors = len(networks.SMALL[name].state())
    assert found.evidence[0] == f"all {tensors} tensors, found under 'net', fit {name}"
    assert f"T = {networks.SMALL[name].sizes.time_steps} (" in "\n".join(found.evidence)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "net.", "snn.backbone."])
def test_prefixes_of_training_frameworks(name, prefix):
    same_function(name, {prefix + key: value for key, value in networks.SMALL[name].state().items()})


def test_what_is_left_over_is_named(name):
    state = {f"model.{key}": value for key, value in networks.SMALL[name].state().items()}
    extra = {"criterion.weight": torch.ones(3, 3), "model.total_ops": torch.zeros(1), "n_averaged": torch.tensor(3)}
    same_function(name, {**state, **extra})
    found = identify(wrapped({**state, **extra}))
    assert found.evidence[0] == f"{len(state)} of {len(state) + 3} tensors, found under 'net', fit {name}"
    assert found.evidence[1] == "check this: not loaded: criterion.weight, model.total_ops, n_averaged"


def test_integers_are_no_weights():
    state = {**networks.SMALL["dvs128"].state(), "conv.0.0.weight": torch.ones(6, 2, 3, 3, dtype=torch.int8)}
    with pytest.raises(BadInput, match="conv.0.0.weight has the type int8, it should be float32"):
        identify(wrapped(state))


def test_the_set_of_weights_that_fits_is_taken_and_the_others_are_named():
    state = networks.SMALL["dvs128"].state()
    average = {key: value.float() * 0.5 for key, value in state.items()}
    sets = (WeightSet(key="net", state={"x.weight": torch.ones(2, 2)}), WeightSet(key="a", state=state))
    several = dataclasses.replace(wrapped(state), sets=(*sets, WeightSet(key="ema", state=average)))
    found = identify(several)
    assert found.source["weights"] == "a"
    assert (
        found.evidence[1] == "check this: the weights are 'a'; model.pth also has 'net', 'ema': choose with `weights`"
    )
    assert torch.equal(found.model.state_dict()["conv.0.0.weight"], state["conv.0.0.weight"])


@pytest.mark.parametrize(("tau", "same"), [(2.0, True), (1.5, False)])
def test_the_neurons_of_a_saved_module_are_compared(tau, same):
    """The published network of SpikingJelly's layers, saved whole."""
    small = networks.SMALL["dvs128"]
    saved = Dvs128(small.sizes)
    for module in saved.modules():
        if hasattr(module, "tau"):
            module.tau = tau
    whole = dataclasses.replace(wrapped({}), sets=(WeightSet(key="", state=dict(saved.state_dict()), module=saved),))
    if same:
        line = "the saved module has the same neuron constants in all 7 spiking layers"
        assert line in identify(whole).evidence
        return
    with pytest.raises(
        BadInput, match=r"differ in the neurons of layer 'conv.1': .* / 1\.5, .* in the checkpoint, .* / 2"
    ):
        identify(whole)


def test_options_beside_the_weights_that_contradict_the_network_are_named():
    checkpoint = wrapped(networks.SMALL["dvs128"].state())
    beside = {"args.T": 16, "args.tau": 2.0, "hparams.v_threshold": 0.5, "args.lr": 0.1}
    found = identify(dataclasses.replace(checkpoint, beside=beside)).evidence
    assert found[-2:] == [
        "check this: the checkpoint says args.T = 16, but T is 5 here",
        "check this: the checkpoint says hparams.v_threshold = 0.5, but no spiking layer has it: h >= 1",
    ]


# How a key of the published checkpoints is spelled by containers of other times, written down key by key.
OLD = {
    "dvs128": {
        **{f"conv.{i}.{j}.": f"conv.{i}.module.{j}." for i in (0, 3, 6, 9, 13) for j in (0, 1)},
        "fc.2.0.": "fc.2.module.",
        "fc.5.0.": "fc.5.module.",
    },
    "fashion_mnist": {
        "conv.1.1.": "conv.1.module.1.",
        "conv.1.2.": "conv.1.module.2.",
        "fc.1.0.": "fc.1.module.",
        "fc.4.0.": "fc.4.module.",
    },
}
FLAT = {
    "dvs128": {
        "conv.0.0.": "conv.0.",
        "conv.0.1.": "conv.1.",
        "conv.3.0.": "conv.4.",
        "conv.3.1.": "conv.5.",
        "conv.6.0.": "conv.8.",
        "conv.6.1.": "conv.9.",
        "conv.9.0.": "conv.12.",
        "conv.9.1.": "conv.13.",
        "conv.11.": "conv.15.",
        "conv.13.0.": "conv.17.",
        "conv.13.1.": "conv.18.",
        "conv.15.": "conv.20.",
        "fc.2.0.": "fc.2.",
        "fc.5.0.": "fc.5.",
    },
    "fashion_mnist": {
        "conv.1.1.": "conv.2.",
        "conv.1.2.": "conv.3.",
        "conv.3.": "conv.5.",
        "fc.1.0.": "fc.1.",
        "fc.4.0.": "fc.4.",
    },
}


@pytest.mark.parametrize("spelling", [OLD, FLAT], ids=["old", "flat"])
def test_containers_of_other_times(name, spelling):
    def respelled(key: str) -> str:
        for published, other in spelling[name].items():
            if key.startswith(published):
                return other + key.removeprefix(published)
        return key

    state = {respelled(key): value for key, value in networks.SMALL[name].state().items()}
    assert set(state) != set(networks.SMALL[name].state())
    same_function(name, state)


def test_flat_keys_of_another_structure_are_refused():
    """With the pooling before the attention, every shape fits but the layer's number does not."""
    state = {}
    for key, value in networks.SMALL["dvs128"].state().items():
        flat = next((o + key.removeprefix(p) for p, o in FLAT["dvs128"].items() if key.startswith(p)), key)
        state[flat.replace("conv.15.", "conv.16.")] = value
    with pytest.raises(
        BadInput, match=r"conv\.11\.conv\.weight is missing; .*conv\.16\.conv\.weight is not part of it"
    ):
        identify(wrapped(state))


def test_half_precision_and_missing_counters_are_taken(name):
    state = {
        key: value.half() if value.is_floating_point() else value
        for key, value in networks.SMALL[name].state().items()
        if not key.endswith("num_batches_tracked")
    }
    assert identify(wrapped(state)).name == name


def test_a_missing_tensor_is_all_that_is_complained_about(name):
    """Whatever sizes it would have told are read off the others."""
    for missing in networks.SMALL[name].state():
        if missing.endswith("num_batches_tracked") or (name, missing[:6]) == ("fashion_mnist", "conv.3"):
            continue  # without either half of its only attention block it is another variant
        state = {key: value for key, value in networks.SMALL[name].state().items() if key != missing}
        with pytest.raises(BadInput, match=rf"tensors fit\): {re.escape(missing)} is missing\. A network of your own"):
            identify(wrapped(state))


def changed(name: str, **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = {**networks.SMALL[name].state(), **{key.replace("__", "."): value for key, value in changes.items()}}
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            lambda: changed("dvs128", conv__13__1__bias=None),
            r"model.pth is not the dvs128 network, its nearest \(30 of 31 tensors fit\): conv.13.1.bias is missing. A ",
        ),
        (
            lambda: changed("dvs128", conv__3__0__weight=torch.zeros(6, 6, 5, 5)),
            r"conv.3.0.weight is 6x6x5x5, it should be 6x6x3x3. A network of your own is",
        ),
        (
            lambda: changed("dvs128", conv__15__conv__weight=torch.zeros(7, 7, 3)),
            r"its tensors disagree on T: 5 in conv.11.conv.weight, 7 in conv.15.conv.weight",
        ),
        (
            lambda: changed("dvs128", conv__0__0__weight=torch.zeros(0, 2, 3, 3)),
            "conv.0.0.weight is 0x2x3x3, it should be",
        ),
        (lambda: changed("dvs128", head__weight=torch.zeros(3, 3)), "head.weight is not part of it. A network of"),
        (
            lambda: changed("dvs128", fc__5__0__weight=torch.zeros(31, 24)),
            "fc.5.0.weight has 31 outputs, which are not 10 for each class",
        ),
        (
            lambda: changed("fashion_mnist", fc__1__0__weight=torch.zeros(32, 391)),
            "fc.1.0.weight takes 391 inputs, which are not 8 channels of a square map",
        ),
        (
            lambda: changed("fashion_mnist", conv__3__conv__weight=None, conv__3__conv_c__weight=None),
            r"is a fashion_mnist, but does not store T, the number of time steps it was trained with \(`settings` T=8",
        ),
        (
            lambda: {"layer1.weight": torch.zeros(3), "layer1.bias": torch.zeros(3)},
            r"is of no known network .*cifar10dvs, dvs128, .*: its keys begin layer1.weight, .*. A network of your",
        ),
    ],
)
def test_what_does_not_fit_is_said(state, message):
    with pytest.raises(BadInput, match=message) as caught:
        identify(wrapped(state()))
    assert "\n" not in str(caught.value)


def test_long_lists_of_differences_are_cut():
    state = changed(
        "dvs128", **{key.replace(".", "__"): None for key in networks.SMALL["dvs128"].state() if ".13." in key}
    )
    with pytest.raises(BadInput, match="is missing; and 2 more. A network"):
        identify(wrapped(state))


@pytest.mark.parametrize("kind", ["cla", "tla", "none"])
def test_ablations(name, kind):
    """With one half of TCJA, or without any, a network is told by its keys; T may have to be said."""
    sizes = networks.SMALL[name].sizes
    kernels = tuple((k_t * (kind == "cla"), k_c * (kind == "tla")) for k_t, k_c in sizes.attention.kernels)
    small = networks.Small(name, sizes._replace(attention=sizes.attention._replace(kind=kind, kernels=kernels)))
    settings = {} if kind == "cla" else {"T": str(sizes.time_steps)}
    found = identify(wrapped(small.state()), settings=settings)
    assert f"attention = {kind} (by its keys)" in found.evidence
    with torch.no_grad():
        assert torch.equal(found.model(small.inputs(2)), small.module()(small.inputs(2)))


def test_the_sum_must_be_said():
    """No key or shape tells it from the product."""
    sizes = networks.SMALL["dvs128"].sizes
    small = networks.Small("dvs128", sizes._replace(attention=sizes.attention._replace(combine="sum")))
    product = identify(wrapped(small.state()))
    added = identify(wrapped(small.state()), settings={"combine": "sum"})
    assert "check this: combine = product (no checkpoint stores it; to change it, set combine=sum)" in product.evidence
    with torch.no_grad():
        assert torch.equal(added.model(small.inputs(4)), small.module()(small.inputs(4)))
        assert not torch.equal(product.model(small.inputs(4)), small.module()(small.inputs(4)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"T": "x"}, "`settings` T=x: T is a number of time steps from 1 to 10000"),
        ({"T": "0"}, "`settings` T=0: T is a number of time steps from 1 to 10000"),
        ({"T": "7"}, "T is 5 in conv.11.conv.weight, not 7 as `settings` says"),
        ({"combine": "max"}, "`settings` combine=max: it can be product or sum"),
        ({"color": "red"}, r"`settings` color=red: dvs128 has no such setting; known are: T, attention, combine"),
        ({"attention": "none"}, r"conv.12.0.weight is missing"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(BadInput, match=message):
        identify(wrapped(networks.SMALL["dvs128"].state()), "dvs128", settings)


def test_settings_of_another_network_are_refused():
    with pytest.raises(
        BadInput, match="`settings` pooling=stride: dvs128 has no such setting; known are: T, attention, combi"
    ):
        identify(wrapped(networks.SMALL["dvs128"].state()), settings={"pooling": "stride"})


def test_network_by_name():
    state = networks.SMALL["dvs128"].state()
    assert identify(wrapped(state), "dvs128").name == "dvs128"
    with pytest.raises(BadInput, match="`network` resnet must be one of cifar10dvs, dvs128, .*, tet_ncal"):
        identify(wrapped(state), "resnet")
    with pytest.raises(BadInput, match="is not the fashion_mnist network, as asked: its keys begin conv.0.0.weight"):
        identify(wrapped(state), "fashion_mnist")
