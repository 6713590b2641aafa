"""The result of `tcja_deploy.check`."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import RenderableType

from tcja_deploy.api.results.result import Result
from tcja_deploy.check.result import Becomes, Checked, Module
from tcja_deploy.texts.check import checked_text, verdict
from tcja_deploy.texts.options import TextOptions

_TOLD = (Becomes.JUDGED, Becomes.INTEGRATES, Becomes.FIRES, Becomes.REFUSED)
"""What becomes of the modules that a notebook shows."""


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class CheckResult(Result):
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
