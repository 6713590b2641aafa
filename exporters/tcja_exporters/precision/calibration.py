r"""Finds the scales of quantised inputs by running a network on real windows.

    q(x) = s * clip(round(x / s), -128, 127)

If all values of an input are small multiples of a power of two, s is that power, and q(x) = x. Spikes, event counts and
means of four spikes are such inputs. For any other input, s = r m / 127, where m is the largest magnitude in the
windows, and r in [0.3, 1] minimises the mean of (q(x) - x)^2 over a sample of the values. With r < 1, a few large
values are cut off, and all smaller values are rounded less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tcja_exporters.modules.quantizer import quantized
from tcja_runtime.data.contract import Floats

LARGEST = 127
"""The largest magnitude of a weight in symmetric int8."""
CALIBRATION_WINDOWS = 256
"""The number of windows for calibration; further windows change the scales little."""

_FINEST = 6  # the finest grid of multiples is 2**-6
_SAMPLE = 2**16  # the largest number of sampled values of a batch, and of all batches
_SHARES = np.linspace(0.3, 1.0, 71)  # the candidates for r


def calibrate(
    network: nn.Module, modules: Iterable[str], batches: Iterable[Floats], advance: Callable[[int], None]
) -> dict[str, float]:
    """Return the scales of the inputs of some modules, by the modules' names.

    Args:
        network: the network in eval mode; its weights are converted to float32 and stay so.
        modules: the names of the modules.
        batches: batches of windows [N, ...].
        advance: a function that is called after each batch with the number of windows in the batch, to show progress.
    """
    network.to(torch.float32)
    seen = {name: _InputValues() for name in sorted(modules)}

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


class _InputValues:
    """A summary of the values that a module took as input.

    It holds the largest magnitude, the grid (the smallest g <= 6 such that all values are multiples of 2^-g, if there
    is one), and a random sample of the values that are not zero.
    """

    def __init__(self) -> None:
        self._largest = 0.0
        self._grid: int | None = 0
        self._sample: list[npt.NDArray[np.float32]] = []
        self._random = np.random.default_rng(0)

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Add the input values of a batch, of any shape."""
        flat = values.reshape(-1)
        self._largest = max(self._largest, float(np.abs(flat).max(initial=0.0)))
        while self._grid is not None and not _on_grid(flat, self._grid):
            self._grid = self._grid + 1 if self._grid < _FINEST else None
        busy = flat[flat != 0]
        self._sample.append(busy if len(busy) <= _SAMPLE else self._random.choice(busy, _SAMPLE, replace=False))

    def scale(self) -> float:
        """Return the scale s (see the module's docstring); 1 if all values are zero."""
        if self._largest == 0.0:
            return 1.0
        if self._grid is not None and self._largest * 2.0**self._grid <= LARGEST:
            return 2.0**-self._grid
        values = np.concatenate(self._sample).astype(np.float64)
        if len(values) > _SAMPLE:
            values = self._random.choice(values, _SAMPLE, replace=False)
        scales = _SHARES * (self._largest / LARGEST)
        errors = [np.mean((quantized(torch.from_numpy(values), scale).numpy() - values) ** 2) for scale in scales]
        return float(np.float32(scales[int(np.argmin(errors))]))


def _on_grid(values: npt.NDArray[np.float32], grid: int) -> bool:
    """Whether all values are multiples of 2**-grid."""
    scaled = values * np.float32(2.0**grid)
    return bool((scaled == np.round(scaled)).all())
