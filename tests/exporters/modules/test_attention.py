"""Attention against its equations, written out as loops, and against torch's own 'same' padding."""

import numpy as np
import pytest
import torch

from tcja_exporters.modules.attention import CLA, TCJA, TLA, SameConv1d, attention


def equations(x: np.ndarray, w_t: np.ndarray | None, w_c: np.ndarray | None, join=np.multiply) -> np.ndarray:
    """y[t,n,c,h,w] of x [T, N, C, H, W], term by term; a missing half is left out of what is joined."""
    steps, batch, channels = x.shape[:3]
    z = x.mean(axis=(3, 4))
    gate = np.full((steps, batch, channels), float(join.identity))
    for t, n, c in np.ndindex(steps, batch, channels):
        if w_t is not None:
            left = (w_t.shape[2] - 1) // 2
            gate[t, n, c] = join(
                gate[t, n, c],
                sum(
                    w_t[t, t2, j] * z[t2, n, c + j - left]
                    for t2 in range(steps)
                    for j in range(w_t.shape[2])
                    if 0 <= c + j - left < channels
                ),
            )
        if w_c is not None:
            left = (w_c.shape[2] - 1) // 2
            gate[t, n, c] = join(
                gate[t, n, c],
                sum(
                    w_c[c, c2, j] * z[t + j - left, n, c2]
                    for c2 in range(channels)
                    for j in range(w_c.shape[2])
                    if 0 <= t + j - left < steps
                ),
            )
    return x / (1 + np.exp(-gate))[..., None, None]


@pytest.fixture
def x() -> torch.Tensor:
    """Spikes [T, N, C, H, W]."""
    return (torch.rand(5, 2, 6, 3, 3, generator=torch.Generator().manual_seed(0)) < 0.4).double()


def weights(conv: torch.nn.Conv1d) -> np.ndarray:
    return conv.weight.detach().numpy()


@pytest.mark.parametrize("k_t", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("k_c", [1, 2, 4, 5])
def test_tcja(x, k_t, k_c):
    block = TCJA(k_t, k_c, 5, 6).double()
    expected = equations(x.numpy(), weights(block.conv), weights(block.conv_c))
    np.testing.assert_allclose(block(x).detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_each_half_alone(x, k):
    cla, tla = CLA(k, 5).double(), TLA(k, 6).double()
    np.testing.assert_allclose(cla(x).detach().numpy(), equations(x.numpy(), weights(cla.conv), None), rtol=1e-12)
    np.testing.assert_allclose(tla(x).detach().numpy(), equations(x.numpy(), None, weights(tla.conv_c)), rtol=1e-12)


def test_their_sum(x):
    block = TCJA(4, 2, 5, 6, combine="sum").double()
    expected = equations(x.numpy(), weights(block.conv), weights(block.conv_c), join=np.add)
    np.testing.assert_allclose(block(x).detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["tcja", "cla", "tla"])
def test_windows_may_come_first(x, kind):
    """On [N, T, C, H, W] the same block says the same."""
    torch.manual_seed(0)
    (block,) = attention(kind, (4, 2), 5, 6)
    (other,) = attention(kind, (4, 2), 5, 6, time_axis=1)
    other.load_state_dict(block.state_dict())
    assert torch.equal(other.double()(x.transpose(0, 1)), block.double()(x).transpose(0, 1))


def test_no_attention_is_no_layer():
    assert attention("none", (4, 4), 5, 6) == []


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
def test_padding_is_torchs_same_to_the_bit(k):
    ours = SameConv1d(6, k)
    theirs = torch.nn.Conv1d(6, 6, k, padding="same", bias=False)
    theirs.load_state_dict(ours.state_dict())
    z = torch.randn(3, 6, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(z), theirs(z))


def test_even_kernels_are_padded_on_the_right():
    """A kernel of two that weighs its second tap alone reads the next value, and zero behind the last."""
    conv = SameConv1d(1, 2)
    conv.weight.data = torch.tensor([[[0.0, 1.0]]])
    torch.testing.assert_close(conv(torch.tensor([[[1.0, 2.0, 3.0]]])), torch.tensor([[[2.0, 3.0, 0.0]]]))


def test_keys_and_shapes_are_those_of_checkpoints():
    shapes = {key: tuple(value.shape) for key, value in TCJA(4, 2, 20, 128).state_dict().items()}
    assert shapes == {"conv.weight": (20, 20, 4), "conv_c.weight": (128, 128, 2)}
    assert list(CLA(4, 20).state_dict()) == ["conv.weight"]
    assert list(TLA(2, 128).state_dict()) == ["conv_c.weight"]


def test_silence_gives_half():
    block = TCJA(2, 2, 3, 4)
    assert torch.equal(block(torch.zeros(3, 1, 4, 2, 2)), torch.zeros(3, 1, 4, 2, 2))
    assert torch.equal(torch.sigmoid(block.logits(torch.zeros(1, 3, 4))), torch.full((1, 3, 4), 0.5))
