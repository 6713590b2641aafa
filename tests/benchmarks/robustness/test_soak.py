"""The soak counts what a process holds: a file that is left open at each turn is seen."""

from __future__ import annotations

import mmap
import threading

import pytest

from benchmarks.robustness import soak


@pytest.mark.slow
def test_sessions_and_streams_hold_nothing(bundle, tmp_path):
    import tcja_runtime as tcja

    opened = soak.soaked("sessions", 6, soak.sessions(bundle))
    assert {"descriptors", "threads"}.isdisjoint(opened.grown)
    with tcja.load(bundle) as net:
        streamed = soak.soaked("streams", 9, soak.streams(net, soak.drawn(tmp_path / "a.bin", 64, 64)))
    assert {"descriptors", "threads"}.isdisjoint(streamed.grown)
    assert (opened.times, streamed.times) == (6, 9)


@pytest.fixture
def name() -> str:
    """A network that takes events."""
    return "dvs128"


def test_what_is_left_open_is_seen(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    kept = []
    assert soak.soaked("files", 20, lambda: kept.append((tmp_path / "a").open())).grown == ["descriptors"]
    for file in kept:
        file.close()
    assert soak.soaked("files", 20, (tmp_path / "a").read_bytes).grown == []


def test_memory_and_threads_that_are_left_are_seen():
    kept, end = [], threading.Event()

    def keep() -> None:
        kept.append(mmap.mmap(-1, 2**20))
        kept[-1].write(b"x" * 2**20)

    assert "memory" in soak.soaked("bytes", 20, keep).grown
    assert "threads" in soak.soaked("threads", 20, lambda: _waits(end)).grown
    end.set()


def _waits(end: threading.Event) -> None:
    threading.Thread(target=end.wait).start()
