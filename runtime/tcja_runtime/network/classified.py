"""Classifying the windows of files and recordings, a batch at a time; only scores are kept of all windows."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.backends.proven import FiringWatch, InputWatch, Proven, all_unlike
from tcja_runtime.backends.scores import scores as scores_of
from tcja_runtime.backends.select import Backend
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.statistics.inputs import Figures, measured_with_fractions
from tcja_runtime.data.contract import Floats, Labels
from tcja_runtime.data.dataset import Data, remarks
from tcja_runtime.data.recordings import Span
from tcja_runtime.evidence.agreement import Accuracy
from tcja_runtime.files.text import one_line
from tcja_runtime.model_file.tensor_names import SPIKE_COUNTS
from tcja_runtime.predictions import Predictions, without_score
from tcja_runtime.records import argument, check_size

_HELD = tuple(field.name for field in dataclasses.fields(Span))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ClassifiedWindows(Predictions):
    """The predictions for the N windows of files.

    Attributes:
        bundle: the bundle's path.
        network: the network's name.
        backend: the title of the backend that ran the network.
        files: the paths of the files with the windows.
        counts: the number of windows of each file.
        labels: the label of each window, int64 [N]; -1 for a window without a label.
        spans: the part of a recording that each window holds; None for a window that is not from a recording.
        pictured: the input of the network for the first windows, float32 [n, ...], as many as were asked for.
        remarks: notes on the files, a line each: what was assumed about them, and what was left out.
        drifted: the number of windows in which a layer fires far outside the range of the windows of the proof; None if
            it is not known: the bundle has no spike counts, or was proven on random windows or on fewer than 16.
    """

    bundle: str
    network: str
    backend: str
    files: Sequence[str]
    counts: Sequence[int]
    labels: Labels
    spans: Sequence[Span | None]
    pictured: Floats
    remarks: Sequence[str]
    drifted: int | None = None

    @property
    def without_score(self) -> int:
        """The number of windows in which all scores are 0; 0 for a network with one class."""
        return int(np.count_nonzero(without_score(self.scores)))

    @property
    def accuracy(self) -> Accuracy:
        """The accuracy on the windows that have a label."""
        right = np.count_nonzero(self.indices == self.labels)
        return Accuracy(int(right), int(np.count_nonzero(self.labels >= 0)))

    @property
    def confusion(self) -> npt.NDArray[np.int64] | None:
        """The number of windows by label (rows) and predicted class (columns); None if no window has a label."""
        known = self.labels >= 0
        if not known.any():
            return None
        n = len(self.class_names)
        pairs = self.labels[known] * n + self.indices[known]
        return np.bincount(pairs, minlength=n * n).reshape(n, n)

    @property
    def places(self) -> list[tuple[str, int]]:
        """The file of each window, and the number of the window in its file."""
        files = zip(self.files, self.counts, strict=True)
        return [(file, window) for file, count in files for window in range(count)]

    def rows(self, top: int = 2) -> Iterator[dict[str, Any]]:
        """Yield a dictionary for each window: its file, its number in the file, its label, and its likeliest classes.

        The label is None for a window without one. The fields of `tcja_runtime.data.recordings.Span` follow; they are
        None for a window that is not from a recording.

        Args:
            top: the number of classes.

        Raises:
            BadInput: `top` is not a whole number of at least 1. So it is for `to_dict` and `to_csv`.
        """
        _check_top(top)
        for (file, window), found, label, span in zip(self.places, self, self.labels, self.spans, strict=True):
            named = [{"class": name, "score": score} for name, score in found.top(top)]
            held = dict.fromkeys(_HELD) if span is None else dataclasses.asdict(span)
            yield {"file": file, "window": window, "label": self._label(label), "top": named, **held}

    def to_dict(self, top: int = 2) -> dict[str, Any]:
        """Return plain values for JSON, with the `top` likeliest classes of each window."""
        return {
            **{name: getattr(self, name) for name in ("bundle", "network", "backend", "output")},
            "classes": list(self.class_names),
            "windows": list(self.rows(top)),
            "unlike": self.unlike,
            "drifted": self.drifted,
            "labelled": self.accuracy.labelled,
            "accuracy": self.accuracy.share,
            "accuracy_interval": list(self.accuracy.interval) if self.accuracy.labelled else None,
            "confusion": None if self.confusion is None else self.confusion.tolist(),
        }

    def to_csv(self, top: int = 2) -> str:
        """Return CSV with the `top` likeliest classes of each window: a line of column names, then a line a window.

        It is RFC 4180, but lines end with LF.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        _check_top(top)
        places = range(1, min(top, len(self.class_names)) + 1)
        heads = [f"{head}_{place}" for place in places for head in ("class", "score")]
        writer.writerow(["file", "window", "label", *heads, *_HELD])
        for row in self.rows(top):
            cells = [cell for each in row["top"] for cell in (each["class"], f"{each['score']:.9g}")]
            held = (_cell(row[name]) for name in _HELD)
            writer.writerow([row["file"], row["window"], row["label"] or "", *cells, *held])
        return text.getvalue()

    def __str__(self) -> str:
        of = self.accuracy
        said = [f"{of.right:,} of {of.labelled:,} windows with a label are classified right"] if of.labelled else []
        return "\n".join([super().__str__(), *said, *map(one_line, self.remarks)])

    def _title(self, window: int) -> str:
        (file, number), span, label = self.places[window], self.spans[window], self._label(self.labels[window])
        when = f", {span.begin / 1e6:.3f} to {span.end / 1e6:.3f} s" if span else ""
        return f"{file}, window {number}{when}{f' (label {label})' if label is not None else ''}"

    def _label(self, label: int) -> str | None:
        return self.class_names[label] if label >= 0 else None


def _check_top(top: int) -> None:
    check_size("top", argument("top", top, int), 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifiedBatch:
    """What is kept of a batch of n windows.

    Attributes:
        backend: the title of the backend that ran the network.
        scores: the scores of the classes, float32 [n, classes].
        figures: what the windows look like (`tcja_runtime.bundle.statistics.inputs.measured_with_fractions`).
        returned: the spike counts that the network returned, by the name of the output; empty if it returns none.
        pictured: the inputs of the first windows, as many as are kept, float32 [k, ...].
    """

    backend: str
    scores: Floats
    figures: Figures
    returned: Mapping[str, npt.NDArray[Any]]
    pictured: Floats


@dataclasses.dataclass(frozen=True)
class BatchClassifier:
    """Classifies batches of windows.

    Attributes:
        bundle: the network's bundle.
        backend: the loaded network.
        pictured: the number of windows whose inputs are kept, from the first window on.
    """

    bundle: Bundle
    backend: Backend
    pictured: int = 0

    def run(self, start: int, inputs: Floats) -> ClassifiedBatch:
        """Classify a batch.

        Args:
            start: the number of its first window among all windows.
            inputs: the windows [n, ...].

        Raises:
            BadInput: the network does not take the windows, or a score is NaN or infinite.
        """
        manifest = self.bundle.manifest
        returned = self.backend.session.run({manifest.input.name: inputs})
        return ClassifiedBatch(
            backend=self.backend.title,
            scores=scores_of(returned[manifest.output], self.bundle, self.backend.title),
            figures=measured_with_fractions(manifest.input, inputs),
            returned={name: returned[name] for name in (SPIKE_COUNTS,) if name in returned},
            pictured=inputs[: max(0, self.pictured - start)].copy(),
        )


def classified(bundle: Bundle, backend: Backend, data: Sequence[Data], *, pictured: int = 0) -> ClassifiedWindows:
    """Classify all windows of data sets, a batch at a time.

    Args:
        bundle: the network's bundle.
        backend: the loaded network.
        data: the data sets.
        pictured: the number of windows whose inputs are kept, from the first window on.

    Raises:
        BadInput: the network does not classify, a file is damaged, or a score is NaN or infinite.
    """
    return gathered(bundle, data, classified_batches(BatchClassifier(bundle, backend, pictured), data))


def classified_batches(classifier: BatchClassifier, data: Sequence[Data]) -> Iterator[ClassifiedBatch]:
    """Yield what is kept of each batch of data sets, in their order (`classified`)."""
    classifier.bundle.check_classifies()
    size, start = batch_size(classifier.bundle.manifest.signature), 0
    for inputs in itertools.chain.from_iterable(each.batches(size) for each in data):
        yield classifier.run(start, inputs)
        start += len(inputs)


def gathered(bundle: Bundle, data: Sequence[Data], batches: Iterable[ClassifiedBatch]) -> ClassifiedWindows:
    """Join what is kept of all batches of data sets.

    Args:
        bundle: the network's bundle.
        data: the data sets, whose windows were read when the batches were made.
        batches: what is kept of each batch, in their order.
    """
    manifest, title = bundle.manifest, ""
    scores = [np.empty((0, len(manifest.classes)), np.float32)]
    watch, firing = InputWatch(Proven(bundle)), FiringWatch(bundle)
    kept = [np.empty((0, *manifest.input.shape), np.float32)]
    for batch in batches:
        title = batch.backend
        scores.append(batch.scores)
        watch.add_measured(batch.figures)
        firing.add(batch.returned)
        kept.append(batch.pictured)
    parts = [part for each in data for part in each.parts]
    counts = [(file, sum(part.count for part in same)) for file, same in itertools.groupby(parts, lambda p: p.file)]
    spans: list[Span | None] = []
    for part in parts:  # the spans of a recording are known after its windows were read
        spans += part.reading.spans if part.reading else [None] * part.count
    labels = [np.full(len(each), -1, np.int64) if each.labels is None else each.labels for each in data]
    return ClassifiedWindows(
        scores=np.concatenate(scores),
        class_names=tuple(manifest.classes),
        output=manifest.output,
        bundle=str(bundle.path),
        network=manifest.network,
        backend=title,
        files=[str(file) for file, _ in counts],
        counts=[count for _, count in counts],
        labels=np.concatenate(labels),
        spans=spans,
        pictured=np.concatenate(kept),
        unlike=all_unlike(watch, firing),
        drifted=firing.drifted,
        remarks=remarks(data),
    )


def _cell(value: object) -> object:
    """Return a value as a cell of the CSV: an empty text for None, "yes" or "no" for a truth value."""
    if value is None:
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
