"""What differs between boards, in sentences: which board, which value, and what the others have.

A value stands out if more than half of the boards that say it have another one in common. Without such a majority, all
values are named. A figure, such as the median latency, stands out if it is far from the median of the boards of its
kind: those with the same model of board, bundle, program and batch size.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from tcja_deploy.compare.boards import COMPARED, Board
from tcja_deploy.formatting import si
from tcja_runtime.counting import agree, counted, listed

FAR, FAR_99 = 1.25, 2.0
"""The factor by which a figure is far from the median of the others, above or below it; that of the 99th percentile,
which a few disturbed runs move."""
_NAMED = 4
"""The most boards that a sentence names."""
_DIGITS, _LONGEST = 12, 300
"""The digits of a hash, and the characters of a text of a file, in a sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Something in which boards differ.

    Attributes:
        what: what it is, such as "the JetPack".
        boards: the names of the boards that differ from the others; of all, if there is no majority.
        value: what they have; empty if there is no majority.
        others: what the others have; empty if there is no majority, or if it is about these boards alone.
        serious: whether boards do not do the same: parity is not met, the answers or the bundle differ.
        text: the sentence.
    """

    what: str
    boards: tuple[str, ...]
    value: str
    others: str
    serious: bool
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)


def differences(boards: Sequence[Board]) -> list[Difference]:
    """Return what differs, the serious first."""
    found = [
        *_parity(boards),
        *_property("the bundle", boards, lambda each: each.bundle[:_DIGITS], serious=True),
        *_property("the network", boards, lambda each: each.network, serious=True),
        *_answers(boards),
        *_unlike(boards),
        *_property("the model of the board", boards, lambda each: each.board),
        *_property("the JetPack", boards, lambda each: each.jetpack.removeprefix("JetPack ")),
        *_property("the power mode", boards, lambda each: each.power_mode),
        *_property("what runs the network", boards, lambda each: each.program),
        *_engine(boards),
        *(each for name in COMPARED for each in _version(name, boards)),
        *_figure("the median latency", boards, lambda each: each.p50, "s", FAR),
        *_figure("the 99th percentile of the latency", boards, lambda each: each.p99, "s", FAR_99),
        *_figure("the energy for a window", boards, lambda each: each.joules, "J", FAR),
    ]
    return sorted(found, key=lambda each: not each.serious)


def named(boards: Iterable[Board]) -> str:
    """Return the names of boards for a sentence."""
    return listed((each.name for each in boards), _NAMED)


def _parity(boards: Sequence[Board]) -> Iterator[Difference]:
    for each in boards:
        if each.met is False:
            why = _brief(listed(each.failures, 1, "; ")) or "it is not said why"
            yield _alone("parity", each, "not met", f"Parity is not met on {each.name}: {why}", serious=True)
    unknown = [each for each in boards if each.met is None]
    if unknown:
        text = (
            f"Whether parity is met on {named(unknown)} is not known: no result of 'tcja-deploy verify' says it of "
            "what runs the network there"
        )
        names = tuple(each.name for each in unknown)
        yield Difference(what="parity", boards=names, value="not known", others="", serious=False, text=text)


def _answers(boards: Sequence[Board]) -> Iterator[Difference]:
    """Yield where the predicted classes of the same windows differ, among boards with the same bundle."""
    for same in _groups(boards, lambda each: each.bundle or each.network):
        for windows in dict.fromkeys(key for each in same for key in each.answers):
            told = [each for each in same if windows in each.answers]
            for found in _property("the predicted classes", told, partial(_classes, windows), serious=True):
                those = [each for each in told if each.name in found.boards]
                yield dataclasses.replace(found, text=_other_classes(windows, those, told))


def _classes(windows: str, board: Board) -> str:
    return board.answers[windows]


def _other_classes(windows: str, those: Sequence[Board], told: Sequence[Board]) -> str:
    explained = all(each.met for each in those)
    more = f"; parity is met {agree(len(those), 'there', 'on them')}, so rounding can explain it" if explained else ""
    if len(those) == len(told):
        return f"The predicted classes of {windows} differ between {named(those)}{more}"
    return (
        f"On {named(those)}, the predicted classes of {windows} are not those of the other "
        f"{counted(len(told) - len(those), 'board')}{more}"
    )


def _unlike(boards: Sequence[Board]) -> Iterator[Difference]:
    for each in boards:
        if each.unlike:
            said = _brief(each.unlike)
            yield _alone("the windows", each, said, f"On {each.name}, {said}")


def _engine(boards: Sequence[Board]) -> Iterator[Difference]:
    """Yield the engines that differ from one that most boards share. Engines that each board built differ anyway."""
    for found in _property("the engine", boards, lambda each: each.engine[:_DIGITS]):
        if found.value:
            yield found


def _version(name: str, boards: Sequence[Board]) -> Iterator[Difference]:
    return _property(f"the version of {name}", boards, lambda each: each.versions.get(name, ""))


def _property(
    what: str, boards: Sequence[Board], value: Callable[[Board], str], *, serious: bool = False
) -> Iterator[Difference]:
    """Yield the values that stand out. A board whose value is empty says nothing of it."""
    known = {value: list(same) for value, same in _by(boards, value).items() if value}
    if len(known) < 2:
        return
    total, (most, usual) = sum(map(len, known.values())), max(known.items(), key=lambda item: len(item[1]))
    if 2 * len(usual) <= total:
        each = "; ".join(f"{_brief(value)} on {named(same)}" for value, same in list(known.items())[:_NAMED])
        more = f"; and {counted(len(known) - _NAMED, 'other value')}" if len(known) > _NAMED else ""
        names = tuple(board.name for same in known.values() for board in same)
        text = f"{what[:1].upper()}{what[1:]} differs: {each}{more}"
        yield Difference(what=what, boards=names, value="", others="", serious=serious, text=text)
        return
    rest = agree(len(usual), "the other board", f"the other {counted(len(usual), 'board')}")
    for odd, same in known.items():
        if odd != most:
            text = f"On {named(same)}, {what} is {_brief(odd)}; on {rest} it is {_brief(most)}"
            names = tuple(each.name for each in same)
            yield Difference(what=what, boards=names, value=odd, others=most, serious=serious, text=text)


def _figure(
    what: str, boards: Sequence[Board], value: Callable[[Board], float | None], unit: str, far: float
) -> Iterator[Difference]:
    """Yield the figures that are far from the median of the boards of their kind."""
    for same in _groups(boards, _kind):
        known = [(each, figure) for each in same if (figure := value(each) or 0.0) > 0.0]
        if len(known) < 2:
            continue
        figures = [figure for _, figure in known]
        middle = statistics.median(figures) if len(known) > 2 else min(figures)
        for each, figure in known:
            ratio = figure / middle
            if not 1 / far < ratio < far:
                usual, own = (f"{si(number)}{unit}" for number in (middle, figure))
                several = f"the median of {counted(len(known), 'board')} of its kind"
                of = several if len(known) > 2 else "that of the other board"
                text = f"On {each.name}, {what} is {own}, {ratio:.2g} times {of}, {usual}"
                yield dataclasses.replace(_alone(what, each, own, text), others=usual)


def _kind(board: Board) -> tuple[object, ...]:
    return (board.board, board.bundle or board.network, board.program.rpartition(" ")[0], board.batch)


def _alone(what: str, board: Board, value: str, text: str, *, serious: bool = False) -> Difference:
    return Difference(what=what, boards=(board.name,), value=value, others="", serious=serious, text=text)


def _by(boards: Iterable[Board], key: Callable[[Board], Any]) -> dict[Any, list[Board]]:
    found: dict[Any, list[Board]] = {}
    for each in boards:
        found.setdefault(key(each), []).append(each)
    return found


def _groups(boards: Iterable[Board], key: Callable[[Board], Any]) -> list[list[Board]]:
    return list(_by(boards, key).values())


def _brief(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
