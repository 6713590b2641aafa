"""The interface of sessions. A session is a network, or a part of one, that is loaded in a backend."""

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
        """Run the network once. Takes the inputs by name, and returns the outputs by name."""
        ...

    def close(self) -> None:
        """Free the memory. The session cannot be run after that."""
        ...


Opener = Callable[[Sequence[str], Mapping[str, Dimensions]], Session]
"""A function that loads a part of a network (`tcja_runtime.model_file.subgraph.part`).

Its first argument is the names of the tensors that the part computes; if it is empty, the function loads the whole
network. Its second argument is the dimensions of each tensor that the part takes as an input, by the tensor's name.
"""
