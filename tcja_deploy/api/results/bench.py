"""The result of `tcja_deploy.bench`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from tcja_deploy.api.results.result import ResultOfBundle
from tcja_deploy.bench.results import Benchmark, Case
from tcja_deploy.formatting import si
from tcja_deploy.texts.bench import bench_text
from tcja_deploy.texts.options import TextOptions
from tcja_runtime.counting import listed


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class BenchResult(ResultOfBundle):
    """The result of `tcja_deploy.bench`.

    Attributes:
        bundle: the path of the bundle.
        measured: the measurements, and the conditions of the machine (`tcja_deploy.bench.results.Benchmark`).
        notes: why engines of the bundle were not run, a line each.
    """

    bundle: Path
    measured: Benchmark
    notes: tuple[str, ...]

    @property
    def cases(self) -> list[Case]:
        """The measurements of each backend with each batch size: latency in seconds, memory in bytes."""
        return self.measured.cases

    @property
    def verdict(self) -> str:
        """The result in a sentence: the median latency of each case."""
        return listed((f"{_latency(case)} in {case.title}, batch {case.batch}" for case in self.cases), separator="; ")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in seconds, bytes, watts and joules, as `bench --json` prints them."""
        return self.measured.to_dict()

    def _text(self, options: TextOptions) -> RenderableType:
        return bench_text(self.measured, options)

    def _facts(self) -> list[tuple[str, str]]:
        found = self.measured
        return [
            ("network", f"{found.network}, {found.precision}"),
            *((f"{case.title}, batch {case.batch}", _figures(case)) for case in self.cases),
            ("processor", found.before.processor),
            ("bundle", self._subject),
        ]


def _latency(case: Case) -> str:
    return f"{si(case.latency.p50)}s" if case.latency.p50 else "an unknown time (too few runs)"


def _figures(case: Case) -> str:
    """The latency and the throughput of a case."""
    throughput = f", {si(case.throughput).rstrip()} windows/s" if case.throughput else ""
    return f"{_latency(case)}{throughput}"
