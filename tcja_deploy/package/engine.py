"""The engine of a bundle that other people's programs load: Triton's backend for TensorRT, NVIDIA's node for robots."""

from __future__ import annotations

from pathlib import Path

from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import Engine, UnknownOrigin, engines
from tcja_runtime.choices import EngineTarget
from tcja_runtime.errors import BadInput
from tcja_runtime.tensorrt.plugin import AT_RUN_TIME

_TARGET = EngineTarget.TENSORRT.value


def chosen_engine(bundle: Bundle, path: Path, name: str | None) -> Engine:
    """Return an engine of full TensorRT, of known origin. These programs check neither its hash nor where it is from.

    Args:
        bundle: the bundle, or a copy of it.
        path: the path of the bundle, for messages.
        name: the name of the engine; None takes the last built one.

    Raises:
        BadInput: the bundle has no such engine, it is of unknown origin, or only Python can load it.
    """
    every = engines(bundle)
    fitting = [each for each in every if each.target == _TARGET and name in (None, each.name)]
    again = f"run 'tcja-deploy build {path} --target {_TARGET}' on the machine that will run it"
    if not fitting:
        wanted = f"engine '{name}' of TensorRT" if name else "engine of TensorRT"
        there = ", ".join(f"{each.name} ({each.target})" for each in every) or "none"
        raise BadInput(f"{path} has no {wanted} (its engines: {there}); {again}")
    found = fitting[0]
    if not (found.trusted or found.origin.known):
        raise UnknownOrigin(found.name, again)
    if found.info.plugin and found.info.plugin.form == AT_RUN_TIME:
        raise BadInput(
            f"engine {found.name} has a plugin that only Python registers, so other programs cannot load it; build one "
            "without it (`plugin` off)"
        )
    return found
