"""The engines of a bundle as text."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_runtime.bundle.engines import Engine
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.counting import counted
from tcja_runtime.tensorrt.plugin import NEVER_RUN


def built_text(engine: Engine, options: TextOptions = BRIEF) -> RenderableType:  # noqa: ARG001  # not yet shorter
    """Return a built engine as text.

    Args:
        engine: the engine in its bundle.
        options: how it is told.
    """
    return Text(engine_text(engine.name, engine.info))


def engine_text(name: str, info: EngineInfo) -> str:
    """Return the facts of a built engine, in one line."""
    return (
        f"Engine {name}: {counted(info.bytes, 'byte')} for {info.device}, {counted(info.layers, 'layer')}, "
        f"batch {':'.join(map(str, info.batch))}, built in {info.build_seconds} s{_plugin_text(info)}"
    )


def _plugin_text(info: EngineInfo) -> str:
    used = info.plugin
    if used is None:
        return ""
    return (
        f"; the plugin computes {counted(used.nodes, 'spiking layer')}, {used.pools} of them with the pooling that "
        f"follows "
        f"({NEVER_RUN}: verify before you rely on it)"
    )
