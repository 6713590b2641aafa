"""Sessions: a network, or a part of one, loaded in a backend. Every backend implements them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from tcja_runtime.data.contract import Floats
from tcja_runtime.model_file.subgraph import Dimensions


class Session(Protocol):
    """A network, or a part of one, that is loaded in a backend and runs batches of any size."""

    @property
    def inputs(self) -> Sequence[str]:
        """The names of its inputs."""
        ...

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Run it once. Takes the inputs and returns the outputs by name."""
        ...

    def close(self) -> None:
        """Free its memory. It cannot run afterwards."""
        ...


Opener = Callable[[Sequence[str], Mapping[str, Dimensions]], Session]
"""A function that loads the part of a network that computes some tensors from others.

It takes the names of the tensors to compute, and for each tensor to be given its dimensions
(`tcja_runtime.model_file.subgraph.part`). Without tensors to compute it loads the whole network.
"""
