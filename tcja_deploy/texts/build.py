"""The engines of a bundle as text."""

from __future__ import annotations

import shlex

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.formatting import engine_plan
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_deploy.texts.table import paragraph, whole
from tcja_runtime.bundle.engines import Engine
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.counting import counted
from tcja_runtime.tensorrt.plugin import NEVER_RUN


def built_text(engine: Engine, options: TextOptions = BRIEF) -> RenderableType:
    """Return a built engine as text: what it is, what it is not proven for, and the next command.

    Args:
        engine: the engine in its bundle.
        options: how it is told.
    """
    info, bundle = engine.info, shlex.quote(str(engine.folder.parent.parent))
    parts: list[RenderableType] = [
        paragraph(f"Engine {engine.name}: {engine_line(info)}"),
        paragraph(engine_plan(info)),
    ]
    if info.plugin:
        parts.append(
            Text(
                f"The plugin computes {counted(info.plugin.nodes, 'spiking layer')}, {info.plugin.pools} of them with "
                f"the pooling that follows ({NEVER_RUN}: verify before you rely on it).",
                style="yellow",
            )
        )
    if options.details:
        parts += [paragraph(line) for line in _details(info)]
    parts.append(whole(f"Next, on the machine that runs it: tcja-deploy verify {bundle}"))
    if options.more and not options.details:
        parts.append(Text(options.more))
    return Group(*parts)


def engine_line(info: EngineInfo) -> str:
    """Return the facts of an engine in one line."""
    return (
        f"{counted(info.bytes, 'byte')} for {info.device}, {counted(info.layers, 'layer')}, "
        f"batch {':'.join(map(str, info.batch))}, built in {info.build_seconds} s"
    )


def _details(info: EngineInfo) -> list[str]:
    products = ", ".join(f"{n:,} {kind}" for kind, n in info.products.items())
    level, memory = f"optimisation level {info.level}", f"at most {counted(info.workspace, 'byte')} for a layer"
    return [
        f"Built by {info.module} {info.version} in {info.precision}, {level}, {memory}.",
        *([f"Products by type: {products}."] if products else []),
        f"Model sha256 {info.model_sha256}",
        f"Engine sha256 {info.sha256}",
    ]
