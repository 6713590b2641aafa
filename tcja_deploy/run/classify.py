"""Classifying windows and recordings with a bundle's network: read a batch at a time, and only classes are kept."""

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

from tcja_deploy.budget import batch_size
from tcja_deploy.console import Progress, silent
from tcja_deploy.report.picture import PicturedWindow
from tcja_deploy.run.scores import scores as scores_of
from tcja_runtime.backends import onnxruntime
from tcja_runtime.backends.probe import onnxruntime_probes
from tcja_runtime.backends.select import opened
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.choices import AUTO
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.dataset import load, remarks
from tcja_runtime.data.recordings import Span
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.evidence.agreement import Accuracy
from tcja_runtime.evidence.predictions import Classes
from tcja_runtime.evidence.trace import Values

_HELD = tuple(field.name for field in dataclasses.fields(Span))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classified:
    """Windows and what a network says of them.

    Attributes:
        bundle: its path.
        network: its name.
        backend: what ran it.
        output: what scores are, "rates" or "logits".
        classes: names, in the order of the output.
        files: that the windows are in.
        counts: how many windows of each file, in their order.
        likeliest: the k likeliest classes of each window, int32 [N, k], the likeliest first.
        scores: of these, float32 [N, k].
        labels: of each window, int64 [N]; -1 where it has none.
        spans: of each window, what of a recording it holds; None where it is of none.
        pictured: the first windows as the network took them, float32 [K, ...], if any were asked for.
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

    @property
    def accuracy(self) -> Accuracy:
        """The accuracy on the windows with a label."""
        right = np.count_nonzero(self.likeliest[:, 0] == self.labels)
        return Accuracy(int(right), int(np.count_nonzero(self.labels >= 0)))

    @property
    def confusion(self) -> npt.NDArray[np.int64] | None:
        """How many windows of each class [rows] are taken for each [columns]; None without labels."""
        known = self.labels >= 0
        if not known.any():
            return None
        n = len(self.classes)
        pairs = self.labels[known] * n + self.likeliest[known, 0]
        return np.bincount(pairs, minlength=n * n).reshape(n, n)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each window: its file, its place in that, its label if it has one, its likeliest classes and their scores.

        Of a recording also what of it the window holds (`tcja_runtime.data.recordings.Span`).
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
        """Plain values."""
        return {
            **{name: getattr(self, name) for name in ("bundle", "network", "backend", "output", "classes")},
            "windows": list(self.rows()),
            "labelled": self.accuracy.labelled,
            "accuracy": self.accuracy.share,
            "accuracy_interval": list(self.accuracy.interval) if self.accuracy.labelled else None,
            "confusion": None if self.confusion is None else self.confusion.tolist(),
        }

    def to_csv(self) -> str:
        """A line a window (RFC 4180 with bare line feeds), behind a line of names."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        heads = [f"{head}_{place}" for place in range(1, self.likeliest.shape[1] + 1) for head in ("class", "score")]
        writer.writerow(["file", "window", "label", *heads, *_HELD])
        for row in self.rows():
            cells = [cell for each in row["top"] for cell in (each["class"], f"{each['score']:.9g}")]
            held = (_cell(row[name]) for name in _HELD)
            writer.writerow([row["file"], row["window"], row["label"] or "", *cells, *held])
        return text.getvalue()


def classify(
    path: Path,
    files: Sequence[Path],
    progress: Progress | None = None,
    *,
    backend: str = AUTO,
    trust_engine: bool = False,
    top: int = 2,
    window: Window | None = None,
    pictured: int = 0,
) -> Classified:
    """Classify the windows of files.

    Args:
        path: of the bundle.
        files: of windows or recordings, or folders of them (`tcja_runtime.data.dataset.load`).
        progress: where progress is shown, and why engines are passed over.
        backend: one of `tcja_runtime.choices.BACKENDS`, or `AUTO`.
        trust_engine: whether to load engines that the bundle's manifest does not know.
        top: how many classes to name of each window, at most.
        window: how recordings are cut; None takes each as one window, or as the network's contract has it.
        pictured: how many windows, the first, to keep for a picture.

    Raises:
        BadInput: the bundle or a file cannot be used, or the network does not classify.
        Unavailable: this machine lacks what the backend needs.
    """
    progress = progress or silent()
    with progress.step("check the hashes"):
        found = Bundle.open(path, any_engine=trust_engine)
    manifest = found.manifest
    if not manifest.classes:
        raise BadInput(f"{path}: the network does not classify, so there is nothing to say of a window")
    with progress.step("look through the files"):
        data = [load(file, manifest.input, manifest.classes, window) for file in files]
    with progress.step("load the network"):
        running = opened(found, backend, trust_engine=trust_engine)
    for line in running.passed_over:
        progress.note(line)
    size, total = batch_size(manifest.signature), sum(map(len, data))
    likeliest: list[Classes] = []
    scores: list[Floats] = []
    kept = [np.empty((0, *manifest.input.shape), np.float32)]
    room = pictured
    with progress.counted(f"classify in {running.title}", total) as advance:
        for each in data:
            for inputs in each.batches(size):
                made = running.session.run({manifest.input.name: inputs})[manifest.output]
                output = scores_of(made, found, running.title)
                order = np.argsort(-output, axis=1, kind="stable")[:, :top].astype(np.int32)
                likeliest.append(order)
                scores.append(np.take_along_axis(output, order, axis=1).astype(np.float32))
                if room:
                    kept.append(inputs[:room].copy())
                    room -= len(kept[-1])
                advance(len(inputs))
    parts = [part for each in data for part in each.parts]
    for line in remarks(data):
        progress.note(line)
    counts = [(file, sum(part.count for part in same)) for file, same in itertools.groupby(parts, lambda p: p.file)]
    spans: list[Span | None] = []
    for part in parts:
        spans += part.spans or [None] * part.count
    labels = [np.full(len(each), -1, np.int64) if each.labels is None else each.labels for each in data]
    return Classified(
        bundle=str(path),
        network=manifest.network,
        backend=running.title,
        output=manifest.output,
        classes=list(manifest.classes),
        files=[str(file) for file, _ in counts],
        counts=[count for _, count in counts],
        likeliest=np.concatenate(likeliest),
        scores=np.concatenate(scores),
        labels=np.concatenate(labels),
        spans=spans,
        pictured=np.concatenate(kept),
    )


def seen(path: Path, found: Classified, progress: Progress | None = None) -> list[PicturedWindow]:
    """The windows that were kept for a picture, with what attention lets through of them in ONNX Runtime.

    Args:
        path: of the bundle.
        found: what `classify` says of them.
        progress: where it is said if there is no ONNX Runtime; then gates are left out.
    """
    progress = progress or silent()
    manifest = Bundle.open(path, any_engine=True).manifest
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
    """A value as a cell says it."""
    if value is None:
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
