"""Each node without a state against torch, and nodes whose values do not fit."""

import nir
import numpy as np
import pytest
import torch
from torch.nn import functional

from tcja_exporters.nir_graphs.network import from_nir
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput

from . import graphs

ITEM, STEPS = (2, 6, 8), 3
W1, W2 = graphs.weights(3, 16, 3), graphs.weights(4, 1, 3, 2)
SCALE = graphs.weights(*ITEM)


def pool(kind, kernel=(2, 2), padding=(0, 0)):
    return kind(kernel_size=np.array(kernel), stride=np.array([2, 2]), padding=np.array(padding))


def conv1d(**changed):
    fields = {"input_shape": None, "weight": graphs.weights(3, 2, 3), "stride": 2, "padding": 1, "dilation": 1}
    return nir.Conv1d(**{**fields, "groups": 1, "bias": graphs.weights(3), **changed})


def flat(first, last):
    return nir.Flatten(input_type=None, start_dim=first, end_dim=last)


def linear(x):
    return functional.linear(x.flatten(1), torch.from_numpy(graphs.weights(5, 96)))


NODES = {
    "Conv2d": (
        [graphs.conv(weight=W2, groups=2, stride=(1, 2), padding=(2, 0), bias=graphs.weights(4))],
        lambda x: functional.conv2d(
            x, torch.from_numpy(W2), torch.from_numpy(graphs.weights(4)), (1, 2), (2, 0), groups=2
        ),
    ),
    "Conv2d same": (
        [graphs.conv(padding="same")],
        lambda x: functional.conv2d(x, torch.from_numpy(graphs.weights(3, 2, 3, 3)), padding="same"),
    ),
    "Conv1d": (
        [flat(1, 2), conv1d()],
        lambda x: functional.conv1d(
            x.flatten(2), torch.from_numpy(graphs.weights(3, 2, 3)), torch.from_numpy(graphs.weights(3)), 2, 1
        ),
    ),
    "AvgPool2d": ([pool(nir.AvgPool2d, padding=(1, 1))], lambda x: functional.avg_pool2d(x, 2, 2, 1)),
    "SumPool2d": ([pool(nir.SumPool2d)], lambda x: functional.lp_pool2d(x, 1, 2, 2)),
    "Flatten, Linear": ([flat(0, -1), nir.Linear(weight=graphs.weights(5, 96))], linear),
    "Flatten, Affine": (
        [flat(0, -1), nir.Affine(weight=graphs.weights(5, 96), bias=graphs.weights(5))],
        lambda x: linear(x) + torch.from_numpy(graphs.weights(5)),
    ),
    "Scale": ([nir.Scale(scale=SCALE)], lambda x: x * torch.from_numpy(SCALE)),
}


def network(folder, nodes, shape=None):
    named = {f"node_{i}": node for i, node in enumerate(nodes)}
    graph = graphs.chain(ITEM, (), **named)
    return from_nir(graphs.written(graph, folder), InputContract.of((STEPS, *(shape or ITEM))), {}).model


@pytest.mark.parametrize("name", NODES)
def test_a_node_computes_what_torch_computes(name, tmp_path):
    nodes, theirs = NODES[name]
    x = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (STEPS, 2, *ITEM)).astype(np.float32))
    with torch.no_grad():
        ours = network(tmp_path, nodes).over_time(x)
    for t in range(STEPS):
        assert torch.equal(ours[t], theirs(x[t]))  # all sums are exact in float32
    assert ours.abs().sum() > 0


ODD = {
    "channels": (
        [graphs.conv(weight=graphs.weights(3, 5, 3, 3))],
        "takes 5 channels of 2 axes, and its input is [2, 6, 8]",
    ),
    "features": ([flat(0, -1), graphs.affine(95, 5)], "it takes an input of shape [95], and its input is [96]"),
    "a kernel that is too large": (
        [graphs.conv(padding=(0, 0), weight=graphs.weights(3, 2, 9, 9))],
        "Kernel size can't",
    ),
    "stride 0": ([graphs.conv(stride=(0, 1))], "its stride is [0, 1], and must be 2 whole numbers of at least 1"),
    "padding": ([graphs.conv(padding=(2**40, 0))], "its padding is [1099511627776, 0], and must be 2 whole numbers"),
    "a huge result": ([graphs.conv(padding=(2**20, 2**20))], "its result has 13,194,2"),
    "a word": ([conv1d(weight=graphs.weights(3, 2, 3, 3))], "its weight has shape [3, 2, 3, 3], and must have 3 axes"),
    "a bias": ([graphs.conv(bias=graphs.weights(4))], "its bias has shape [4], its weight [3, 2, 3, 3]"),
    "groups": ([graphs.conv(groups=2, weight=graphs.weights(3, 1, 3, 3))], "its 3 output channels are not 2 groups"),
    "pool padding": (
        [pool(nir.AvgPool2d, padding=(2, 0))],
        "its padding [2, 0] is more than half of its kernel_size [2, 2]",
    ),
    "pool of a vector": ([flat(0, -1), pool(nir.SumPool2d)], "it takes channels of 2 axes, and its input is [96]"),
    "flatten": ([flat(1, 5)], "it flattens the axes 1 to 5, and its input is [2, 6, 8]"),
    "scale": ([nir.Scale(scale=graphs.weights(7))], "its scale has shape [7], and its input is [2, 6, 8]"),
    "a delay": ([nir.Delay(delay=np.ones(3))], "this type is not supported; supported are LIF, LI, IF, "),
}


@pytest.mark.parametrize("odd", ODD)
def test_values_that_do_not_fit_are_refused_in_a_line(odd, tmp_path):
    nodes, text = ODD[odd]
    with pytest.raises(BadInput) as raised:
        network(tmp_path, nodes)
    assert text in str(raised.value)
    assert f"the node 'node_{len(nodes) - 1}' ({type(nodes[-1]).__name__}) cannot be exported: " in str(raised.value)
    assert "\n" not in str(raised.value)
