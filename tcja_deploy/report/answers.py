"""The answers of the trained and of the exported network to windows: some samples, and what is confused with what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import Floats, Labels
from tcja_runtime.data.windows import Windows
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.trace import Values

SAMPLES = 6
"""The largest number of sample windows on a page."""

Counts = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A network that answers.

    Attributes:
        run: a function that returns the output of the network for windows [n, ...].
        predictions: its predictions for all windows, with their labels if these are known; empty if it does not
            classify.
    """

    run: Callable[[Floats], Values]
    predictions: Predictions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """Some windows of the data, with the answers of both networks.

    Attributes:
        numbers: the number of each window in the data, from 0.
        inputs: the inputs of the windows [n, ...].
        labels: the labels of the windows, int64 [n]; None if they are not known.
        trained: the outputs of the trained network: scores [n, classes], or images.
        exported: the outputs of the exported network, free-running, of the same shape.
        of: the number of windows that they were chosen from.
    """

    numbers: list[int]
    inputs: Floats
    labels: Labels | None
    trained: Values
    exported: Values
    of: int

    def __len__(self) -> int:
        return len(self.numbers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of both networks.

    Attributes:
        samples: some windows.
        confusion: the number of windows by label and predicted class of the exported network, [classes, classes]; None
            if no labels are known, or the network does not classify.
    """

    samples: Samples
    confusion: Counts | None


def answers(windows: Windows, trained: Network, exported: Network, classes: int) -> Answers:
    """Return the answers to windows that both networks have classified.

    Args:
        windows: the windows.
        trained: the trained network and its predictions for the windows.
        exported: the exported network and its predictions.
        classes: the number of classes; 0 if the network does not classify.
    """
    numbers = _chosen(len(windows), trained.predictions, exported.predictions)
    inputs = np.concatenate([next(windows.batches(1, at)) for at in numbers])
    labels = windows.labels
    known = labels is not None and len(labels) > numbers[-1]
    samples = Samples(
        numbers=numbers,
        inputs=inputs,
        labels=labels[numbers] if labels is not None and known else None,
        trained=_per_window(trained.run(inputs)),
        exported=_per_window(exported.run(inputs)),
        of=len(windows),
    )
    return Answers(samples=samples, confusion=_confusion(exported.predictions, classes))


def _per_window(output: Values) -> Values:
    """Return the scores of a window if the output [N, T, classes] has scores for each time step."""
    return output.mean(1) if output.ndim == 3 else output


def _chosen(windows: int, trained: Predictions, exported: Predictions) -> list[int]:
    """Return the numbers of some windows, from 0.

    Windows that the two networks answer with different classes come first, then windows that are answered wrongly, then
    a window of each class. No more than half of them are answered wrongly by both networks.
    """
    n = min(len(trained), len(exported))
    if not n:
        return list(range(min(SAMPLES, windows)))
    ours, theirs = trained.likeliest[:n, 0], exported.likeliest[:n, 0]
    labels = exported.labels if exported.labels is not None and len(exported.labels) >= n else None
    kinds = theirs if labels is None else labels[:n]
    differ = np.flatnonzero(ours != theirs).tolist()
    wrong = np.flatnonzero((theirs == ours) & (theirs != kinds)).tolist()
    _, each = np.unique(kinds, return_index=True)
    order = [*differ, *wrong[: SAMPLES // 2], *sorted(each.tolist()), *range(n)]
    return sorted(list(dict.fromkeys(order))[:SAMPLES])


def _confusion(predictions: Predictions, classes: int) -> Counts | None:
    if predictions.labels is None or not classes or not len(predictions):
        return None
    labels = predictions.labels[: len(predictions)]
    predicted = predictions.likeliest[: len(labels), 0]
    fits = (labels >= 0) & (labels < classes) & (predicted < classes)
    if not fits.any():
        return None
    counts = np.bincount(labels[fits] * classes + predicted[fits], minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def pairs(confusion: Counts, most: int) -> Sequence[tuple[int, int, int]]:
    """Return the pairs of classes that are confused most often: the label, the predicted class and the count.

    Args:
        confusion: the counts by label and predicted class.
        most: the largest number of pairs.
    """
    wrong = confusion * (1 - np.eye(len(confusion), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most].tolist()
    found = [(*divmod(at, len(confusion)), int(wrong.flat[at])) for at in order]
    return [pair for pair in found if pair[2]]
