"""The results that commands print with `--json`, read from files of other people: what a comparison of boards needs.

    build     has "engine" and "model_sha256"    the engine that was built
    verify    has "met" and "backends"           whether parity is met, and which classes were predicted
    bench     has "latency" or "cases"           latency and energy
    run       has "drifted" and "windows"        how the network fired in the board's own windows

A file has one of them, or several after one another. What an older version printed lacks some fields.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tcja_deploy.verify.answers import Answers
from tcja_runtime import records
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.counting import listed
from tcja_runtime.errors import BadInput, user_error
from tcja_runtime.files.limits import RESULT
from tcja_runtime.files.reading import names_inside, read_file, read_inside
from tcja_runtime.files.text import parsed_all
from tcja_runtime.machine.identity import Machine
from tcja_runtime.records import WrongField

Read = TypeVar("Read")
Json = dict[str, Any]

_MOST = 1_000_000
"""The most seconds of a run, and joules of a window, that a result may have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What all results say.

    Attributes:
        bundle: the path of the bundle, on its board.
        bundle_sha256: the hash of what was exported (`Bundle.sha256`); empty in results of older versions.
        machine: where the result was made; an older version says nothing of it.
        versions: the versions of the packages there, by name.
        network: the name of the network; `build` does not say it.
    """

    bundle: str
    network: str = ""
    bundle_sha256: str = ""
    machine: Machine = dataclasses.field(default_factory=Machine)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)

    TAKES_MORE: ClassVar[bool] = True

    @property
    def parts(self) -> frozenset[str]:
        """What the result is about. Two results of a board that have a part in common are of two occasions."""
        return frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built(Result):
    """An engine that `build` added to a bundle.

    Attributes:
        engine: its name.
        info: its sidecar.
    """

    engine: str
    info: EngineInfo

    @property
    def parts(self) -> frozenset[str]:
        return frozenset({f"build {self.engine}"})

    @property
    def title(self) -> str:
        """The TensorRT that runs the engine, such as "TensorRT 10.3.0"."""
        return f"{'TensorRT-RTX' if self.info.module == 'tensorrt_rtx' else 'TensorRT'} {self.info.version}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backend:
    """The comparison of one backend or engine with the trained network.

    Attributes:
        backend: its title.
        engine: the name of the engine; None if it is not of one.
        failures: what is not met.
    """

    backend: str
    engine: str | None = None
    failures: list[Json] = dataclasses.field(default_factory=list)

    TAKES_MORE: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verified(Result):
    """A proof of parity by `verify`.

    Attributes:
        met: whether parity is met.
        backends: the comparisons of the backends.
        engines: the comparisons of the engines.
        stepwise: the comparison of the stepwise network; None without one.
        answers: the predicted classes; an older version says nothing of them.
        unlike: a sentence if the windows of the user look unlike those of the export; else empty.
    """

    met: bool
    backends: list[Backend]
    engines: list[Backend] = dataclasses.field(default_factory=list)
    stepwise: Backend | None = None
    answers: list[Answers] = dataclasses.field(default_factory=list)
    unlike: str = ""

    @property
    def parts(self) -> frozenset[str]:
        return frozenset(f"verify {each.backend}" for each in self.backends)

    @property
    def titles(self) -> list[str]:
        """The titles of the backends and engines, the latter last."""
        return [each.backend for each in (*self.backends, *self.engines)]

    @property
    def failures(self) -> list[str]:
        """What is not met, a sentence each."""
        judged = [*self.backends, *self.engines, *([self.stepwise] if self.stepwise else [])]
        found = [(each.backend, failure) for each in judged for failure in each.failures]
        return [f"{backend}: {failure.get('text', 'it is not said')}" for backend, failure in found]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latency:
    """The latency of runs, in seconds; None for too few runs."""

    p50: float | None = None
    p99: float | None = None

    TAKES_MORE: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_measured(self, "p50", "p99")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """The measurements of one backend with one batch size.

    Attributes:
        backend: the name of the backend, such as "tensorrt".
        title: its name with the version, for people.
        engine: the name of the engine; None for ONNX Runtime.
        batch: the number of windows in a run.
        latency: the latency of a run.
        engine_sha256: its hash.
        joules: the energy for a window; None if the board does not measure its power.
    """

    backend: str
    title: str
    engine: str | None = None
    batch: int
    latency: Latency
    engine_sha256: str | None = None
    joules: float | None = None

    TAKES_MORE: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_measured(self, "joules")


def _check_measured(record: Any, *names: str) -> None:
    """Check that fields are seconds or joules that can be measured.

    Raises:
        WrongField: a field is negative, or too large.
    """
    for name in names:
        value = getattr(record, name)
        if value is not None and not 0 <= value <= _MOST:
            raise WrongField(name, f"is {value:g}, and must be 0 to {_MOST:,}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Before:
    """The conditions before the runs, which older versions of `bench` have in place of "machine"."""

    processor: str = ""
    gpu: str | None = None
    jetpack: str | None = None
    power_mode: str | None = None

    TAKES_MORE: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured(Result):
    """The measurements of `bench`.

    Attributes:
        cases: the cases.
    """

    cases: list[Case]

    @property
    def parts(self) -> frozenset[str]:
        return frozenset(f"bench {each.backend} {each.batch}" for each in self.cases)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classified(Result):
    """The windows that `run` classified.

    Attributes:
        windows: what became of each.
        drifted: in how many of them a layer fired far outside the range of the proof; None if it is not known.
        unlike: a sentence if the windows, or how the network fired in them, are unlike the proof; else empty.
    """

    windows: int
    drifted: int | None = None
    unlike: str = ""

    @property
    def parts(self) -> frozenset[str]:
        return frozenset({"run"})


@dataclasses.dataclass(frozen=True, eq=False)
class ResultFile:
    """A file with results of one board.

    Attributes:
        name: the path of the file, as it is shown.
        results: its results, in their order.
    """

    name: str
    results: tuple[Result, ...]

    @property
    def folder(self) -> Path:
        """The folder of the file."""
        return Path(self.name).parent


def read(paths: list[Path]) -> list[ResultFile]:
    """Return the files with results, in the order of the paths; those of a folder by name.

    Args:
        paths: files, and folders of files NAME.json at any depth.

    Raises:
        BadInput: a path does not exist, a folder has no such file, or a file has no result of these commands.
    """
    found = [file for path in paths for file in (_in_folder(path) if path.is_dir() else [_of_file(path)])]
    return list({os.path.abspath(file.name): file for file in found}.values())  # noqa: PTH100  # links stay


def _in_folder(folder: Path) -> list[ResultFile]:
    try:
        names = [name for name in names_inside(folder) if name.endswith(".json")]
        if not names:
            raise BadInput(f"{folder} has no file whose name ends with .json")
        return [_parsed(folder / name, read_inside(folder, name, RESULT)) for name in names]
    except OSError as error:
        raise user_error(error, folder) or error from error


def _of_file(file: Path) -> ResultFile:
    try:
        return _parsed(file, read_file(file, RESULT))
    except FileNotFoundError as error:
        raise BadInput(f"{file} does not exist") from error
    except OSError as error:
        raise user_error(error, file) or error from error


def _parsed(file: Path, content: bytes) -> ResultFile:
    if not content.strip():
        raise BadInput(f"{file} is empty: nothing was printed into it; run the command on its board again")
    try:
        found = [_result(fields) for fields in parsed_all(content)]
    except ValueError as error:
        kinds = "what 'tcja-deploy build', 'verify', 'bench' or 'run' prints with --json"
        raise BadInput(f"{file} is not {kinds}: {error}") from error
    ids = {each.machine.id for each in found} - {None}
    if len(ids) > 1:
        raise BadInput(
            f"{file} has results of {len(ids)} machines ({listed(sorted(map(str, ids)))}); write a file for each"
        )
    return ResultFile(str(file), tuple(found))


def _result(fields: Any) -> Result:
    """Return a result from its fields in JSON.

    Raises:
        ValueError: they are none, or a field has a wrong value.
    """
    if not isinstance(fields, dict):
        raise WrongField("", f"it has {type(fields).__name__} where an object is expected")
    if "model_sha256" in fields and "engine" in fields:
        return records.read(Built, {**fields, "info": fields})
    if "met" in fields and "backends" in fields:
        return records.read(Verified, fields)
    if "cases" in fields or "latency" in fields:
        return _measured(fields)
    if "drifted" in fields and isinstance(fields.get("windows"), list):
        return records.read(Classified, {**fields, "windows": len(fields["windows"])})
    raise WrongField("", "it has the fields of none of them")


def _measured(fields: Json) -> Measured:
    """Return measurements. Those of a single case are at the top level."""
    found = {"cases": [fields], **fields}
    if "machine" not in fields:
        before = records.read(_Before, fields.get("before", {}), "before")
        found["machine"] = {"board": before.processor, **{k: v for k, v in vars(before).items() if k != "processor"}}
    return records.read(Measured, found)
