"""The quantiser as one PyTorch operator, so that its rounding can be bounded as a whole.

The rule of the bound is in `tcja_exporters.reference.rules.elementwise`.

q(x) = s * clip(round(x / s), -128, 127)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_LIBRARY: Any = torch.library.Library("tcja", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define("quantized(Tensor x, float scale) -> Tensor")


def _quantized(x: Tensor, scale: float) -> Tensor:
    return (x / scale).round_().clamp_(-128, 127).mul_(scale)


_LIBRARY.impl("quantized", _quantized, "CompositeExplicitAutograd")


def quantized(x: Tensor, scale: float) -> Tensor:
    """Return the quantised values q(x), in the shape and dtype of x; `scale` is s > 0."""
    rounded: Tensor = torch.ops.tcja.quantized(x, scale)
    return rounded
