"""What a pass reports."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Done:
    """What a pass did.

    Attributes:
        changes: how many nodes it replaced or removed.
        exact: whether every tensor left in the graph has the bits it had.
        note: what a reader should know, empty if nothing.
    """

    changes: int
    exact: bool = True
    note: str = ""
