"""A session that several threads may run: they run it one after the other."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from tcja_runtime.backends.session import Session
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput


@dataclasses.dataclass
class LockedSession:
    """A session with a lock. An engine has one set of buffers, so two threads must not run it at the same time.

    Attributes:
        inner: the session that runs the network.
        title: the words for the network in messages, such as "the network of x.bundle".
    """

    inner: Session
    title: str

    def __post_init__(self) -> None:
        self._lock, self._closed = threading.Lock(), False

    @property
    def inputs(self) -> Sequence[str]:
        """The names of the inputs."""
        return self.inner.inputs

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Run the network once. Takes the inputs by name, and returns the outputs by name.

        Raises:
            BadInput: the session is closed, or the inputs cannot be used.
        """
        with self._lock:
            if self._closed:
                raise BadInput(f"{self.title} is closed; load it again")
            return self.inner.run(feeds)

    def close(self) -> None:
        """Free the memory, when no thread runs the session. A session can be closed several times."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.inner.close()
