"""A board and what its results say of one bundle on it: a row of the comparison.

The results of one file are of one board. Files of the same machine are of one board, too; where they do not say the
machine, those of the same folder, if there are several folders. But if two of these files have the same result, they
are of two occasions, or of two machines that cannot be told apart, and each file is a row.

A board is named by what the paths of its files have in common: "orin-7" for orin-7/verify.json and orin-7/bench.json.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any, TypeVar

from tcja_deploy.compare.results import Built, Case, Classified, Measured, Result, ResultFile, Verified
from tcja_deploy.verify.answers import GOLDEN, Answers
from tcja_runtime.counting import counted

Kind = TypeVar("Kind", bound=Result)

COMPARED = ("numpy", "python")
"""The packages whose versions are compared, besides the one that runs the network."""
_TENSORRT = "TensorRT"
_BETWEEN = "/-_. "
"""The characters between the words of a name."""
_DIGITS = 12
"""The digits of a hash in the name of data."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    """What the results of a board say of one bundle. None, or an empty text, stands for what they do not say.

    Attributes:
        name: its name, from the names of its files.
        files: the paths of the files.
        bundle: the hash of what was exported.
        network: the name of the network.
        board: the model of the board.
        jetpack: its JetPack.
        power_mode: its power mode.
        versions: the versions of the packages in `COMPARED`.
        program: what runs the network, with its version, such as "TensorRT 10.3.0": what was measured, else what was
            proven, else what an engine was built with; if there are engines, they are meant.
        engine: the hash of the engine; empty if another program runs the network.
        met: whether parity is met; None if it was not proven of what runs the network.
        failures: what is not met, a sentence each.
        answers: the hash of the predicted classes, by the windows that they are for.
        batch: the batch size that was measured.
        p50: the median latency of a run, in seconds.
        p99: the 99th percentile of the latency, in seconds.
        joules: the energy for a window.
        windows: the number of windows that `run` classified.
        drifted: in how many of them a layer fired far outside the range of the proof.
        unlike: a sentence if the windows, or how the network fired in them, are unlike the proof; else empty.
    """

    name: str
    files: tuple[str, ...]
    bundle: str
    network: str
    board: str
    jetpack: str
    power_mode: str
    versions: dict[str, str]
    program: str
    engine: str
    met: bool | None
    failures: tuple[str, ...]
    answers: dict[str, str]
    batch: int | None
    p50: float | None
    p99: float | None
    joules: float | None
    windows: int | None
    drifted: int | None
    unlike: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in seconds and joules."""
        return dataclasses.asdict(self)


def boards(files: Sequence[ResultFile]) -> list[Board]:
    """Return the rows of files with results, in the order of the files; two for a board with two bundles."""
    grouped = _grouped(files)
    names = _names([[file.name for file in group] for group in grouped])
    return [
        _board(name, [file.name for file in group], results)
        for name, group in zip(names, grouped, strict=True)
        for results in _by_bundle([result for file in group for result in file.results])
    ]


def _grouped(files: Sequence[ResultFile]) -> list[list[ResultFile]]:
    """Return the files of each board."""
    found: dict[object, list[ResultFile]] = {}
    folders = {file.folder for file in files}
    for file in files:
        known = next((each.machine.id for each in file.results if each.machine.id), None)
        found.setdefault(known or (file.folder if len(folders) > 1 else file), []).append(file)
    return [part for group in found.values() for part in ([group] if _apart(group) else [[file] for file in group])]


def _apart(group: Sequence[ResultFile]) -> bool:
    """Whether no two files have the same result."""
    parts = [{(each.bundle_sha256, part) for each in file.results for part in each.parts} for file in group]
    return sum(map(len, parts)) == len(set().union(*parts))


def _names(groups: Sequence[Sequence[str]]) -> list[str]:
    """Return a name for each group of files, without what all names have in common."""
    begin = _same_begin([file for group in groups for file in group]).rfind("/") + 1
    stems = [[file[begin:].removesuffix(".json") for file in group] for group in groups]
    folder = PurePath(groups[0][0]).parent.name if len(groups) == 1 else ""
    found = [_common(group) or folder or group[0] for group in stems]
    counts = Counter(found)
    paths = [PurePath(group[0] if counts[name] > 1 else name) for name, group in zip(found, stems, strict=True)]
    if len(paths) > 1 and len({path.name for path in paths}) == 1 and all(path.parent.name for path in paths):
        paths = [path.parent for path in paths]  # orin-7/verify.json, orin-8/verify.json
    return list(map(str, paths))


def _common(stems: Sequence[str]) -> str:
    """Return the words that names begin with; the name itself if there is one."""
    if len(stems) == 1:
        return stems[0]
    prefix = _same_begin(stems)
    if any(stem[len(prefix) :][:1] not in ("", *_BETWEEN) for stem in stems):  # it ends within a word
        prefix = prefix[: max(map(prefix.rfind, _BETWEEN)) + 1]
    return prefix.rstrip(_BETWEEN)


def _same_begin(names: Sequence[str]) -> str:
    """Return the characters with which all names begin."""
    return os.path.commonprefix(names)  # noqa: RUF071  # names are compared, and not the parts of paths


def _by_bundle(results: Iterable[Result]) -> list[list[Result]]:
    """Return the results of each bundle. Those that do not name theirs are of the only one that is named."""
    found: dict[str, list[Result]] = {}
    for each in results:
        found.setdefault(each.bundle_sha256, []).append(each)
    if len(found) == 2 and "" in found:
        return [[each for group in found.values() for each in group]]
    return list(found.values())


def _board(name: str, files: Sequence[str], results: Sequence[Result]) -> Board:
    built, proofs = _of(Built, results), _of(Verified, results)
    case, runs = _case(results), _of(Classified, results)
    answers = [each for proof in proofs for each in proof.answers]
    machines = [each.machine for each in results]
    proven = [title for proof in proofs for title in reversed(proof.titles)]
    program = _first([*([case.title] if case else []), *proven, *(each.title for each in built)]).partition(",")[0]
    known = [each for each in runs if each.drifted is not None]
    return Board(
        name=name,
        files=tuple(files),
        bundle=_first(each.bundle_sha256 for each in results),
        network=_first(each.network for each in results),
        board=_first(each.board for each in machines),
        jetpack=_first(each.jetpack for each in machines),
        power_mode=_first(each.power_mode for each in machines),
        versions={name: number for each in results for name, number in each.versions.items() if name in COMPARED},
        program=program,
        engine=_engine(case, answers, built) if program.startswith(_TENSORRT) else "",
        met=_met(proofs, program),
        failures=tuple(failure for each in proofs for failure in each.failures),
        answers={_windows(each): each.sha256 for each in answers},
        batch=case.batch if case else None,
        p50=case.latency.p50 if case else None,
        p99=case.latency.p99 if case else None,
        joules=case.joules if case else None,
        windows=sum(each.windows for each in known) if known else None,
        drifted=sum(each.drifted or 0 for each in known) if known else None,
        unlike=_first([*(each.unlike for each in runs), *(each.unlike for each in proofs)]),
    )


def _windows(answers: Answers) -> str:
    if answers.data == GOLDEN:
        return f"the {counted(answers.windows, 'golden window')}"
    return f"{counted(answers.windows, 'window')} of data {answers.data[:_DIGITS]}"


def _met(proofs: Sequence[Verified], program: str) -> bool | None:
    """Return whether parity is met; None if nothing was proven of the program that runs the network."""
    if not all(each.met for each in proofs):
        return False
    return True if any(title.partition(",")[0] == program for each in proofs for title in each.titles) else None


def _engine(case: Case | None, answers: Sequence[Answers], built: Sequence[Built]) -> str:
    """Return the hash of the engine that was measured, of one that was proven, or of the last one that was built."""
    measured = [each.info.sha256 for each in built if case and each.engine == case.engine]
    if case:
        return _first([case.engine_sha256, *measured])
    return _first([*(each.engine_sha256 for each in answers), *(each.info.sha256 for each in reversed(built))])


def _case(results: Sequence[Result]) -> Case | None:
    """Return the measurements that stand for a board: of an engine if there is one, of its smallest batch."""
    cases = [case for each in _of(Measured, results) for case in each.cases]
    return min(cases, key=lambda case: (case.engine is None, case.batch), default=None)


def _of(kind: type[Kind], results: Iterable[Result]) -> list[Kind]:
    return [each for each in results if isinstance(each, kind)]


def _first(values: Iterable[str | None]) -> str:
    return next(filter(None, values), "")
