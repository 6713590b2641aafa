"""Clients that ask side by side, each in a thread of its own: as fast as they can, or at the pace of cameras."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ask = Callable[[int], npt.NDArray[Any]]
"""Asks for an input by its number. Returns the scores of K windows, [K, classes]."""
Client = Callable[[], contextlib.AbstractContextManager[Ask]]
"""Connects a client; it is used, and closed, in the thread that connects it."""


@dataclasses.dataclass
class Taken:
    """What clients measured.

    Attributes:
        latencies: the seconds of each answer.
        seconds: how long all took together.
        differ: the number of answers that are not those of the local session, to the bit.
        largest: the largest difference of a score.
    """

    latencies: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    differ: int = 0
    largest: float = 0.0

    def __add__(self, other: Taken) -> Taken:
        return Taken(
            self.latencies + other.latencies,
            self.seconds + other.seconds,
            self.differ + other.differ,
            max(self.largest, other.largest),
        )

    @property
    def rate(self) -> float:
        """The number of answers in a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """The seconds that this share of the answers took at most."""
        return float(np.quantile(self.latencies, share))


@dataclasses.dataclass(frozen=True)
class Expected:
    """What the local session answers to each input.

    Attributes:
        scores: by the number of an input, [K, classes].
    """

    scores: Sequence[npt.NDArray[Any]]

    def ask(self, ask: Ask, turn: int, taken: Taken) -> None:
        """Ask for the next input, again from the first one after the last, and compare the answer."""
        at = turn % len(self.scores)
        found = ask(at)
        if found.tobytes() != self.scores[at].tobytes():
            taken.differ += 1
            if found.shape == self.scores[at].shape:
                taken.largest = max(taken.largest, float(np.abs(found - self.scores[at]).max()))


def as_fast_as_they_can(
    clients: Sequence[Client], expected: Expected, seconds: float, ready: Callable[[], None]
) -> Taken:
    """Let clients ask, each for its next input when the answer of the last one has come.

    `ready` is called when all clients have had an answer that does not count, before they begin.
    """

    def work(_: int, ask: Ask, taken: Taken) -> None:
        end, turn = time.perf_counter() + seconds, 0
        while (began := time.perf_counter()) < end:
            expected.ask(ask, turn, taken)
            taken.latencies.append(time.perf_counter() - began)
            turn += 1

    return _together(work, clients, ready)


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long cameras ask, and the seconds between two inputs of a camera."""

    seconds: float
    every: float


def at_their_pace(clients: Sequence[Client], expected: Expected, pace: Pace, ready: Callable[[], None]) -> Taken:
    """Let cameras ask at a pace, each from a random moment on. `ready` is as for `as_fast_as_they_can`.

    A latency counts from the moment at which the window was due, so a camera that falls behind is seen.
    """
    phases = np.random.default_rng(0).uniform(0, pace.every, len(clients))

    def work(number: int, ask: Ask, taken: Taken) -> None:
        start = time.perf_counter() + phases[number]
        for turn in range(int(pace.seconds / pace.every)):
            due = start + turn * pace.every
            time.sleep(max(0.0, due - time.perf_counter()))
            expected.ask(ask, turn, taken)
            taken.latencies.append(time.perf_counter() - due)

    return _together(work, clients, ready)


def _together(work: Callable[[int, Ask, Taken], None], clients: Sequence[Client], ready: Callable[[], None]) -> Taken:
    """Let clients work side by side, each in a thread, and add up what they measured."""
    each, errors = [Taken() for _ in clients], list[BaseException]()
    begin = threading.Barrier(len(clients) + 1, action=ready)

    def run(number: int) -> None:
        try:
            with clients[number]() as ask:
                ask(0)
                begin.wait()
                work(number, ask, each[number])
        except BaseException as error:  # the thread would print it, and the others wait
            errors.append(error)
            begin.abort()

    threads = [threading.Thread(target=run, args=[number]) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        begin.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return dataclasses.replace(sum(each, Taken()), seconds=time.perf_counter() - began)


@dataclasses.dataclass(frozen=True)
class Remote:
    """A model of a server, and what it is asked for.

    Attributes:
        model: the name of the model.
        given: the name of its input.
        returned: the name of its output.
        inputs: the windows, or the frames of one camera, [N, ...].
        is_stream: whether it is a model of streams. The first frame starts a stream, the last ends it.
    """

    model: str
    given: str
    returned: str
    inputs: npt.NDArray[np.float32]
    is_stream: bool = False

    @contextlib.contextmanager
    def client(self, connect: Callable[[], Any], module: Any) -> Iterator[Ask]:
        """A client with a connection of its own; a camera of its own, if it is a model of streams.

        Args:
            connect: makes a client of the module.
            module: `tritonclient.http` or `tritonclient.grpc`.
        """
        client = connect()

        def ask(at: int) -> npt.NDArray[Any]:
            given = module.InferInput(self.given, [1, *self.inputs.shape[1:]], "FP32")
            given.set_data_from_numpy(self.inputs[at : at + 1])
            stream = {}
            if self.is_stream:
                ends = {"sequence_start": at == 0, "sequence_end": at + 1 == len(self.inputs)}
                stream = {"sequence_id": id(client) % 2**31, **ends}
            found: npt.NDArray[Any] = client.infer(self.model, [given], **stream).as_numpy(self.returned)
            return found[0] if self.is_stream else found

        try:
            yield ask
        finally:
            client.close()
