"""What the published code fires in float64, for weights and inputs that are drawn from a seed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[2] / "data" / "reference"
# The blob of events: the noise around it, its brightest rate, and how wide it is.
NOISE, PEAK, WIDTH = 0.02, 2.0, 0.02


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A published network's answers to one batch.

    Attributes:
        description: the content of NAME.json.
        output: what the published network returned, float64.
        spike_counts: spikes by layer, window and time step [layer, N, T].
        statistics: the batch norms' running means and variances, by key.
    """

    description: dict[str, Any]
    output: np.ndarray
    spike_counts: np.ndarray
    statistics: dict[str, np.ndarray]

    @classmethod
    def of(cls, name: str) -> Recorded:
        """Read the answers of a network of the registry."""
        with np.load(FOLDER / f"{name}.npz") as arrays:
            statistics = {key[3:]: arrays[key] for key in arrays.files if key.startswith("bn:")}
            description = json.loads((FOLDER / f"{name}.json").read_text())
            return cls(description, arrays["output"], arrays["spike_counts"], statistics)

    @property
    def layers(self) -> list[str]:
        """The spiking layers, in the order of the counts."""
        return self.description["spiking_layers"]

    def state(self) -> dict[str, Tensor]:
        """The state_dict of the checkpoint."""
        drawn = {key: self._drawn(key, **how) for key, how in self.description["params"].items()}
        digest = hashlib.sha256()
        for key in sorted(drawn):
            digest.update(key.encode() + drawn[key].tobytes())
        assert digest.hexdigest() == self.description["weights_sha256"], f"NumPy {np.__version__} draws other weights"
        state = {key: torch.from_numpy(value) for key, value in (drawn | self.statistics).items()}
        norms = [key.removesuffix("running_mean") for key in self.statistics if key.endswith("running_mean")]
        return state | {f"{norm}num_batches_tracked": torch.tensor(1) for norm in norms}

    def _drawn(self, key: str, shape: list[int], mean: float, std: float) -> np.ndarray:
        return (mean + std * _generator(self.description["seed"], key).standard_normal(shape)).astype(np.float32)

    def inputs(self) -> np.ndarray:
        """Event counts [N, T, P, H, W], float32."""
        n, steps, polarities, rows, columns = self.description["input_shape"]
        generator = _generator(self.description["seed"] + 2, "events")
        y, x = np.mgrid[:rows, :columns]
        frames = np.empty((n, steps, polarities, rows, columns), np.float32)
        for window in frames:
            row, column = generator.uniform(0.2, 0.8, 2)
            down, right = generator.uniform(-0.03, 0.03, 2)
            for t, frame in enumerate(window):
                distance = (y / rows - row - down * t) ** 2 + (x / columns - column - right * t) ** 2
                rate = NOISE + PEAK * np.exp(-(distance / WIDTH))
                for polarity in range(polarities):
                    frame[polarity] = generator.poisson(rate)
        digest = hashlib.sha256(frames.tobytes()).hexdigest()
        assert digest == self.description["input_sha256"], f"NumPy {np.__version__} draws another input"
        return frames


def _generator(seed: int, key: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:8], "little")))
