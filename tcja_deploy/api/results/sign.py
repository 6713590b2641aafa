"""The result of `tcja_deploy.sign`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import RenderableType

from tcja_deploy.api.results.result import ResultOfBundle
from tcja_deploy.sign import Signed
from tcja_deploy.texts.fleet.sign import signed_text
from tcja_deploy.texts.options import TextOptions


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class SignResult(ResultOfBundle):
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
