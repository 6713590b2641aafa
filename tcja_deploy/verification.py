"""Proving parity again on this machine, from what the bundle carries."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path

from tcja_deploy import bisection, parity
from tcja_deploy.answering import answers, identity
from tcja_deploy.bisection import Culprit
from tcja_deploy.comparison import Compared, batch_size, compare, with_statistics
from tcja_deploy.console import Steps, silent
from tcja_deploy.probes import onnxruntime_probes
from tcja_runtime import bundle, golden, stimulus
from tcja_runtime.agreement import TOP, agreement
from tcja_runtime.bundle import Bundle, Manifest
from tcja_runtime.data import Data, load
from tcja_runtime.errors import BadInput
from tcja_runtime.golden import Golden


@dataclasses.dataclass(frozen=True)
class Verified:
    """What verification found.

    Attributes:
        bundle: that was verified.
        report: the comparison.
        culprit: where it first goes wrong, if that was asked for and anything does.
    """

    bundle: Bundle
    report: parity.Report
    culprit: Culprit | None


def verify(
    path: Path,
    steps: Steps | None = None,
    *,
    data: Path | None = None,
    samples: int | None = None,
    bisect: bool = False,
) -> Verified:
    """Check a bundle's hashes and run its models on its golden vectors; numpy and ONNX Runtime suffice.

    Args:
        path: of the bundle.
        steps: where progress is shown.
        data: windows to classify besides, running free (`tcja_runtime.data.load`). How the trained network classifies
            them is known where it was exported with the same.
        samples: how many of these to take, at most; None takes all.
        bisect: whether to find what is wrong, if anything is.

    Raises:
        BadInput: the bundle is damaged, its files do not belong together, or the data cannot be used.
        Unavailable: ONNX Runtime is missing.
    """
    steps = steps or silent()
    with steps.step("check the hashes"):
        opened = Bundle.open(path)
    manifest = opened.manifest
    windows = _data(data, samples, manifest)
    vectors = golden.load(path / bundle.GOLDEN, manifest.input)
    _check_fit(vectors, manifest, path)
    probes = onnxruntime_probes(path, manifest.input.name, manifest.output, manifest.layers, manifest.taps)
    scenes = {
        name: (stimulus.inputs(manifest.input, len(recorded)), recorded) for name, recorded in vectors.scenes.items()
    }
    network = Compared.of(manifest)
    size = batch_size(manifest.layers, manifest.time_steps)
    with steps.counted("compare with the golden vectors", len(vectors.samples)) as advance:
        found = compare(vectors.batches(size), probes, scenes, network, advance=advance)

    statistics = None
    if found.original is not None and found.exported is not None:
        # The golden vectors are of the network in its precision; what is counted is how the trained one classifies.
        probe, exported = probes[0], found.exported
        original = vectors.answers.likeliest[: len(vectors.samples)]
        source, labels = vectors.samples.source, vectors.samples.labels
        if windows:
            known = vectors.answers.data == windows.digest
            original = vectors.answers.likeliest if known else original[:0]
            who, title = f"{probe.backend} of {identity(path, probe.model)}", f"classify with {probe.backend}"
            none = exported[:0]
            with ExitStack() as until:
                exported = answers(
                    probe.output, windows, size, known=none, who=who, title=title, steps=steps, until=until
                )
            source, labels = windows.source, windows.labels
        statistics = agreement(source, original, exported, labels)
    report = parity.Report(
        reference=f"golden vectors ({manifest.parity['reference']})",
        source=vectors.samples.source,
        real=vectors.samples.real,
        windows=len(vectors.samples),
        estimated={},
        backends=[with_statistics(found.parity, statistics)],
    )
    culprit = None
    if bisect and not report.met:
        with steps.step("find what is wrong"):
            culprit = bisection.bisect(report, path, probes, scenes, vectors, network, manifest.taps)
    return Verified(opened, report, culprit)


def _data(path: Path | None, samples: int | None, manifest: Manifest) -> Data | None:
    """The data to classify; None where there are none."""
    if samples is not None and samples < 1:
        raise BadInput(f"--samples {samples} must be at least 1")
    if path is None:
        if samples is not None:
            raise BadInput("--samples says how many windows of --data to take; give --data too, or leave it out")
        return None
    if not manifest.classes:
        raise BadInput(f"--data {path}: the network does not classify, so there is nothing to count; leave it out")
    windows = load(path, manifest.input, len(manifest.classes))
    return windows if samples is None else windows.first(samples)


def _check_fit(vectors: Golden, manifest: Manifest, path: Path) -> None:
    """Refuse golden vectors of another network, so that what is compared is what the manifest describes."""
    n, labels = len(vectors.samples), vectors.samples.labels
    found = {layer: (len(packed.rows), *packed.shape) for layer, packed in vectors.spikes.items()}
    fits = (
        n > 0
        and vectors.samples.inputs.shape == (n, *manifest.input.shape)
        and vectors.recorded.output.shape == (n, *manifest.output_shape)
        and found == {layer.name: (n, manifest.time_steps, *layer.shape) for layer in manifest.layers}
        and (labels is None or labels.shape == (n,))
        and vectors.answers.likeliest.ndim == 2
        and vectors.answers.likeliest.shape[1] == min(TOP, len(manifest.classes))
    )
    if not fits:
        raise BadInput(f"{path / bundle.GOLDEN} is of another network than the manifest; export the bundle again")
