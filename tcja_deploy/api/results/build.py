"""The result of `tcja_deploy.build`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import RenderableType

from tcja_deploy.api.results.result import ResultOfBundle
from tcja_deploy.formatting import engine_plan, si
from tcja_deploy.texts.build import built_text
from tcja_deploy.texts.options import TextOptions
from tcja_runtime.bundle.engines import Engine
from tcja_runtime.counting import counted


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class BuildResult(ResultOfBundle):
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
