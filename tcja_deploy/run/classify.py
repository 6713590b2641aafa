"""Classifying windows and recordings with a bundle's network, a batch at a time; only classes and scores are kept."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_deploy.console import Progress, silent
from tcja_deploy.report.picture import PicturedWindow
from tcja_runtime.backends import onnxruntime
from tcja_runtime.backends.probe import onnxruntime_probes
from tcja_runtime.backends.scores import scores as scores_of
from tcja_runtime.backends.select import Backend, opened
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.input_statistics import Figures, measured
from tcja_runtime.choices import AUTO
from tcja_runtime.data.camera import WHOLE, CameraView
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.dataset import Data, load, remarks
from tcja_runtime.data.recordings import DataOptions, Span
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.events import ReadOptions
from tcja_runtime.evidence.agreement import Accuracy
from tcja_runtime.evidence.predictions import Classes
from tcja_runtime.evidence.trace import Values
from tcja_runtime.records import check_arguments, check_size

_HELD = tuple(field.name for field in dataclasses.fields(Span))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifiedWindows:
    """Windows of files, and the classes that a network predicts for them: N windows, and the K likeliest of each.

    Attributes:
        bundle: the bundle's path.
        network: the network's name.
        backend: the title of the backend that ran the network.
        output: the kind of the scores, "rates" or "logits".
        classes: the names of the classes, in the order of the output.
        files: the paths of the files with the windows.
        counts: the number of windows of each file.
        likeliest: the K likeliest classes of each window, int32 [N, K], the likeliest first.
        scores: the scores of these classes, float32 [N, K].
        labels: the label of each window, int64 [N]; -1 for a window without a label.
        spans: the part of a recording that each window holds; None for a window that is not from a recording.
        pictured: the input of the network for the first windows, float32 [n, ...]; at most `RunOptions.pictured` of
            them.
        unlike: a sentence if the windows look unlike those that the network was proven on; else empty.
    """

    bundle: str
    network: str
    backend: str
    output: str
    classes: list[str]
    files: list[str]
    counts: list[int]
    likeliest: Classes
    scores: Floats
    labels: npt.NDArray[np.int64]
    spans: list[Span | None]
    pictured: Floats
    unlike: str

    @property
    def without_score(self) -> int:
        """The number of windows in which the likeliest classes, at least two, all have the score 0."""
        return int(np.count_nonzero(~self.scores.any(axis=1))) if self.scores.shape[1] > 1 else 0

    @property
    def accuracy(self) -> Accuracy:
        """The accuracy on the windows that have a label."""
        right = np.count_nonzero(self.likeliest[:, 0] == self.labels)
        return Accuracy(int(right), int(np.count_nonzero(self.labels >= 0)))

    @property
    def confusion(self) -> npt.NDArray[np.int64] | None:
        """The number of windows by label (rows) and predicted class (columns); None if no window has a label."""
        known = self.labels >= 0
        if not known.any():
            return None
        n = len(self.classes)
        pairs = self.labels[known] * n + self.likeliest[known, 0]
        return np.bincount(pairs, minlength=n * n).reshape(n, n)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a dictionary for each window: its file, its number in the file, its label, and its likeliest classes.

        The label is None for a window without one. The fields of `tcja_runtime.data.recordings.Span` follow; they are
        None for a window that is not from a recording.
        """
        places = (
            (file, window) for file, count in zip(self.files, self.counts, strict=True) for window in range(count)
        )
        for (file, window), classes, scores, label, span in zip(
            places, self.likeliest, self.scores, self.labels, self.spans, strict=True
        ):
            top = [
                {"class": self.classes[index], "score": float(score)}
                for index, score in zip(classes, scores, strict=True)
            ]
            named = self.classes[label] if label >= 0 else None
            held = dict.fromkeys(_HELD) if span is None else dataclasses.asdict(span)
            yield {"file": file, "window": window, "label": named, "top": top, **held}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            **{name: getattr(self, name) for name in ("bundle", "network", "backend", "output", "classes")},
            "windows": list(self.rows()),
            "unlike": self.unlike,
            "labelled": self.accuracy.labelled,
            "accuracy": self.accuracy.share,
            "accuracy_interval": list(self.accuracy.interval) if self.accuracy.labelled else None,
            "confusion": None if self.confusion is None else self.confusion.tolist(),
        }

    def to_csv(self) -> str:
        """Return CSV (RFC 4180, but lines end with LF): a line of column names, then a line for each window."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        heads = [f"{head}_{place}" for place in range(1, self.likeliest.shape[1] + 1) for head in ("class", "score")]
        writer.writerow(["file", "window", "label", *heads, *_HELD])
        for row in self.rows():
            cells = [cell for each in row["top"] for cell in (each["class"], f"{each['score']:.9g}")]
            held = (_cell(row[name]) for name in _HELD)
            writer.writerow([row["file"], row["window"], row["label"] or "", *cells, *held])
        return text.getvalue()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of a classification of files.

    Attributes:
        backend: one of `tcja_runtime.choices.BACKENDS`, or `AUTO`.
        trust_engine: whether to load engines that the bundle's manifest does not list.
        top: the largest number of classes to name for each window.
        window: the windows that recordings are cut into; None takes a recording, or a labelled segment of it, as one
            window, unless the rule of the network's contract makes several of it.
        camera_view: what frames are made from, instead of what the network's contract says.
        labels: the rule by which folders and label files tell classes, one of `tcja_runtime.choices.LABEL_RULES`; None
            takes the rule of the bundle.
        pictured: the number of windows to keep for a picture, from the first window on.
        reading: what the user says about recordings that do not say it themselves.
    """

    backend: str = AUTO
    trust_engine: bool = False
    top: int = 2
    window: Window | None = None
    camera_view: CameraView = WHOLE
    labels: str | None = None
    pictured: int = 0
    reading: ReadOptions = dataclasses.field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
        check_arguments(self)
        check_size("top", self.top, 1, 1000)
        check_size("pictured", self.pictured, 0, 2**20)


def classify(
    path: Path, files: Sequence[Path], options: RunOptions | None = None, progress: Progress | None = None
) -> ClassifiedWindows:
    """Classify the windows of files.

    Args:
        path: the bundle.
        files: files of windows, recordings, or folders of them (`tcja_runtime.data.dataset.load`).
        options: the options of the classification.
        progress: where to show progress, and the reason for each engine that is not run.

    Raises:
        BadInput: the bundle or a file cannot be used, or the network does not classify.
        Unavailable: this machine lacks a package or device that the backend needs.
    """
    options, progress = options or RunOptions(), progress or silent()
    with progress.step("check the hashes"):
        bundle = Bundle.open(path, any_engine=options.trust_engine, to_run=True)
    manifest = bundle.manifest
    if not manifest.classes:
        raise BadInput(f"{path}: the network has no classes, so it cannot classify")
    with progress.step("open the files"):
        how = DataOptions(
            window=options.window,
            camera_view=options.camera_view,
            labels=options.labels or manifest.labels,
            reading=options.reading,
        )
        data = [load(file, manifest.input, manifest.classes, how) for file in files]
    with progress.step("load the network"):
        backend = opened(bundle, options.backend, trust_engine=options.trust_engine)
    for line in backend.not_run:
        progress.note(line)
    found = _classified(bundle, backend, data, options, progress)
    for line in (*remarks(data), *([found.unlike] if found.unlike else [])):
        progress.note(line)
    return found


def _classified(
    bundle: Bundle, backend: Backend, data: Sequence[Data], options: RunOptions, progress: Progress
) -> ClassifiedWindows:
    """Run all windows, a batch at a time. Returns their likeliest classes."""
    manifest = bundle.manifest
    likeliest: list[Classes] = []
    scores: list[Floats] = []
    figures: list[Figures] = []
    pictured, missing = [np.empty((0, *manifest.input.shape), np.float32)], options.pictured
    with progress.counted(f"classify in {backend.title}", sum(map(len, data))) as advance:
        for inputs in itertools.chain.from_iterable(each.batches(batch_size(manifest.signature)) for each in data):
            output = backend.session.run({manifest.input.name: inputs})[manifest.output]
            found = scores_of(output, bundle, backend.title)
            order = np.argsort(-found, axis=1, kind="stable")[:, : options.top].astype(np.int32)
            likeliest.append(order)
            scores.append(np.take_along_axis(found, order, axis=1).astype(np.float32))
            figures.append(measured(manifest.input, inputs))
            if missing:
                pictured.append(inputs[:missing].copy())
                missing -= len(pictured[-1])
            advance(len(inputs))
    parts = [part for each in data for part in each.parts]
    counts = [(file, sum(part.count for part in same)) for file, same in itertools.groupby(parts, lambda p: p.file)]
    spans: list[Span | None] = []
    for part in parts:  # the spans of a recording are known after its windows were read
        spans += part.reading.spans if part.reading else [None] * part.count
    labels = [np.full(len(each), -1, np.int64) if each.labels is None else each.labels for each in data]
    return ClassifiedWindows(
        bundle=str(bundle.path),
        network=manifest.network,
        backend=backend.title,
        output=manifest.output,
        classes=list(manifest.classes),
        files=[str(file) for file, _ in counts],
        counts=[count for _, count in counts],
        likeliest=np.concatenate(likeliest),
        scores=np.concatenate(scores),
        labels=np.concatenate(labels),
        spans=spans,
        pictured=np.concatenate(pictured),
        unlike=manifest.unlike(np.concatenate(figures)),
    )


def pictured_windows(path: Path, found: ClassifiedWindows, progress: Progress | None = None) -> list[PicturedWindow]:
    """Return the windows that were kept for a picture, with the gates of the network's attention.

    ONNX Runtime computes the gates. If it is not installed, they are left out.

    Args:
        path: the bundle.
        found: the classified windows.
        progress: where to show why the gates are left out.
    """
    progress = progress or silent()
    manifest = Bundle.open(path, any_engine=True, to_run=True).manifest
    gates: Mapping[str, Values] = {}
    try:
        onnxruntime.require()
        probe, *_ = onnxruntime_probes(path, manifest.signature)
        gates = probe.gates(found.pictured)
    except Unavailable as error:
        progress.note(f"the picture has no gates: {error}")
    return [
        PicturedWindow(
            title=f"{row['file']}, window {row['window']}",
            label=row["label"],
            top=[(each["class"], each["score"]) for each in row["top"]],
            inputs=inputs,
            polarity=manifest.input.polarity,
            gates={name: values[:, at].reshape(len(values), -1) for name, values in gates.items()},
        )
        for at, (row, inputs) in enumerate(zip(found.rows(), found.pictured, strict=False))
    ]


def _cell(value: object) -> object:
    """Return a value as a cell of the CSV: an empty text for None, "yes" or "no" for a truth value."""
    if value is None:
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
