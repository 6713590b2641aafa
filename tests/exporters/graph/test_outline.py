"""The outline of a network: its layers in order, their shapes as PyTorch computes them, and what each of them reads."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from torch import nn

from tcja_exporters.graph.export import export_onnx
from tcja_exporters.graph.outline import Block, outline
from tcja_exporters.reference import recorder
from tcja_exporters.reference.taps import find_taps
from tcja_exporters.user_models.conversion import convert

from ... import networks
from ..peers import own


@functools.cache
def outlined(name: str) -> tuple[nn.Module, list[Block]]:
    small = networks.REGISTRY[name]
    module, contract = small.module(), small.network.contract(small.sizes)
    exported = export_onnx(module, contract, small.network.output, {"producer": "tests"})
    steps = small.sizes.attention.time_steps
    signature = recorder.signature(module, contract, small.network.output, steps)
    taps = find_taps(module, exported.model, steps)
    signature = dataclasses.replace(signature, taps=taps, unjudged=exported.unjudged)
    return module, outline(exported.model, signature)


def shapes(module: nn.Module, inputs: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """What each module returns, as PyTorch says; the shape of the last call, with all axes."""
    found: dict[str, tuple[int, ...]] = {}
    for name, each in module.named_modules():
        each.register_forward_hook(lambda _m, _i, out, name=name: found.__setitem__(name, tuple(out.shape)))
    with torch.no_grad():
        module(inputs)
    return found


@pytest.mark.parametrize(
    "name",
    ["fashion_mnist", *(pytest.param(n, marks=pytest.mark.slow) for n in ("fsvae", "ms_resnet"))],
)
def test_layers_have_the_shapes_of_their_modules(name):
    module, blocks = outlined(name)
    assert (blocks[0].kind, blocks[-1].kind) == ("input", "output")
    of_torch = shapes(module, networks.REGISTRY[name].inputs(1))
    seen = 0
    for at, block in enumerate(blocks):
        assert all(source < at for source in block.sources)
        assert block.sources or at == 0
        if block.kind in ("product", "pooling", "spiking") and block.name in of_torch:
            assert of_torch[block.name][-len(block.shape) :] == block.shape
            seen += 1
    assert seen > 3
    assert [block.kind for block in blocks].count("spiking") == len(recorder.spiking_neurons(module))


def test_a_network_without_branches_is_a_chain():
    _, blocks = outlined("fashion_mnist")
    assert [block.sources for block in blocks] == [(), *((at,) for at in range(len(blocks) - 1))]
    said = [(block.kind, block.name, block.about) for block in blocks[3:9]]
    assert said == [
        ("pooling", "conv.1.0", "max pooling 2 x 2"),
        ("product", "conv.1.1", "convolution 3 x 3"),
        ("spiking", "conv.2", "spiking layer"),
        ("attention", "conv.3", "attention"),
        ("pooling", "conv.4.0", "max pooling 2 x 2"),
        ("product", "fc.1.0", "linear"),
    ]


@pytest.mark.slow
def test_a_residual_network_has_its_connections():
    _, blocks = outlined("ms_resnet")
    joins = [(at, block) for at, block in enumerate(blocks) if block.kind == "join"]
    assert len(joins) == 8
    assert all(block.about == "sum" and len(block.sources) == 2 for _, block in joins)
    names = [blocks[source].name for source in joins[0][1].sources]
    assert names == ["layer1.0.downsample.layer.module", "layer1.0.tcja"]
    # The second block adds its input, which is the sum of the first.
    assert joins[0][0] in joins[1][1].sources


class Scaled(own.Step):
    """A network with another scale at each time step, so that its model has some operations for each step."""

    step = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.step = self.step % own.T + 1
        return super().forward(x * (self.step / 2))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_a_layer_that_each_time_step_has_for_itself_is_there_once():
    network = convert(own.awake(Scaled(*own.activation_based("s"))), own.CONTRACT, own.windows(), layout="step")
    exported = export_onnx(network.model, own.CONTRACT, "rates", {"producer": "tests"})
    assert [node.op_type for node in exported.model.graph.node].count("Conv") == own.T + 1
    signature = recorder.signature(network.model, own.CONTRACT, "rates", own.T)
    blocks = outline(exported.model, signature)
    assert [(block.name, block.about) for block in blocks[1:-1]] == [
        ("conv1", "convolution 3 x 3, 4 times"),
        ("n1", "spiking layer"),
        ("conv2", "convolution 3 x 3"),
        ("n2", "spiking layer"),
        ("fc1", "linear"),
        ("n3", "spiking layer"),
        ("fc2", "linear"),
        ("n4", "spiking layer"),
    ]
    assert [block.sources for block in blocks] == [(), *((at,) for at in range(len(blocks) - 1))]
