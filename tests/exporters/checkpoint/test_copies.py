"""Copies of TCJA: those that compute the published function are taken, others are refused with the reason."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tcja_exporters.checkpoint import copies
from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import Checkpoint
from tcja_exporters.checkpoint.weight_sets import WeightSet
from tcja_exporters.modules.attention import TCJA
from tcja_exporters.networks.base import Attention
from tcja_runtime.errors import BadInput

from ... import networks

DVS128 = networks.SMALL["dvs128"]
T, C = 5, 6


class Copy(nn.Module):
    """A block as copies write it: padded by k//2 on both sides, and cut to the length of the input."""

    def __init__(self, k_t: int, k_c: int) -> None:
        super().__init__()
        self.conv_t = nn.Conv1d(T, T, k_t, padding=k_t // 2, bias=False)
        self.conv_c = nn.Conv1d(C, C, k_c, padding=k_c // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        z = x.mean(dim=[3, 4]).permute(1, 0, 2)
        over_channels = self.conv_t(z)[..., :C].permute(1, 0, 2)
        over_time = self.conv_c(z.permute(0, 2, 1))[..., :T].permute(2, 0, 1)
        return x * torch.sigmoid(over_channels * over_time)[:, :, :, None, None]


def small(*kernels: tuple[int, int]) -> networks.Small:
    """The small network with other kernels, one pair a block."""
    sizes = DVS128.sizes._replace(attention=Attention("tcja", "product", T, kernels))
    return dataclasses.replace(DVS128, sizes=sizes)


def copied(state: dict[str, Tensor], **more: Tensor) -> Checkpoint:
    """The checkpoint of a network whose blocks have the keys of a copy."""
    state = {re.sub(r"(?<=\d)\.conv\.weight$", ".conv_t.weight", key): value for key, value in state.items()} | more
    return Checkpoint(path=Path("copy.pth"), sha256="0" * 64, bytes=1, sets=(WeightSet(key="", state=state),))


@pytest.mark.parametrize("k_t", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("k_c", [1, 2, 3])
def test_odd_kernels_alone_are_the_published_function(k_t, k_c):
    block, published = Copy(k_t, k_c).double(), TCJA(k_t, k_c, T, C).double()
    state = {f"conv.11.{key}": value for key, value in block.state_dict().items()}
    taken = {key.removeprefix("conv.11."): value for key, value in copies.as_published(state).items()}
    odd = k_t % 2 == 1 == k_c % 2
    assert (set(taken) == set(published.state_dict())) == odd
    published.load_state_dict({key.replace("conv_t", "conv"): value for key, value in taken.items()})
    x = torch.rand(T, 3, C, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(block(x), published(x), rtol=1e-12, atol=0) == odd


def test_a_copy_with_odd_kernels_is_the_published_network():
    one = small((3, 5), (1, 3))
    state = one.state()
    found = identify(copied(state))
    assert found.name == "dvs128"
    (line,) = [each for each in found.evidence if "copy of TCJA" in each]
    assert line.startswith("check this: 2 blocks with the keys conv_t and conv_c")
    wanted = identify(Checkpoint(path=Path("a.pth"), sha256="0" * 64, bytes=1, sets=(WeightSet(key="", state=state),)))
    assert not any("copy" in each for each in wanted.evidence)
    inputs = one.inputs(2)
    with torch.no_grad():
        assert torch.equal(found.model(inputs), wanted.model(inputs))


@pytest.mark.parametrize(
    ("kernels", "said"),
    [
        (
            ((4, 3), (3, 3)),
            r"a kernel of even size \(conv\.11\.conv_t\.weight, 4\): .* one zero more on the right, and",
        ),
        (
            ((3, 3), (3, 2)),
            r"a kernel of even size \(conv\.15\.conv_c\.weight, 2\): .* compute another function; export",
        ),
    ],
)
def test_even_kernels_are_refused(kernels, said):
    with pytest.raises(BadInput, match=said):
        identify(copied(small(*kernels).state()))


def test_another_block_is_refused():
    state = small((3, 3), (3, 3)).state()
    with pytest.raises(
        BadInput, match=r"has the key conv\.11\.conv_s\.weight: .* This block is STCJA, and TCJA has only"
    ):
        identify(copied(state, **{"conv.11.conv_s.weight": torch.zeros(1, 2, 3, 3)}))


def test_a_key_that_only_looks_like_it_is_compared_as_others():
    state = {key.replace("conv_c", "conv_x"): value for key, value in small((4, 2), (3, 4)).state().items()}
    with pytest.raises(BadInput, match="copy.pth is not the dvs128 network"):
        identify(copied(state))
