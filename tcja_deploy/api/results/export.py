"""The result of `tcja_deploy.export`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import RenderableType

from tcja_deploy.api.results.comparison import comparison_rows
from tcja_deploy.api.results.result import ResultOfBundle
from tcja_deploy.parity import wording
from tcja_deploy.parity.verdict import Report
from tcja_deploy.texts.export import exported_text
from tcja_deploy.texts.options import TextOptions
from tcja_runtime.bundle.bundle import REPORT
from tcja_runtime.bundle.manifest import Manifest


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ExportResult(ResultOfBundle):
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
            *comparison_rows(self.parity),
            *(("note", line) for line in found.doubts),
            ("engines", ", ".join(found.engines) or "none"),
            ("bundle", self._subject),
            ("report", str(self.report)),
        ]
