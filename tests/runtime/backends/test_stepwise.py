"""Streams with a head and a tail that are easy to follow: membranes sum their frames, a window's sums are the answer.

v_t = v_{t-1} + x_t,   answer = (v_1, ..., v_T)
"""

from __future__ import annotations

import numpy as np
import pytest

from tcja_runtime.backends import stepwise
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.network_signature import NetworkSignature
from tcja_runtime.bundle.stepwise import Feature, State, Streaming
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput, Unavailable

STEPS, REST = 3, -1.0
CONTRACT = InputContract.frames(STEPS, 1, 2)
SIGNATURE = NetworkSignature(input=CONTRACT, output="sums", output_shape=(STEPS, 2, 1, 2), time_steps=STEPS, layers=[])
SPLIT = Streaming(
    frame="frame",
    states=[State(layer="a", shape=(2, 1, 2), start=REST)],
    features=[Feature(name="b", shape=(2, 1, 2))],
)


class Head:
    inputs = ("frame", "a/v")

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.error: Exception | None = None

    def run(self, feeds):
        if self.error:
            raise self.error
        self.batches.append(len(feeds["frame"]))
        after = feeds["a/v"] + feeds["frame"]
        return {"a/v_next": after, "b/kept": after}

    def close(self) -> None: ...


class Tail(Head):
    inputs = ("b/kept",)

    def run(self, feeds):
        if self.error:
            raise self.error
        self.batches.append(len(feeds["b/kept"]))
        return {"sums": feeds["b/kept"].copy()}


def made(count: int = 1) -> Streams:
    return Streams(SPLIT, SIGNATURE, Head(), Tail(), count)


def drawn(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 9, (n, *CONTRACT.shape)).astype(np.float32)


def sums(windows: np.ndarray) -> np.ndarray:
    return REST + np.cumsum(windows, axis=1)


def test_windows_follow_each_other_and_each_begins_from_rest():
    streams = made()
    for seed in range(3):
        (window,) = drawn(1, seed)
        for frame in window[:-1]:
            completed = streams.push(frame[None])
            assert not len(completed.streams)
            assert completed.outputs.shape == (0, STEPS, 2, 1, 2)
        completed = streams.push(window[-1][None])
        assert completed.streams.tolist() == [0]
        np.testing.assert_array_equal(completed.outputs, sums(window[None]))
        assert streams.steps.tolist() == [0]


@pytest.mark.parametrize("seed", range(5))
def test_streams_in_different_phases_run_in_one_batch(seed):
    """Subsets in any order, drawn: every stream is answered as if it were alone."""
    rng, n = np.random.default_rng(seed), 4
    windows = np.stack([drawn(5, 10 * seed + i) for i in range(n)])  # [stream, window, T, ...]
    streams, seen, answers = made(n), [0] * n, [0] * n
    while min(answers) < 3:
        open_ = [i for i in range(n) if seen[i] < 5 * STEPS]
        at = rng.permutation(open_)[: rng.integers(1, len(open_) + 1)]
        frames = np.stack([windows[i, seen[i] // STEPS, seen[i] % STEPS] for i in at])
        completed = streams.push(frames, at.tolist())
        for i in at:
            seen[i] += 1
        assert completed.streams.tolist() == [i for i in at if seen[i] % STEPS == 0]
        for i, output in zip(completed.streams, completed.outputs, strict=True):
            np.testing.assert_array_equal(output, sums(windows[i])[answers[i]])
            answers[i] += 1
        assert streams.steps.tolist() == [count % STEPS for count in seen]
    assert max(streams._head.batches) > 1


def test_one_or_all_are_reset_in_the_midst_of_a_window():
    streams, windows = made(3), drawn(3)
    for t in range(2):
        streams.push(windows[:, t])
    streams.reset([1])
    assert streams.steps.tolist() == [2, 0, 2]
    completed = streams.push(windows[:, 2])
    assert completed.streams.tolist() == [0, 2]
    np.testing.assert_array_equal(completed.outputs, sums(windows)[[0, 2]])
    streams.reset()
    assert streams.steps.tolist() == [0, 0, 0]
    for t in range(3):
        completed = streams.push(windows[:, t])
    np.testing.assert_array_equal(completed.outputs, sums(windows))


@pytest.mark.parametrize("together", [1, 2, 4])
def test_batches_are_as_large_as_is_allowed(together):
    streams, windows = made(5), drawn(5)
    streams.together = together
    for t in range(STEPS):
        completed = streams.push(windows[:, t])
    np.testing.assert_array_equal(completed.outputs, sums(windows))
    rest = [5 % together] if 5 % together else []
    assert streams._head.batches == ([together] * (5 // together) + rest) * STEPS
    assert streams._tail.batches == [1] * 5


@pytest.mark.parametrize("part", ["_head", "_tail"])
def test_what_fails_can_be_pushed_again(part):
    streams, windows = made(2), drawn(2)
    for t in range(2):
        streams.push(windows[:, t])
    getattr(streams, part).error = Unavailable("no memory")
    with pytest.raises(Unavailable, match="no memory"):
        streams.push(windows[:, 2])
    assert streams.steps.tolist() == [2, 2]
    getattr(streams, part).error = None
    np.testing.assert_array_equal(streams.push(windows[:, 2]).outputs, sums(windows))


def test_frames_of_any_numbers_are_taken():
    streams, windows = made(1), drawn(1)
    for t in range(STEPS):
        completed = streams.push(windows[:, t].astype(np.uint8))
    np.testing.assert_array_equal(completed.outputs, sums(windows))


FRAME = np.zeros((1, 2, 1, 2), np.float32)


@pytest.mark.parametrize(
    ("push", "message"),
    [
        (
            lambda s: s.push(FRAME[0]),
            r"frames are float32 \[2, 1, 2\]; they must be numbers \[3, 2, 1, 2\], one frame for each of 3 streams",
        ),
        (lambda s: s.push(FRAME, [0, 1]), r"frames are float32 \[1, 2, 1, 2\]; they must be numbers \[2, 2, 1, 2\]"),
        (lambda s: s.push(FRAME.astype(np.complex64), [0]), "frames are complex64"),
        (lambda s: s.push(FRAME.astype(str), [0]), "frames are <U"),
        (lambda s: s.push(FRAME * np.nan, [0]), "frames have values that are NaN; give finite numbers"),
        (lambda s: s.push(FRAME.astype(float) + 1e300, [0]), r"of up to 1e\+300, which are too large for float32"),
        (lambda s: s.push(FRAME, [3]), "there is no stream 3; the 3 streams are 0 to 2"),
        (lambda s: s.push(FRAME, [-1]), "there is no stream -1; the 3 streams are 0 to 2"),
        (lambda s: s.push(FRAME.repeat(2, 0), [1, 1]), "stream 1 is named twice; push its frames one after the other"),
        (
            lambda s: s.push(FRAME, [0.0]),
            r"streams are float64 \[1\]; name at least one by its number, such as",
        ),
        (lambda s: s.push(FRAME, []), r"streams are float64 \[0\]; name at least one"),
        (lambda s: s.push(FRAME, [[0]]), r"streams are int64 \[1, 1\]; name at least one"),
        (lambda s: s.reset([7]), "there is no stream 7"),
    ],
)
def test_what_is_wrong_with_a_push_is_said_and_changes_nothing(push, message):
    streams, windows = made(3), drawn(3)
    streams.push(windows[:, 0])
    with pytest.raises(BadInput, match=message):
        push(streams)
    assert streams.steps.tolist() == [1, 1, 1]
    for t in (1, 2):
        completed = streams.push(windows[:, t])
    np.testing.assert_array_equal(completed.outputs, sums(windows))


def test_what_streams_keep_is_bounded_and_told(monkeypatch):
    streams = made(5)
    kept = [*streams._membranes.values(), *streams._kept.values()]
    assert streams.bytes == sum(array.nbytes for array in kept) == 5 * 4 * (4 + STEPS * 4)
    for _ in range(4 * STEPS):
        streams.push(np.zeros((5, 2, 1, 2), np.float32))
    assert sum(array.nbytes for array in (*streams._membranes.values(), *streams._kept.values())) == streams.bytes
    monkeypatch.setattr(stepwise, "LARGEST", streams.bytes - 1)
    with pytest.raises(BadInput, match="5 streams need 320 bytes of state, more than 319; take fewer"):
        made(5)
    for count in (0, "3", 2.5, True):
        with pytest.raises(BadInput, match=f"there must be at least 1 stream, not {count!r}; give a whole number"):
            made(count)
