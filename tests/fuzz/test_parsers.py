"""Whatever the content, every parser reads it or refuses it in a line, in little time and memory.

hypothesis chooses the damage, the same in every run, and makes the smallest that fails. `make fuzz` takes more.
"""

from __future__ import annotations

import importlib.util
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tcja_runtime.errors import BadInput, Unavailable

from . import judge
from .child import Apart
from .damage import changed_bytes
from .judge import Finding, judged
from .parser import Parser, Room
from .parsers import parsers

PARSERS = {parser.name: parser for parser in parsers()}
ALL_READ = ("parity", "datagrams")
"""The parsers that refuse nothing: they tell of damage in another way."""
SETTINGS = hypothesis.settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=list(hypothesis.HealthCheck)
)


@pytest.fixture(autouse=True)
def _memory_from_here() -> None:
    """Forget the most memory that the tests before have had (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def of(name: str) -> Parser:
    parser = PARSERS[name]
    for package in parser.packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    return parser


def outcomes(parser: Parser, seeds: list[bytes], reads: Callable[[bytes], bool], count: int) -> Counter[bool]:
    """How many contents that hypothesis chooses are read and refused."""
    found: Counter[bool] = Counter()

    @hypothesis.settings(SETTINGS, max_examples=count)
    @hypothesis.given(st.sampled_from(seeds), st.randoms(use_true_random=False))
    def check(seed, rng):
        content = parser.damage(rng, seed, changed_bytes)
        hypothesis.note(f"the content is {content!r}")
        found[reads(content)] += 1

    check()
    return found


FEW = {"aedat4": 100, "golden": 100}
"""The number of contents for parsers that take longer."""
HERE = [name for name, parser in PARSERS.items() if not parser.native]
CASES = [
    # aedat4 starts a process for each content, and few of model.sig are read.
    *(pytest.param(name, 30) for name in HERE if name not in ("aedat4", "model_sig")),
    *(pytest.param(name, FEW.get(name, 300), marks=pytest.mark.slow) for name in HERE),
]


@pytest.mark.parametrize(("name", "count"), CASES)
def test_damaged_content(tmp_path, name, count):
    parser, room = of(name), Room(tmp_path)
    seeds = parser.seeds(room)
    assert all(judged(parser, room, seed) for seed in seeds)
    found = outcomes(parser, seeds, lambda content: judged(parser, room, content), count)
    assert sum(found.values()) >= count
    if count > 30:  # else it may be that none is read, as of some formats one in fifty is
        assert found[True] > 0
        assert (found[False] > 0) == (name not in ALL_READ)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, parser in PARSERS.items() if parser.native])
def test_damaged_content_of_native_readers(tmp_path, name):
    parser = of(name)
    seeds = parser.seeds(Room(tmp_path))
    with Apart.started(parser, tmp_path) as apart:
        assert all(apart.judged(seed) for seed in seeds)
        found = outcomes(parser, seeds, apart.judged, 200)
        assert found[True] > 0
        assert found[False] > 0
        apart.process.kill()
        with pytest.raises(Finding, match="ends with status -9"):
            apart.judged(seeds[0])


@pytest.mark.parametrize("name", [name for name, parser in PARSERS.items() if parser.corpus()])
def test_what_campaigns_found(tmp_path, name):
    parser, room = of(name), Room(tmp_path)
    if parser.native:
        with Apart.started(parser, tmp_path) as apart:
            for file in parser.corpus():
                apart.judged(file.read_bytes())
        return
    for file in parser.corpus():
        judged(parser, room, file.read_bytes())


def loops(_: Room, __: bytes) -> None:
    while True:
        try:
            time.process_time()
        except Exception:  # a parser that takes every error for damage
            continue


def refuses(said: str) -> Callable[[Room, bytes], None]:
    def read(_: Room, __: bytes) -> None:
        raise BadInput(said)

    return read


def lacks_memory(_: Room, __: bytes) -> None:
    raise Unavailable("this machine has too little memory")


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda _, content: content[9], r"IndexError: .*\[test_parsers.py:\d+\]"),
        (loops, r"takes more than 0.1 s \[test_parsers.py:\d+\]"),
        (lambda _, __: np.ones(2**26), r"takes \d{3} MB"),
        (refuses(""), "refuses with '' of 0 characters"),
        (lacks_memory, "Unavailable: this machine"),
        (lambda _, __: exit(3), "SystemExit: 3"),
    ],
    ids=["a bug", "a loop", "memory", "no reason", "blames the machine", "exits"],
)
def test_what_is_a_mistake(tmp_path, monkeypatch, read, said):
    if read is loops:
        monkeypatch.setattr(judge, "SECONDS", 0.1)
    with pytest.raises(Finding, match=said):
        judged(Parser("odd", lambda _: [], read), Room(tmp_path), b"some")
