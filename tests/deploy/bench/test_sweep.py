"""`bench` with several backends or batch sizes: in turn, with ratios, memory and growth."""

from __future__ import annotations

import dataclasses
import json
import re
import time

import numpy as np
import pytest

from tcja_deploy.bench import benchmark, timing
from tcja_deploy.bench.results import exponent
from tcja_deploy.bench.timing import alternated
from tcja_runtime.backends import select

BRIEF = ("--seconds", "0.1", "--warm-up", "0")


@pytest.fixture
def name() -> str:
    """One network is enough."""
    return "fashion_mnist"


@pytest.mark.slow
def test_batches_and_models_are_measured_side_by_side(run, bundle):
    batches = ("--batch", "8", "--batch", "1", "--batch", "8")
    code, out, err = run("bench", bundle, "--backend", "onnxruntime", *batches, "--canonical", *BRIEF, "--json")
    assert code == 0
    found = json.loads(out)
    assert [(case["backend"], case["batch"]) for case in found["cases"]] == [
        ("onnxruntime", 1),
        ("model.onnx", 1),
        ("onnxruntime", 8),
        ("model.onnx", 8),
    ]
    assert set(found) == (
        {"bundle", "bundle_sha256", "machine", "network", "precision", "warm_up", "cases", "growth"}
        | {"before", "after", "versions"}
    )
    case = {"backend", "title", "engine", "engine_sha256", "batch", "latency", "ratio", "memory", "throughput"}
    case |= {"traffic", "bandwidth"}
    assert all(set(each) == case for each in found["cases"])
    for first, second in (found["cases"][:2], found["cases"][2:]):
        assert first["ratio"] == 1
        assert second["ratio"] == pytest.approx(first["latency"]["p50"] / second["latency"]["p50"])
        assert second["title"] == f"{first['title']}, model.onnx"
    for case in found["cases"]:
        assert case["latency"]["runs"] >= timing.FEWEST
        assert case["throughput"] == pytest.approx(case["batch"] / case["latency"]["p50"])
        memory = case["memory"]
        assert memory["loaded"] is None or 2**18 < memory["loaded"] < memory["process"]
    assert [each["backend"] for each in found["growth"]] == ["onnxruntime", "model.onnx"]
    first, *_ = found["growth"]
    sizes, times = [1, 8], [case["latency"]["p50"] for case in found["cases"][::2]]
    assert first["time"] == pytest.approx(np.log(times[1] / times[0]) / np.log(sizes[1] / sizes[0]))
    assert "measure 4 cases in turn" in err


@pytest.mark.slow
def test_it_is_said_for_people(run, bundle):
    code, out, _ = run("bench", bundle, "--backend", "onnxruntime", "--batch", "1", "--batch", "4", *BRIEF, "--verbose")
    out = " ".join(out.replace("\N{NO-BREAK SPACE}", " ").split())
    assert code == 0
    assert "run by batch p50 p90 p99 windows/s as fast memory" in out
    assert re.search(r"At least \d\d+ runs of each case, in turn, after 0 s of warm-up", out)
    assert re.search(r"Twice the batch in ONNX Runtime [\d.]+: [\d.]+ times the time", out)
    assert "Processor: " in out


def test_what_one_backend_lacks_is_an_error(run, bundle):
    code, _, err = run("bench", bundle, "--backend", "onnxruntime", "--backend", "tensorrt", *BRIEF)
    assert code == 2
    assert "has no tensorrt engine: run 'tcja-deploy build" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_case_that_ends_in_its_own_process_is_an_error(run, bundle, monkeypatch):
    monkeypatch.setattr(benchmark.sys, "executable", "/bin/false")
    code, _, err = run("bench", bundle, "--backend", "onnxruntime", "--canonical", *BRIEF)
    assert code == 3
    said = "error: onnxruntime cannot run 1 window at a time in a process of its own: it ended with 1"
    assert err.splitlines()[-1] == said


def test_few_runs_are_no_claim(run, bundle, monkeypatch):
    opened = select.opened

    class Slow:
        def __init__(self, session) -> None:
            self.session = session

        def run(self, feeds):
            time.sleep(0.02)
            return self.session.run(feeds)

    def slow(*args, **kwargs):
        running = opened(*args, **kwargs)
        return dataclasses.replace(running, session=Slow(running.session))

    monkeypatch.setattr(select, "opened", slow)
    monkeypatch.setattr(timing, "PATIENCE", 0.2)
    code, out, _ = run("bench", bundle, "--backend", "onnxruntime", "--batch", "1", "--batch", "2", *BRIEF)
    out = " ".join(out.split())
    assert code == 0
    assert re.search(r"Times are unknown: \d+ runs are too few, 30 are needed; give more --seconds", out)
    assert not re.search(r"Twice the batch in ONNX Runtime [\d.]+: [\d.]+ times the time", out)


def test_contestants_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "_PAUSE", 0.0)
    ran: list[str] = []
    taken = alternated({name: (lambda name=name: ran.append(name)) for name in "abc"}, 0.0, 3)
    assert "".join(ran) == "abcbcacab"
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 3, "b": 3, "c": 3}
    slow = alternated({"a": lambda: time.sleep(0.01)}, 0.1, 0)["a"]
    assert 2 <= len(slow) <= 11
    assert len(alternated({"a": lambda: time.sleep(0.01)}, 0.0, 1000, longest=0.05)["a"]) <= 6


def test_what_grows_linearly_has_the_exponent_1():
    assert exponent([4, 8, 16], [3.0, 6.0, 12.0]) == pytest.approx(1)
    assert exponent([4, 8, 16], [1.0, 4.0, 16.0]) == pytest.approx(2)
    assert exponent([4], [1.0]) is None
    assert exponent([4, 8], [1.0, None]) is None
