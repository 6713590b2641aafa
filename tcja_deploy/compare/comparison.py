"""The results of many boards, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tcja_deploy.compare.boards import Board, boards
from tcja_deploy.compare.differences import Difference, differences
from tcja_deploy.compare.results import read
from tcja_runtime.files.text import storable
from tcja_runtime.records import argument


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparison of boards.

    Attributes:
        boards: the boards, in the order of their files; twice, if its results are of two bundles.
        differences: what differs between them, the serious first.
    """

    boards: list[Board]
    differences: list[Difference]

    @property
    def serious(self) -> list[Difference]:
        """The differences that are serious: parity is not met, or boards answer otherwise or have another bundle."""
        return [each for each in self.differences if each.serious]

    @property
    def met(self) -> bool:
        """Whether no difference is serious."""
        return not self.serious

    @property
    def differing(self) -> list[Board]:
        """The boards that a difference names."""
        names = {name for each in self.differences for name in each.boards}
        return [each for each in self.boards if each.name in names]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in seconds and joules."""
        found: dict[str, Any] = storable(
            {
                "met": self.met,
                "boards": [each.to_dict() for each in self.boards],
                "differences": [each.to_dict() for each in self.differences],
            }
        )
        return found


def compare(paths: Sequence[Path]) -> Comparison:
    """Compare the results of boards: what `build`, `verify`, `bench` and `run` printed on each with `--json`.

    Args:
        paths: files with results, and folders with such files. Results of a board may be in one file or in several.

    Raises:
        BadInput: a path does not exist, or a file has no such results.
        Unavailable: this machine lacks memory.
    """
    found = boards(read(argument("paths", list(paths), list[Path])))
    return Comparison(boards=found, differences=differences(found))
