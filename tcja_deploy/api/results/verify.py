"""The result of `tcja_deploy.verify`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import RenderableType

from tcja_deploy.api.results.comparison import comparison_rows
from tcja_deploy.api.results.result import ResultOfBundle
from tcja_deploy.parity import wording
from tcja_deploy.parity.bisect import Culprit
from tcja_deploy.parity.verdict import Report
from tcja_deploy.texts.options import TextOptions
from tcja_deploy.texts.verify import verified_text
from tcja_deploy.verify.verifier import Verified
from tcja_runtime.bundle.manifest import Manifest


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class VerifyResult(ResultOfBundle):
    """The result of `tcja_deploy.verify`.

    Attributes:
        bundle: the path of the bundle.
        found: the opened bundle, the comparison, and what `bisect` found (`tcja_deploy.verify.verifier.Verified`).
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
            *comparison_rows(self.parity),
            *wrong,
            ("bundle", self._subject),
        ]
