"""Signals that ask a stream to end."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

_AT_ONCE = 1.0  # seconds: signals that come within this time of the first count as one


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """A context in which SIGINT and SIGTERM call `stop`.

    A signal that comes more than a second after the first interrupts the process as usual. Before that, further signals
    have no effect, because a signal is often sent twice: to the process group, and to the process. In a thread other
    than the main thread, the context does nothing.
    """
    before: dict[int, Any] = {}
    first: list[float] = []

    def end(number: int, _: object) -> None:
        first.append(time.monotonic())
        stop()
        if first[-1] - first[0] > _AT_ONCE:
            restore()
            signal.raise_signal(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler not in (None, signal.SIG_IGN):  # a signal that the process ignores stays ignored
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        restore()
