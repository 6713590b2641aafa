"""What the inputs of a network look like: a few figures of each window, and their ranges over the windows of a proof.

A network is proven on some windows. On a device it may get others: recordings whose polarities are swapped, frames
that were cut by another rule, images of 0 to 255 in place of 0 to 1. The network then answers, and is wrong. So the
ranges of these figures are stored in the bundle, and `unlike` compares other windows with them:

    mean of C       log2 of the mean value in channel C; the channels of frames are the polarities
    filled C        log2 of the share of values in channel C that are not 0
    largest         log2 of the largest value
    balance         log2 of the mean of the second polarity over that of the first
    unevenness      the standard deviation over their mean of the sums of the frames

Features have both signs, so their figures are others. If they have more than `_MOST_CHANNELS` channels, all values are
taken as those of one:

    size C          log2 of the root mean square in channel C
    offset C        the mean in channel C over its root mean square, from -1 to 1
    extreme         log2 of the largest absolute value

The windows are compared by the median of each figure, so single odd windows do not matter. It is far outside if it is

    * beyond the range of the proof, widened by half of its length, by more than `_FLOORS`, and
    * more than SIGMAS standard deviations from the mean of the proof.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import Floats, InputContract, Labels
from tcja_runtime.data.windows import Windows

FEWEST = 16
"""The smallest number of windows of a proof whose ranges are compared with others."""
SIGMAS = 4.0
_TINY = 2.0**-20
_FAINT = 2.0**-100  # the smallest size of features, which may be in volts
_MOST_CHANNELS = 64
_FLOORS = {
    "mean": 1.0,
    "filled": 1.0,
    "largest": 1.0,
    "balance": 0.25,
    "unevenness": 0.1,
    "size": 1.0,
    "offset": 0.25,
    "extreme": 1.0,
}
_CAUSES = {
    "balance": "are the polarities swapped",
    "unevenness": "were the frames cut by another rule",
    "largest": "are the values scaled as the network expects",
    "mean": "are the values scaled, and recordings cut, as the network expects",
    "filled": "are recordings of the same kind",
    "size": "are the features scaled, and in the order, as in training",
    "offset": "are the features shifted, and of the sign, as in training",
    "extreme": "are the features scaled as in training",
}
_OTHERS = {"off": "polarity off", "on": "polarity on", "all": "all features"}

Figures = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """The values of a figure over the windows of a proof.

    Attributes:
        least: the smallest value.
        most: the largest value.
        mean: the mean.
        deviation: the standard deviation.
    """

    least: float
    most: float
    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Figures) -> Spread:
        """Returns the spread of the values of a figure, [N]."""
        return cls(
            least=float(values.min()),
            most=float(values.max()),
            mean=float(values.mean()),
            deviation=float(values.std()),
        )

    def excess(self, value: float) -> float:
        """Returns by how much a value is beyond the widened range; 0 within it, or within SIGMAS deviations."""
        beyond = max(self.least - value, value - self.most) - (self.most - self.least) / 2
        return max(0.0, beyond) if abs(value - self.mean) > SIGMAS * self.deviation else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputStatistics:
    """The figures of the windows on which a network was proven.

    Attributes:
        windows: the number of windows.
        figures: the spread of each figure, by its name.
    """

    windows: int
    figures: dict[str, Spread]

    @classmethod
    def of(cls, contract: InputContract, figures: Figures) -> InputStatistics:
        """Returns the spread of figures [N, figures] of N windows, at least one."""
        columns = zip(names(contract), figures.T, strict=True)
        return cls(windows=len(figures), figures={name: Spread.of(each) for name, each in columns})

    def unlike(self, contract: InputContract, figures: Figures) -> str:
        """Returns a sentence about the figure that is farthest outside those of the proof; empty if none is.

        Args:
            contract: the input contract.
            figures: the figures of other windows, [N, figures] (`measured`).
        """
        if self.windows < FEWEST or not len(figures):
            return ""
        medians = dict(zip(names(contract), np.median(figures, axis=0).tolist(), strict=True))
        worst = farthest(self.figures, medians, lambda name: _FLOORS[name.split()[0]])
        if not worst:
            return ""
        unlike = f"the inputs are unlike the {self.windows:,} windows that the network was proven on"
        if medians.get("largest") == _log(0.0) or medians.get("extreme") == _log(0.0, _FAINT):
            return f"{unlike}: all values are 0; is the source silent?"
        spread, kind = self.figures[worst], worst.split()[0]
        own, least, most = (_value(kind, each) for each in (medians[worst], spread.least, spread.most))
        return f"{unlike}: {_spoken(worst)} is {own}, and there it is {least} to {most}; {_CAUSES[kind]}?"


def farthest(spreads: Mapping[str, Spread], values: Mapping[str, float], floor: Callable[[str], float]) -> str:
    """Returns the name of the figure that is farthest outside its spread; empty if none is outside.

    Args:
        spreads: the spread of each figure over the windows of a proof, by name.
        values: the figures of other windows, by name; a figure that is not among them is not compared.
        floor: a function that returns by how much a figure must be beyond its widened range, given its name.
    """
    excess = {name: spreads[name].excess(value) / floor(name) for name, value in values.items() if name in spreads}
    worst = max(excess, key=lambda name: excess[name], default="")
    return worst if worst and excess[worst] > 1 else ""


def names(contract: InputContract) -> list[str]:
    """Returns the names of the figures of a network's windows, in the order of `measured`."""
    if contract.name == "latents":
        return ["mean of latents"]
    if contract.name == "features":
        each_one = range(contract.shape[1]) if contract.shape[1] <= _MOST_CHANNELS else ["all"]
        return [f"{figure} {each}" for each in each_one for figure in ("size", "offset")] + ["extreme"]
    channels = contract.polarity or tuple(map(str, range(contract.shape[-3])))
    found = [f"{figure} {each}" for each in channels for figure in ("mean of", "filled")] + ["largest"]
    if contract.name == "frames" and contract.shape[1] == 2:
        found.append("balance")
    return [*found, "unevenness"] if contract.name == "frames" and contract.shape[0] > 1 else found


def measured(contract: InputContract, inputs: Floats) -> Figures:
    """Returns the figures of windows [N, ...], float64 [N, figures]."""
    n = len(inputs)
    if contract.name == "latents":
        latents: Figures = _log(inputs.reshape(n, -1).mean(axis=1, dtype=np.float64))
        return latents[:, None]
    if contract.name == "features":
        return _measured_features(contract, inputs)
    windows = inputs.reshape(n, -1, *contract.shape[-3:])
    means = windows.mean(axis=(1, 3, 4), dtype=np.float64)
    filled = np.count_nonzero(windows, axis=(1, 3, 4)) / (windows[0].size / windows.shape[2])
    columns = [_log(each) for pair in zip(means.T, filled.T, strict=True) for each in pair]
    columns.append(_log(windows.reshape(n, -1).max(axis=1).astype(np.float64)))
    if contract.name == "frames" and contract.shape[1] == 2:
        columns.append(_log(means[:, 1]) - _log(means[:, 0]))
    if contract.name == "frames" and contract.shape[0] > 1:
        sums = windows.sum(axis=(2, 3, 4), dtype=np.float64)
        columns.append(sums.std(axis=1) / np.maximum(sums.mean(axis=1), _TINY))
    return np.stack(columns, axis=1)


def _measured_features(contract: InputContract, inputs: Floats) -> Figures:
    """`measured` for windows of features [N, T, C, ...]."""
    values = inputs.reshape(*inputs.shape[:3], -1)
    if contract.shape[1] > _MOST_CHANNELS:
        values = values.reshape(len(inputs), len(inputs[0]), 1, -1)
    means = values.mean(axis=(1, 3), dtype=np.float64)
    sizes = np.sqrt(np.square(values, dtype=np.float64).mean(axis=(1, 3)))
    offsets = means / np.maximum(sizes, _FAINT)
    columns = [each for pair in zip(_log(sizes, _FAINT).T, offsets.T, strict=True) for each in pair]
    return np.stack([*columns, _log(np.abs(values).max(axis=(1, 2, 3)).astype(np.float64), _FAINT)], axis=1)


def fractions(contract: InputContract, inputs: Floats) -> npt.NDArray[np.bool_]:
    """Returns which windows [N, ...] hold fractions where the contract has whole numbers, bool [N].

    Intensities and features have fractions, and so do frames that are resized with weights.
    """
    if contract.scaling in ("unit", "real") or contract.resize == "bilinear":
        return np.zeros(len(inputs), np.bool_)
    return np.array([bool((np.rint(window) != window).any()) for window in inputs], np.bool_)


def measured_with_fractions(contract: InputContract, inputs: Floats) -> Figures:
    """Returns the figures of windows [N, ...], and 1 for those with fractions, else 0: float64 [N, figures + 1]."""
    return np.column_stack([measured(contract, inputs), fractions(contract, inputs)])


class MeasuredWindows:
    """Windows whose figures are stored when they are read.

    Args:
        windows: the windows.
        contract: their contract.
        table: the figures of the windows, and 1 for those with fractions (`fractions`), [N, figures + 1]; NaN for a
            window that was not read yet. None makes a new table.
    """

    def __init__(self, windows: Windows, contract: InputContract, table: Figures | None = None) -> None:
        self._windows, self._contract = windows, contract
        self._table = np.full((len(windows), len(names(contract)) + 1), np.nan) if table is None else table

    @property
    def labels(self) -> Labels | None:
        return self._windows.labels

    @property
    def source(self) -> str:
        return self._windows.source

    @property
    def real(self) -> bool:
        return self._windows.real

    @property
    def digest(self) -> str:
        return self._windows.digest

    @property
    def stamp(self) -> str:
        return self._windows.stamp

    def __len__(self) -> int:
        return len(self._windows)

    def first(self, n: int) -> MeasuredWindows:
        """Returns the first n windows, whose figures are stored in the same table."""
        return MeasuredWindows(self._windows.first(n), self._contract, self._table[:n])

    def batches(self, size: int, start: int = 0) -> Iterator[Floats]:
        """Yields the windows from number `start` on, in batches [size, ...]; the last batch may be smaller."""
        for inputs in self._windows.batches(size, start):
            self.store(start, measured_with_fractions(self._contract, inputs))
            start += len(inputs)
            yield inputs

    def store(self, start: int, rows: Figures) -> None:
        """Store the figures of windows that were read elsewhere.

        Args:
            start: the number of the first of these windows.
            rows: their figures (`measured_with_fractions`).
        """
        self._table[start : start + len(rows)] = rows

    @property
    def figures(self) -> Figures:
        """The figures of the windows that were read, float64 [n, figures]."""
        return self._table[~np.isnan(self._table).any(axis=1), :-1]

    @property
    def broken(self) -> bool:
        """Whether a window that was read holds fractions where the contract has whole numbers."""
        return bool((self._table[:, -1] == 1).any())

    @property
    def statistics(self) -> InputStatistics | None:
        """The spread of the figures; None for random windows, or if no window was read."""
        found = self.figures
        return InputStatistics.of(self._contract, found) if self.real and len(found) else None


def _log(values: Any, least: float = _TINY) -> Any:
    return np.log2(np.maximum(values, least))


def _spoken(name: str) -> str:
    words = name.split()
    kind, channel = words[0], words[-1]
    where = f"in channel {channel}" if channel.isdecimal() else f"of {_OTHERS.get(channel, channel)}"
    return {
        "mean": f"the mean value {where}",
        "filled": f"the share of values {where} that are not 0",
        "largest": "the largest value",
        "balance": "the mean of the second polarity, as a multiple of that of the first,",
        "unevenness": "the deviation of the events of a frame, as a share of their mean,",
        "size": f"the root mean square {where}",
        "offset": f"the mean {where}, as a share of its root mean square,",
        "extreme": "the largest absolute value",
    }[kind]


def _value(kind: str, figure: float) -> str:
    return f"{figure if kind in ('unevenness', 'offset') else 2.0**figure:.3g}"
