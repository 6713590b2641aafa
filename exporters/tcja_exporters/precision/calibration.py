r"""Scales of what is quantised, from what layers take on real windows.

    q(x) = s * clip(round(x / s), -128, 127)

Where all that a layer takes are small multiples of a power of two, such as spikes, event counts and means of four
spikes, s is that power and q(x) = x. Else s = r m / 127 with m the largest magnitude seen and the r in (0, 1] that
makes the mean of (q(x) - x)^2 least over a sample of the values: a few large ones are cut off where that serves the
many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tcja_runtime.data.contract import Floats

LEVELS = 127
CALIBRATION_WINDOWS = 256
"""How many windows to look at; more change little."""

_FINEST = 6
_SAMPLE = 2**16
_SHARES = np.linspace(0.3, 1.0, 71)


def calibrate(
    network: nn.Module, modules: Iterable[str], batches: Iterable[Floats], advance: Callable[[int], None]
) -> dict[str, float]:
    """Scales for what some modules of a network take, by module.

    Args:
        network: in eval mode; its weights are converted to float32 and stay so.
        modules: their names.
        batches: windows [N, ...].
        advance: is told the number of windows done, after each batch.
    """
    network.to(torch.float32)
    seen = {name: _Seen() for name in sorted(modules)}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, args: seen[name].add(args[0].detach().numpy())

    handles = [network.get_submodule(name).register_forward_pre_hook(hook(name)) for name in seen]
    try:
        with torch.inference_mode():
            for inputs in batches:
                network(torch.from_numpy(inputs))
                advance(len(inputs))
    finally:
        for handle in handles:
            handle.remove()
    return {name: found.scale() for name, found in seen.items()}


class _Seen:
    """What a layer took."""

    def __init__(self) -> None:
        self._largest = 0.0
        self._grid: int | None = 0
        self._sample: list[npt.NDArray[np.float32]] = []
        self._random = np.random.default_rng(0)

    def add(self, values: npt.NDArray[np.float32]) -> None:
        flat = values.reshape(-1)
        self._largest = max(self._largest, float(np.abs(flat).max(initial=0.0)))
        while self._grid is not None and not _on_grid(flat, self._grid):
            self._grid = self._grid + 1 if self._grid < _FINEST else None
        busy = flat[flat != 0]
        self._sample.append(busy if len(busy) <= _SAMPLE else self._random.choice(busy, _SAMPLE, replace=False))

    def scale(self) -> float:
        if self._largest == 0.0:
            return 1.0
        if self._grid is not None and self._largest * 2.0**self._grid <= LEVELS:
            return 2.0**-self._grid
        values = np.concatenate(self._sample).astype(np.float64)
        if len(values) > _SAMPLE:
            values = self._random.choice(values, _SAMPLE, replace=False)
        scales = _SHARES * (self._largest / LEVELS)
        errors = [np.mean((quantized(values, scale) - values) ** 2) for scale in scales]
        return float(np.float32(scales[int(np.argmin(errors))]))


def quantized(values: npt.NDArray[np.float64], scale: float) -> npt.NDArray[np.float64]:
    """q(x) of the module's docstring."""
    return np.asarray(scale * np.clip(np.round(values / scale), -LEVELS - 1, LEVELS))


def _on_grid(values: npt.NDArray[np.float32], grid: int) -> bool:
    scaled = values * np.float32(2.0**grid)
    return bool((scaled == np.round(scaled)).all())
