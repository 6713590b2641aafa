"""A network, or a part of one, loaded in a backend: what every backend implements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from tcja_runtime.data.contract import Floats
from tcja_runtime.model_file.subgraph import Dimensions


class Session(Protocol):
    """A network, or a part of one, loaded in a backend and ready to run batches of any size."""

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the tensors it takes."""
        ...

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Its results by name, from its inputs by name."""
        ...

    def close(self) -> None:
        """Give its memory back; it cannot run any more."""
        ...


Opener = Callable[[Sequence[str], Mapping[str, Dimensions]], Session]
"""Loads the part of a network that computes some tensors, given others (`tcja_runtime.model_file.subgraph.part`)."""
