"""Proving parity again on this machine, from what the bundle carries."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tcja_deploy import bisection, parity
from tcja_deploy.bisection import Culprit
from tcja_deploy.comparison import Compared, compare
from tcja_deploy.console import Steps, silent
from tcja_deploy.probes import onnxruntime_probes
from tcja_runtime import bundle, golden, stimulus
from tcja_runtime.bundle import Bundle, Manifest
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


def verify(path: Path, steps: Steps | None = None, *, bisect: bool = False) -> Verified:
    """Check a bundle's hashes and run its models on its golden vectors; numpy and ONNX Runtime suffice.

    Args:
        path: of the bundle.
        steps: where progress is shown.
        bisect: whether to find what is wrong, if anything is.

    Raises:
        BadInput: the bundle is damaged, or its files do not belong together.
        Unavailable: ONNX Runtime is missing.
    """
    steps = steps or silent()
    with steps.step("check the hashes"):
        opened = Bundle.open(path)
    manifest = opened.manifest
    vectors = golden.load(path / bundle.GOLDEN, manifest.input)
    _check_fit(vectors, manifest, path)
    probes = onnxruntime_probes(path, manifest.input.name, manifest.output, manifest.layers, manifest.taps)
    scenes = {
        name: (stimulus.inputs(manifest.input, len(recorded)), recorded) for name, recorded in vectors.scenes.items()
    }
    network = Compared.of(manifest)
    with steps.counted("compare with the golden vectors", len(vectors.samples)) as advance:
        report = compare(
            vectors.reference,
            f"golden vectors ({manifest.parity['reference']})",
            probes,
            vectors.samples,
            scenes,
            network,
            advance=advance,
        )
    culprit = None
    if bisect and not report.met:
        with steps.step("find what is wrong"):
            culprit = bisection.bisect(report, path, probes, scenes, vectors, network, manifest.taps)
    return Verified(opened, report, culprit)


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
    )
    if not fits:
        raise BadInput(f"{path / bundle.GOLDEN} is of another network than the manifest; export the bundle again")
