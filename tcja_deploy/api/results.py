"""The results of the functions for Python.

`print(result)` shows what the command prints, and `print(result.details)` what it prints with `--verbose`.
`repr(result)` is one short line, and a notebook shows a small table.
"""

from __future__ import annotations

import abc
import dataclasses
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from tcja_deploy.bench.results import Benchmark, Case
from tcja_deploy.check.result import Becomes, Checked, Module
from tcja_deploy.console import plain
from tcja_deploy.formatting import engine_plan, portion, si, windows
from tcja_deploy.parity import wording
from tcja_deploy.parity.bisect import Culprit
from tcja_deploy.parity.verdict import Report
from tcja_deploy.report.html import tag
from tcja_deploy.sign import Signed
from tcja_deploy.texts.bench import bench_text
from tcja_deploy.texts.build import built_text
from tcja_deploy.texts.check import checked_text, verdict
from tcja_deploy.texts.export import exported_text
from tcja_deploy.texts.fleet.sign import signed_text
from tcja_deploy.texts.options import TextOptions
from tcja_deploy.texts.verify import verified_text
from tcja_deploy.verify import Verified
from tcja_runtime.bundle.bundle import REPORT
from tcja_runtime.bundle.engines import Engine
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.counting import counted, listed
from tcja_runtime.files.text import one_line, shown

_LONGEST = 100
"""The most characters of a verdict in a `repr`."""
_TOLD = (Becomes.JUDGED, Becomes.INTEGRATES, Becomes.FIRES, Becomes.REFUSED)
"""What becomes of the modules that a notebook shows."""
_LEFT = "text-align: left; vertical-align: top"
"""The style of cells: notebooks align those of numbers."""
_BRIEF = TextOptions(more="All details: print(result.details)")
_DETAILED = TextOptions(details=True)


class _Result(abc.ABC):
    """A result that can be printed, and shown in a notebook."""

    notes: tuple[str, ...]

    @property
    @abc.abstractmethod
    def _subject(self) -> str:
        """The name of what the result is about."""

    @property
    @abc.abstractmethod
    def verdict(self) -> str:
        """The result in a sentence."""

    @abc.abstractmethod
    def _text(self, options: TextOptions) -> RenderableType:
        """The text that the command prints."""

    @abc.abstractmethod
    def _facts(self) -> list[tuple[str, str]]:
        """The names and values of the facts in the table."""

    @property
    def details(self) -> str:
        """The text that the command prints with `--verbose`."""
        return plain(self._text(_DETAILED))

    def __str__(self) -> str:
        return plain(self._text(_BRIEF))

    def __repr__(self) -> str:
        said = self.verdict if len(self.verdict) <= _LONGEST else f"{self.verdict[:_LONGEST]}..."
        return one_line(f"<{type(self).__name__} {self._subject}: {said}>")

    def _repr_html_(self) -> str:
        """A table for notebooks. Texts are escaped, and nothing is loaded from elsewhere."""
        facts = [*self._facts(), *(("note", line) for line in self.notes)]
        cells = ((tag("th", name, scope="row", style=_LEFT), tag("td", value, style=_LEFT)) for name, value in facts)
        rows = (tag("tr", *row) for row in cells)
        caption = tag("caption", tag("strong", self.verdict), style=_LEFT)
        return shown(tag("table", caption, tag("tbody", *rows)))


class _OfBundle(_Result):
    """A result about a bundle."""

    bundle: Path

    @property
    def _subject(self) -> str:
        return str(self.bundle)


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ExportResult(_OfBundle):
    """The result of `tcja_deploy.export`: a bundle whose network is proven to be the trained one.

    Attributes:
        bundle: the path of the bundle.
        manifest: the description of the network in the bundle, as manifest.json has it: its input, layers, classes,
            precision, engines.
        parity: the comparison of the exported network with the trained one, in each backend.
        notes: remarks on the data and the options, a line each.
    """

    bundle: Path
    manifest: Manifest
    parity: Report
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The result of the comparison in a sentence."""
        return wording.headline(self.parity)

    @property
    def cautions(self) -> list[str]:
        """What the verdict does not prove, a sentence or two for each limit."""
        return wording.cautions(self.parity)

    @property
    def report(self) -> Path:
        """The path of the HTML report in the bundle."""
        return self.bundle / REPORT

    def _text(self, options: TextOptions) -> RenderableType:
        return exported_text(self.bundle, self.manifest, self.parity, options)

    def _facts(self) -> list[tuple[str, str]]:
        found = self.manifest
        name = found.checkpoint["name"]
        source = f" from {name}" if name != found.network else ""
        return [
            ("network", f"{found.network}{source}, {found.precision}, T = {found.time_steps}"),
            *_compared(self.parity),
            *(("note", line) for line in found.doubts),
            ("engines", ", ".join(found.engines) or "none"),
            ("bundle", self._subject),
            ("report", str(self.report)),
        ]


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class VerifyResult(_OfBundle):
    """The result of `tcja_deploy.verify`.

    Attributes:
        bundle: the path of the bundle.
        found: the opened bundle, the comparison, and what `bisect` found (`tcja_deploy.verify.Verified`).
        notes: remarks on the data and the options, a line each.
    """

    bundle: Path
    found: Verified
    notes: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether parity is met, so that `assert tcja_deploy.verify(...)` fails if it is not."""
        return self.met

    @property
    def met(self) -> bool:
        """Whether parity is met in every backend."""
        return self.parity.met

    @property
    def manifest(self) -> Manifest:
        """The description of the network in the bundle, as manifest.json has it."""
        return self.found.bundle.manifest

    @property
    def parity(self) -> Report:
        """The comparison with the trained network, in each backend."""
        return self.found.report

    @property
    def culprit(self) -> Culprit | None:
        """The first signal that is wrong; None if nothing is wrong, or without `bisect`."""
        return self.found.culprit

    @property
    def verdict(self) -> str:
        """The result of the comparison in a sentence."""
        return wording.headline(self.parity)

    @property
    def cautions(self) -> list[str]:
        """What the verdict does not prove, a sentence or two for each limit."""
        return wording.cautions(self.parity)

    def _text(self, options: TextOptions) -> RenderableType:
        return verified_text(self.found, options)

    def _facts(self) -> list[tuple[str, str]]:
        wrong = [("first wrong", f"{self.culprit.module}: {self.culprit.seen}")] if self.culprit else []
        return [
            ("network", f"{self.manifest.network}, {self.manifest.precision}"),
            *_compared(self.parity),
            *wrong,
            ("bundle", self._subject),
        ]


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class BuildResult(_OfBundle):
    """The result of `tcja_deploy.build`.

    Attributes:
        bundle: the path of the bundle.
        engine: the engine in the bundle: its name, its file, and in `info` the content of its sidecar.
        notes: remarks on other engines of the bundle, a line each.
    """

    bundle: Path
    engine: Engine
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        return f"Engine {self.engine.name} is built."

    def _text(self, options: TextOptions) -> RenderableType:
        return built_text(self.engine, options)

    def _facts(self) -> list[tuple[str, str]]:
        info = self.engine.info
        return [
            ("device", info.device),
            ("precision", info.precision),
            ("batch", ":".join(map(str, info.batch))),
            ("size", f"{si(info.bytes)}B, {counted(info.layers, 'layer')}"),
            ("kernels", engine_plan(info)),
            ("file", str(self.engine.file)),
        ]


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class SignResult(_OfBundle):
    """The result of `tcja_deploy.sign`.

    Attributes:
        bundle: the path of the bundle.
        files: the signatures that were written, by their names in the bundle.
        notes: why a signature was not written, a line each.
    """

    bundle: Path
    files: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        return f"The bundle is signed: {', '.join(self.files)}."

    def _text(self, options: TextOptions) -> RenderableType:  # noqa: ARG002  # it has no details
        return signed_text(Signed(self.bundle, self.files))

    def _facts(self) -> list[tuple[str, str]]:
        return [("file", str(self.bundle / name)) for name in self.files]


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class BenchResult(_OfBundle):
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


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class CheckResult(_Result):
    """The result of `tcja_deploy.check`. It is true if an export would reach the comparison of the spikes.

    Attributes:
        found: the modules, the facts of the network and of its models, and the error (`tcja_deploy.check.result`).
        notes: remarks on the data and the options, a line each.
    """

    found: Checked
    notes: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether an export would reach the comparison, so that `assert tcja_deploy.check(...)` fails if not."""
        return self.accepted

    @property
    def accepted(self) -> bool:
        """Whether an export would reach the comparison of the spikes."""
        return self.found.accepted

    @property
    def modules(self) -> list[Module]:
        """What each PyTorch module becomes, in the order of their definition."""
        return self.found.modules

    @property
    def refusals(self) -> list[str]:
        """Why the export would refuse the network, a line each; empty if it would not."""
        return self.found.refusals

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        return verdict(self.found).removesuffix(":")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, as `check --json` prints them."""
        return self.found.to_dict()

    @property
    def _subject(self) -> str:
        return self.found.subject

    def _text(self, options: TextOptions) -> RenderableType:
        return checked_text(self.found, options)

    def _facts(self) -> list[tuple[str, str]]:
        network, models = self.found.network, self.found.models
        named = [each for each in self.modules if each.becomes in _TOLD]
        return [
            *([("network", f"{network.name}, T = {network.time_steps}")] if network else []),
            *(("refused", line) for line in self.refusals),
            *((each.name or each.kind, f"{each.kind}: {each.becomes.value}") for each in named),
            *([("nodes", ", ".join(f"{n:,} in {file}" for file, n in models.nodes.items()))] if models else []),
            *(("note", line) for line in self.found.remarks),
        ]


def _compared(report: Report) -> list[tuple[str, str]]:
    """The rows on the comparison: the windows, flips and accuracy in each backend, and what is not proven."""
    rows = [("judged", f"{windows(report.windows)} ({report.source})")]
    for found in report.backends:
        said = f"{counted(found.flips, 'flip')}, {found.unexplained:,} unexplained"
        if found.statistics:
            same, right = found.statistics, found.statistics.accuracy
            if same.paired:
                said += f"; the trained network's class in {portion(same.same_class, same.paired, 'window')}"
            if right.labelled:
                said += f"; right in {portion(right.right, right.labelled, 'window')}"
        rows.append((found.backend, said))
    return [*rows, *(("caution", line) for line in wording.cautions(report))]


def _latency(case: Case) -> str:
    return f"{si(case.latency.p50)}s" if case.latency.p50 else "an unknown time (too few runs)"


def _figures(case: Case) -> str:
    """The latency and the throughput of a case."""
    throughput = f", {si(case.throughput).rstrip()} windows/s" if case.throughput else ""
    return f"{_latency(case)}{throughput}"
