"""Convolutions of few frames and firing channels, against torch's own of everything."""

import pytest
import torch

from tcja_exporters.reference import convolution

OPTIONS = {
    "plain": ((4, 6, 3, 3), ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)),
    "strided, dilated": ((4, 6, 3, 3), ([2, 1], [0, 2], [1, 2], False, [0, 0], 1)),
    "grouped": ((4, 3, 3, 3), ([1, 1], [1, 1], [1, 1], False, [0, 0], 2)),
    "transposed": ((6, 4, 3, 3), ([2, 2], [1, 1], [1, 1], True, [1, 1], 1)),
}


@pytest.mark.parametrize("firing", [0, 2, 6], ids=["silent", "few channels", "all channels"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("shape", "options"), OPTIONS.values(), ids=OPTIONS)
def test_it_is_the_convolution(monkeypatch, shape, options, bias, firing):
    monkeypatch.setattr(convolution, "_BYTES", 1)  # a frame or two at a time
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(7, 6, 9, 8, generator=generator, dtype=torch.float64) < 0.3).double()
    x[:, firing:] = 0
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    shift = torch.randn(4, generator=generator, dtype=torch.float64) if bias else None
    expected = torch.ops.aten.convolution(x, weight, shift, *options)
    assert len(list(convolution.convolution_parts(x, weight))) > 1
    torch.testing.assert_close(convolution.convolution(x, weight, shift, options), expected, rtol=1e-13, atol=1e-13)
