"""The choice of a backend for a bundle's network: an engine of the bundle, or ONNX Runtime."""

from __future__ import annotations

import dataclasses

from tcja_runtime.backends.checked import ContractSession
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession, installed
from tcja_runtime.backends.session import Session
from tcja_runtime.bundle.bundle import PLAIN_MODEL, Bundle
from tcja_runtime.bundle.engines import Engine, Unfit, UnknownOrigin, engines, require
from tcja_runtime.choices import AUTO, BACKENDS, ENGINE_TARGETS, PROVIDERS
from tcja_runtime.errors import BadInput, Unavailable, check_choice
from tcja_runtime.files.folder import read_model
from tcja_runtime.machine.gpu import gpu
from tcja_runtime.tensorrt.plugin import AT_RUN_TIME
from tcja_runtime.tensorrt.session import TensorRtEngine


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backend:
    """A bundle's network that is loaded in a backend.

    Attributes:
        name: the name of the backend, one of `tcja_runtime.choices.BACKENDS`.
        title: the name and the version of the backend, for people.
        session: the loaded network. Its input and output have the names in the manifest.
        engine: the loaded engine; None for ONNX Runtime.
        not_run: if the user chose "auto", one line for each engine that cannot run on this machine, with the
            reason; else empty.
    """

    name: str
    title: str
    session: Session
    engine: Engine | None = None
    not_run: list[str] = dataclasses.field(default_factory=list)


def opened(bundle: Bundle, name: str = AUTO) -> Backend:
    """Load a bundle's network in a backend.

    Args:
        bundle: an opened bundle.
        name: one of `tcja_runtime.choices.BACKENDS`, or "auto". "auto" loads the last built engine that this machine
            can load; if it can load none, it loads the network in ONNX Runtime on the CPU.

    Raises:
        BadInput: the bundle has no engine for that backend, or the engine was changed or is of unknown origin.
        Unavailable: this machine lacks something that the backend needs.
    """
    check_choice("backend", name, (AUTO, *BACKENDS))
    if name in PROVIDERS:
        return _onnxruntime(bundle, name)
    found = [engine for engine in engines(bundle) if name in (AUTO, engine.target)]
    refusals: list[Unfit | UnknownOrigin] = []
    for engine in found:
        refusal = engine.refusal()
        if refusal is None:
            return _engine(bundle, engine, [each.not_run for each in refusals])
        refusals.append(refusal)
    if name != AUTO:
        if refusals:
            raise refusals[0]
        raise BadInput(
            f"{bundle.path} has no {name} engine: run 'tcja-deploy build {bundle.path} --target {name}' here"
        )
    try:
        return dataclasses.replace(_onnxruntime(bundle, "onnxruntime"), not_run=[each.not_run for each in refusals])
    except Unavailable as error:
        if refusals:
            raise Unavailable(f"{refusals[0]}; and {error}") from error
        raise


def all_opened(bundle: Bundle, name: str) -> list[Backend]:
    """Load all engines of a target that this machine can load. Returns at least one; the last built is the first.

    Args:
        bundle: an opened bundle.
        name: the target, one of `tcja_runtime.choices.ENGINE_TARGETS`.

    Raises:
        BadInput: the bundle has no engine of the target, or an engine was changed or is of unknown origin.
        Unavailable: this machine can load none of them.
    """
    found = [engine for engine in engines(bundle) if engine.target == name and not engine.refusal()]
    return [_engine(bundle, engine, []) for engine in found] or [opened(bundle, name)]


def title(name: str, engine: Engine | None = None) -> str:
    """Returns the name and the version of a backend for people; for an engine, also its precision and the GPU."""
    if name in ENGINE_TARGETS:
        found = gpu()
        tensorrt = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}[name]
        what = f", {engine.info.precision} engine" if engine else ""
        return f"{tensorrt} {require(name).__version__}{what}" + (f", {found.name}" if found else "")
    provider = "" if name == "onnxruntime" else f", {PROVIDERS[name]}"
    return f"ONNX Runtime {' '.join(installed().values())}{provider}"


def _onnxruntime(bundle: Bundle, name: str) -> Backend:
    session = OnnxRuntimeSession.open(read_model(bundle, PLAIN_MODEL), backend=name, keeps_memory=True)
    return Backend(name=name, title=title(name), session=ContractSession(session, bundle))


def _engine(bundle: Bundle, engine: Engine, not_run: list[str]) -> Backend:
    used = engine.info.plugin
    loaded = TensorRtEngine.load(
        engine.plan(),
        engine.target,
        f"engine {engine.name}",
        compatible=engine.info.version_compatible,
        plugin=used is not None and used.form == AT_RUN_TIME,
    )
    return Backend(
        name=engine.target,
        title=title(engine.target, engine),
        session=ContractSession(loaded.session(), bundle),
        engine=engine,
        not_run=not_run,
    )
