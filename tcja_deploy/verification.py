"""Proving parity again on this machine, from what the bundle carries."""

from __future__ import annotations

from pathlib import Path

from tcja_deploy import parity
from tcja_deploy.console import Steps, silent
from tcja_deploy.probes import onnxruntime_probes
from tcja_runtime import bundle, golden
from tcja_runtime.bundle import Bundle


def verify(path: Path, steps: Steps | None = None) -> tuple[Bundle, parity.Report]:
    """Check a bundle's hashes and run its models on its golden vectors; numpy and ONNX Runtime suffice.

    Raises:
        BadInput: the bundle is damaged.
        Unavailable: ONNX Runtime is missing.
    """
    steps = steps or silent()
    with steps.step("check the hashes"):
        opened = Bundle.open(path)
    manifest = opened.manifest
    vectors = golden.load(path / bundle.GOLDEN, manifest.input)
    probes = onnxruntime_probes(path, manifest.input.name, manifest.output, manifest.layers)
    with steps.counted("compare with the golden vectors", len(vectors.samples)) as advance:
        report = parity.compare(
            vectors.trace,
            f"golden vectors ({manifest.parity['reference']})",
            probes,
            vectors.samples,
            manifest.layers,
            time_steps=manifest.time_steps,
            advance=advance,
        )
    return opened, report
