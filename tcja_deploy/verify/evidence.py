"""The golden vectors and the data on which a network is compared with the trained one."""

from __future__ import annotations

import dataclasses

from tcja_deploy.consistency import contradictions
from tcja_deploy.parity import anytime
from tcja_deploy.verify.options import VerifyOptions
from tcja_runtime.budget import quick_runs
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.statistics.inputs import MeasuredWindows
from tcja_runtime.data.dataset import Data, load
from tcja_runtime.data.recordings import DataOptions
from tcja_runtime.data.windows import GivenWindows
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.predictions import Predictions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """The golden vectors and the data on which a network is compared with the trained one.

    Attributes:
        golden: the golden vectors of the bundle.
        data: the windows of the user's data; None if no data is given.
        measured: the same windows, whose figures are stored when they are read.
        original: the trained network's predictions for the data, or for the golden windows if no data is given; empty
            if they are not known.
        shown: the windows that networks run again with only 1 to T of their frames.
    """

    golden: Golden
    data: Data | None
    measured: MeasuredWindows | None
    original: Predictions
    shown: anytime.ShownWindows


def read_evidence(opened: Bundle, options: VerifyOptions) -> Evidence:
    """Load the golden vectors and the data, and find the predictions of the trained network that are known for them."""
    manifest = opened.manifest
    data = _data(options, manifest)
    vectors = golden.read(opened, manifest.input)
    contradictions.check(vectors, manifest, opened)
    windows = data or vectors.samples
    known = data is None or data.digest == vectors.predictions.digest
    original = vectors.predictions.first(len(windows) if known else 0).on(windows)
    runs = max(quick_runs(manifest.signature), len(data or ()))
    n, before = options.anytime, len(vectors.predictions.shown) if known else 0
    if n is None and 0 < before * manifest.time_steps <= runs:
        n = before
    shown = anytime.ShownWindows.choose(windows, manifest.input, n, runs)
    if len(shown.windows):
        original = dataclasses.replace(original, shown=original.shown[: len(shown.windows)])
    measured = MeasuredWindows(data, manifest.input) if data else None
    return Evidence(golden=vectors, data=data, measured=measured, original=original, shown=shown)


def _data(options: VerifyOptions, manifest: Manifest) -> Data | None:
    """Return the windows of the data to classify; None if no data is given.

    Raises:
        BadInput: the data cannot be used, or an option for data is given without data.
    """
    given, samples = options.data, options.samples
    how = DataOptions(
        camera_view=options.camera_view, labels=options.labels or manifest.labels, reading=options.reading
    )
    if given is None:
        if samples is not None:
            raise BadInput("`samples` is a number of windows of `data`; give `data` too, or leave it out")
        if options.cluster.ray is not None:
            raise BadInput("`ray` shares the windows of `data` among processes; give `data` too, or leave it out")
        for name in [*how.given, *(["labels"] if options.labels else [])]:
            raise BadInput(f"`{name}` is about recordings in `data`; give `data` too, or leave it out")
        return None
    if not manifest.classes:
        named = "`data`" if isinstance(given, GivenWindows) else f"`data` {given}"
        raise BadInput(f"{named}: the network does not classify, so there is nothing to count; leave it out")
    windows = load(given, manifest.input, manifest.classes, how)
    return windows if samples is None else windows.first(samples)
