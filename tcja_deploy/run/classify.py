"""Classifying files with a bundle's network, with the progress on the terminal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tcja_deploy.cluster.cluster import joined
from tcja_deploy.cluster.job import Job, Runner
from tcja_deploy.cluster.options import ClusterOptions
from tcja_deploy.cluster.shared import SharedBundle
from tcja_deploy.console import Progress, silent
from tcja_deploy.report.picture import PicturedWindow
from tcja_runtime.backends import onnxruntime
from tcja_runtime.backends.probe import onnxruntime_probes
from tcja_runtime.backends.select import opened
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.choices import AUTO
from tcja_runtime.data.camera import WHOLE, CameraView
from tcja_runtime.data.dataset import Data, load
from tcja_runtime.data.recordings import DataOptions
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import Unavailable
from tcja_runtime.events import ReadOptions
from tcja_runtime.evidence.trace import Values
from tcja_runtime.network.classified import (
    BatchClassifier,
    ClassifiedBatch,
    ClassifiedWindows,
    classified_batches,
    gathered,
)
from tcja_runtime.records import check_arguments, check_size
from tcja_runtime.signing.trust import Trust


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of a classification of files.

    Attributes:
        backend: one of `tcja_runtime.choices.BACKENDS`, or `AUTO`.
        trust: whom and what the user trusts: keys, and engines of unknown origin.
        window: the windows that recordings are cut into; None takes a recording, or a labelled segment of it, as one
            window, unless the rule of the network's contract makes several of it.
        camera_view: what frames are made from, instead of what the network's contract says.
        labels: the rule by which folders and label files tell classes, one of `tcja_runtime.choices.LABEL_RULES`; None
            takes the rule of the bundle.
        pictured: the number of windows to keep for a picture, from the first window on.
        reading: what the user says about recordings that do not say it themselves.
        cluster: the Ray that shares the windows among processes, if any.
    """

    backend: str = AUTO
    trust: Trust = dataclasses.field(default_factory=Trust)
    window: Window | None = None
    camera_view: CameraView = WHOLE
    labels: str | None = None
    pictured: int = 0
    reading: ReadOptions = dataclasses.field(default_factory=ReadOptions)
    cluster: ClusterOptions = dataclasses.field(default_factory=ClusterOptions)

    def __post_init__(self) -> None:
        check_arguments(self)
        check_size("pictured", self.pictured, 0, 2**20)


def opened_bundle(path: Path, options: RunOptions | None = None, progress: Progress | None = None) -> Bundle:
    """Return a bundle whose network classifies, after its hashes were checked.

    Raises:
        BadInput: the bundle cannot be used, or its network does not classify.
    """
    options, progress = options or RunOptions(), progress or silent()
    with progress.step("check the hashes"):
        bundle = Bundle.open(path, options.trust, to_run=True)
    bundle.check_classifies()
    return bundle


def classify(
    bundle: Bundle, files: Sequence[Path], options: RunOptions | None = None, progress: Progress | None = None
) -> ClassifiedWindows:
    """Classify the windows of files.

    Args:
        bundle: the bundle.
        files: files of windows, recordings, or folders of them (`tcja_runtime.data.dataset.load`).
        options: the options of the classification.
        progress: where to show progress, and the reason for each engine that is not run.

    Raises:
        BadInput: the bundle or a file cannot be used.
        Unavailable: this machine lacks a package or device that the backend needs.
    """
    options, progress = options or RunOptions(), progress or silent()
    manifest = bundle.manifest
    with progress.step("open the files"):
        how = DataOptions(
            window=options.window,
            camera_view=options.camera_view,
            labels=options.labels or manifest.labels,
            reading=options.reading,
        )
        data = [load(file, manifest.input, manifest.classes, how) for file in files]
    batches = (_with_ray if options.cluster.ray else _in_this_process)(bundle, data, options, progress)
    found = gathered(bundle, data, batches)
    for line in (*found.remarks, *filter(None, [found.unlike])):
        progress.note(line)
    return found


def _counted(
    title: str, batches: Iterable[ClassifiedBatch], data: Sequence[Data], progress: Progress
) -> Iterator[ClassifiedBatch]:
    """Yield what is kept of each batch of data sets, with the progress on the terminal."""
    with progress.counted(title, sum(map(len, data))) as advance:
        for batch in batches:
            yield batch
            advance(len(batch.scores))


def _in_this_process(
    bundle: Bundle, data: Sequence[Data], options: RunOptions, progress: Progress
) -> Iterator[ClassifiedBatch]:
    """Yield what is kept of each batch of data sets."""
    with progress.step("load the network"):
        backend = opened(bundle, options.backend)
    if not options.pictured:  # a picture needs the gates, which ONNX Runtime computes
        bundle.release()
    for line in backend.not_run:
        progress.note(line)
    batches = classified_batches(BatchClassifier(bundle, backend, options.pictured), data)
    yield from _counted(f"classify in {backend.title}", batches, data, progress)


def _with_ray(
    bundle: Bundle, data: Sequence[Data], options: RunOptions, progress: Progress
) -> Iterator[ClassifiedBatch]:
    """Yield what is kept of each batch of data sets, which the workers of a cluster classify."""
    manifest = bundle.manifest
    work = ClassifyWork(bundle=SharedBundle.of(bundle, options.trust, options.backend), pictured=options.pictured)
    if not options.pictured:
        bundle.release()
    size, window_bytes = batch_size(manifest.signature), 4 * math.prod(manifest.input.shape)
    with joined(options.cluster, progress) as cluster:
        batches = cluster.outcomes(Job(work=work, data=data, size=size, window_bytes=window_bytes))
        yield from _counted("classify with Ray", batches, data, progress)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifyWork:
    """The classification of windows as the `Work` of a cluster.

    Attributes:
        bundle: the bundle.
        pictured: the number of windows whose inputs are kept, from the first window on.
    """

    bundle: SharedBundle
    pictured: int

    @property
    def device(self) -> str:
        return self.bundle.device

    def runner(self) -> Runner:
        """Load the network."""
        bundle = self.bundle.opened()
        backend = opened(bundle, self.bundle.backend)
        bundle.release()
        classifier = BatchClassifier(bundle, backend, self.pictured)
        return Runner(title=backend.title, run=classifier.run, notes=backend.not_run)


def pictured_windows(
    bundle: Bundle, found: ClassifiedWindows, top: int, progress: Progress | None = None
) -> list[PicturedWindow]:
    """Return the windows that were kept for a picture, with the gates of the network's attention.

    ONNX Runtime computes the gates. If it is not installed, they are left out.

    Args:
        bundle: the bundle.
        found: the classified windows.
        top: the number of classes to name for each window.
        progress: where to show why the gates are left out.
    """
    progress = progress or silent()
    gates: Mapping[str, Values] = {}
    try:
        onnxruntime.require()
        probe, *_ = onnxruntime_probes(bundle, bundle.manifest.signature)
        gates = probe.gates(found.pictured)
    except Unavailable as error:
        progress.note(f"the picture has no gates: {error}")
    return [
        PicturedWindow(
            title=f"{row['file']}, window {row['window']}",
            label=row["label"],
            top=window.standing_out(top),
            kind=bundle.manifest.input.name,
            inputs=inputs,
            polarity=bundle.manifest.input.polarity,
            gates={name: values[:, at].reshape(len(values), -1) for name, values in gates.items()},
        )
        for at, (row, window, inputs) in enumerate(zip(found.rows(top), found, found.pictured, strict=False))
    ]
