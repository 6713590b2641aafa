import pytest
import torch
from torch import Tensor, nn

from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.networks.base import Attention
from tcja_exporters.networks.ms_resnet import NETWORK, Sizes
from tcja_runtime.errors import BadInput

from ... import networks
from ..checkpoint.wrapped import wrapped
from ..peers.published import TCJA, LIFSpike, TetSteps
from .conformance import SAME_PADDING, Conformance

SMALL = networks.REGISTRY["ms_resnet"].sizes
NONE = Attention("none", "product", 4, ((0, 0),) * 8)
CONSTANTS = {"ms_resnet": (0.25, 0.5), "tet": (0.5, 1.0)}


class TdNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.seqbn = TetSteps(self.bn)

    def forward(self, x: Tensor) -> Tensor:
        return self.seqbn(x)


class TdLayer(nn.Module):
    def __init__(self, layer: nn.Module, bn: nn.Module | None = None) -> None:
        super().__init__()
        self.layer, self.bn = TetSteps(layer), bn

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return x if self.bn is None else self.bn(x)


class BatchFirstTCJA(TCJA):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(0, 1)).transpose(0, 1)


class BasicBlock(nn.Module):
    def __init__(self, sizes: Sizes, block: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = TdNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = TdNorm(outputs)
        if inputs != outputs:
            self.downsample = TdLayer(nn.Conv2d(inputs, outputs, 1, stride, bias=False), TdNorm(outputs))
        self.position, attention = sizes.position, sizes.attention
        if attention.kind == "tcja":
            channels = inputs if self.position == "start" else outputs
            self.tcja = BatchFirstTCJA(*attention.kernels[block], attention.time_steps, channels)
        self.conv1_s = TdLayer(self.conv1, self.bn1)
        self.conv2_s = TdLayer(self.conv2, self.bn2)
        # One object in the published code; the hooks of the tests need two.
        self.spike1 = LIFSpike(*CONSTANTS[sizes.neuron])
        self.spike2 = LIFSpike(*CONSTANTS[sizes.neuron])

    def forward(self, x: Tensor) -> Tensor:
        at = self.position if hasattr(self, "tcja") else ""
        out = self.spike1(x)
        if at == "start":
            out = self.tcja(out)
        out = self.spike2(self.conv1_s(out))
        if at == "middle":
            out = self.tcja(out)
        out = self.conv2_s(out)
        if at == "end":
            out = self.tcja(out)
        return out + (self.downsample(x) if hasattr(self, "downsample") else x)


class Tied(nn.Module):
    """With the published containers, which share their layers: a state_dict of 411 keys for 122 tensors."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        w, self.time_steps = sizes.width, sizes.time_steps
        self.conv1 = nn.Conv2d(sizes.inputs, w, 3, padding=1, bias=False)
        self.bn1 = TdNorm(w)
        self.conv1_s = TdLayer(self.conv1, self.bn1)
        self.layer1 = nn.Sequential(
            BasicBlock(sizes, 0, w, 2 * w, 1),
            BasicBlock(sizes, 1, 2 * w, 2 * w, 1),
            BasicBlock(sizes, 2, 2 * w, 2 * w, 1),
        )
        self.layer2 = nn.Sequential(
            BasicBlock(sizes, 3, 2 * w, 4 * w, 2),
            BasicBlock(sizes, 4, 4 * w, 4 * w, 1),
            BasicBlock(sizes, 5, 4 * w, 4 * w, 1),
        )
        self.layer3 = nn.Sequential(
            BasicBlock(sizes, 6, 4 * w, 8 * w, 2),
            BasicBlock(sizes, 7, 8 * w, 8 * w, 1),
        )
        self.avgpool = TdLayer(nn.AdaptiveAvgPool2d((1, 1)))
        self.fc1 = nn.Linear(8 * w, sizes.classes)
        self.fc1_s = TdLayer(self.fc1)
        self.spike = LIFSpike(*CONSTANTS[sizes.neuron])

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1_s(images.unsqueeze(1).repeat(1, self.time_steps, 1, 1, 1))
        x = self.spike(self.layer3(self.layer2(self.layer1(x))))
        return self.fc1_s(torch.flatten(self.avgpool(x), 2)).mean(1)


class Untied(Tied):
    """The same with each tensor under its first key alone, and loaded from there."""

    def state_dict(self) -> dict[str, Tensor]:
        first = {id(value): key for key, value in reversed(super().state_dict(keep_vars=True).items())}
        return {key: value for key, value in super().state_dict().items() if key in first.values()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        assert not super().load_state_dict(state, strict=False).unexpected_keys


class TestMsResNet(Conformance):
    small = networks.REGISTRY["ms_resnet"]
    published = Untied
    time_axis = 1
    hoisted = True
    # Without attention as the published code counts them, and TCJA of kernels 4 and 4 in each of the blocks.
    parameters = 12_502_090 + 8 * 6 * 6 * 4 + (3 * 128**2 + 3 * 256**2 + 2 * 512**2) * 4

    @pytest.mark.slow
    @pytest.mark.tensorrt
    def test_it_is_found_exported_and_fires_the_same_spikes(self, tmp_path):
        super().test_it_is_found_exported_and_fires_the_same_spikes(tmp_path)


def small(**changed: object) -> networks.Small:
    return networks.Small("ms_resnet", SMALL._replace(**changed))


def test_the_published_network_without_attention():
    with torch.device("meta"):
        ours = NETWORK.build(Sizes(NONE))
        theirs = Tied(Sizes(NONE))
    assert sum(p.numel() for p in ours.parameters()) == 12_502_090
    assert len(ours.state_dict()) == 122
    state = theirs.state_dict(keep_vars=True)
    assert len(state) == 411
    assert all(state[NETWORK.canonical(key)] is tensor for key, tensor in state.items())
    assert {NETWORK.canonical(key) for key in state} == set(ours.state_dict())


@SAME_PADDING
@pytest.mark.parametrize("attention", [SMALL.attention, NONE])
def test_a_published_checkpoint_has_its_tensors_several_times_over(attention):
    once = small(attention=attention)
    theirs = Tied(once.sizes).eval()
    theirs.load_state_dict(once.state(), strict=False)
    tied = {key: value.clone() for key, value in theirs.state_dict().items()}  # as a file's need not be one tensor
    assert len(tied) == (411 if attention is NONE else 411 + 2 * 8)
    for state in (tied, once.state()):
        found = identify(wrapped(state), settings={"T": "4"})
        assert found.name == "ms_resnet"
        assert found.evidence[0].startswith(f"all {len(state)} tensors")
        with torch.no_grad():
            torch.testing.assert_close(found.model(once.inputs(2)), theirs(once.inputs(2)))


@pytest.mark.parametrize(
    ("key", "original"),
    [
        ("conv1_s.layer.module.weight", "conv1.weight"),
        ("layer2.1.conv2_s.bn.seqbn.module.running_var", "layer2.1.bn2.bn.running_var"),
        ("layer3.0.downsample.bn.seqbn.module.bias", "layer3.0.downsample.bn.bn.bias"),
        ("fc1_s.layer.module.bias", "fc1.bias"),
    ],
)
def test_copies_that_differ_are_refused(key, original):
    theirs = Tied(SMALL)
    theirs.load_state_dict(small().state(), strict=False)
    tied = theirs.state_dict()
    tied[key] = tied[key] + 1
    with pytest.raises(BadInput, match=rf"tensors fit\): {key} must be the same tensor as {original}, but differs\."):
        identify(wrapped(tied))


@SAME_PADDING
@pytest.mark.parametrize(
    ("position", "neuron"),
    [
        ("end", "ms_resnet"),
        ("start", "tet"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("end", "tet"), ("middle", "ms_resnet"), ("middle", "tet"), ("start", "ms_resnet"))
        ),
    ],
)
def test_what_no_checkpoint_tells(position, neuron):
    chosen = small(position=position, neuron=neuron)
    theirs = Untied(chosen.sizes).eval()
    theirs.load_state_dict(chosen.state())
    found = identify(wrapped(chosen.state()), settings={"position": position, "neuron": neuron})
    assert {f"neuron = {neuron}", f"position = {position}"} < {line.split(" (")[0] for line in found.evidence}
    with torch.no_grad():
        images = chosen.inputs(2)
        torch.testing.assert_close(found.model(images), theirs(images))
        torch.testing.assert_close(images, chosen.inputs(2))


def test_attention_at_the_start_of_a_block_must_be_said():
    with pytest.raises(
        BadInput,
        match=r"layer1.0.tcja.conv_c.weight is for 4 channels, as with `settings` position=start; layer1.0.tcja",
    ):
        identify(wrapped(small(position="start").state()))
