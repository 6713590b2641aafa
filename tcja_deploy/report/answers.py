"""The answers of the trained and of the exported network to windows: some samples, and what is confused with what."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import Floats, Labels
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.predictions import Predictions, likeliest
from tcja_runtime.evidence.trace import Values

SAMPLES = 6
"""The largest number of sample windows on a page."""

Counts = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """Some windows of the data, with the answers of both networks.

    Attributes:
        numbers: the number of each window in the data, from 1.
        inputs: the inputs of the windows [n, ...].
        labels: the labels of the windows, int64 [n]; None if they are not known.
        trained: the outputs of the reference: scores [n, classes], or images.
        exported: the outputs of the exported network, free-running, of the same shape.
        of: the number of windows that they were chosen from, the first of the data.
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


def answers(vectors: Golden, exported: Values, predictions: Predictions, classes: int) -> Answers:
    """Return the answers to the windows of an export.

    Args:
        vectors: the golden vectors, from which the samples are chosen.
        exported: the outputs of the exported network for these windows and possibly more.
        predictions: the predictions of the exported network for all windows, with their labels if they are known.
        classes: the number of classes; 0 if the network does not classify.
    """
    n = min(len(vectors.samples), len(exported))
    labels = vectors.samples.labels
    known = None if labels is None or len(labels) < n else labels[:n]
    trained, exported = _per_window(vectors.recorded.output[:n]), _per_window(exported[:n])
    chosen = _chosen(trained, exported, known)
    samples = Samples(
        numbers=[at + 1 for at in chosen],
        inputs=vectors.samples.inputs[chosen],
        labels=None if known is None else known[chosen],
        trained=trained[chosen],
        exported=exported[chosen],
        of=n,
    )
    return Answers(samples=samples, confusion=_confusion(predictions, classes))


def _per_window(output: Values) -> Values:
    """Return the scores of a window if the output [N, T, classes] has scores for each time step."""
    return output.mean(1) if output.ndim == 3 else output


def _chosen(trained: Values, exported: Values, labels: Labels | None) -> list[int]:
    """Return the indices of some windows.

    Windows that the two networks answer with different classes come first, then windows that are answered wrongly, then
    a window of each class that is not among them yet.
    """
    theirs, ours = likeliest(exported), likeliest(trained)
    if theirs is None or ours is None:
        return list(range(min(SAMPLES, len(trained))))
    seen: set[int] = set()
    order = []
    for at, (a, b) in enumerate(zip(ours[:, 0].tolist(), theirs[:, 0].tolist(), strict=True)):
        kind = int(b if labels is None else labels[at])
        rank = 0 if a != b else 1 if labels is not None and b != kind else 2 if kind not in seen else 3
        seen.add(kind)
        order.append((rank, at))
    return sorted(at for _, at in sorted(order)[:SAMPLES])


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
