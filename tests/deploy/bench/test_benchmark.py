"""`bench`: what it measures, what it refuses to claim, and what it says of the machine."""

from __future__ import annotations

import dataclasses
import json
import mmap
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tcja_deploy.bench import benchmark, memory, timing
from tcja_deploy.bench.benchmark import BenchOptions
from tcja_deploy.bench.memory import Memory, MemoryMeter
from tcja_deploy.bench.timing import Latency, timed
from tcja_runtime.backends import select
from tcja_runtime.backends.select import Backend
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import Engine
from tcja_runtime.choices import AUTO, BACKENDS, BackendName
from tcja_runtime.errors import BadInput
from tcja_runtime.machine import power
from tcja_runtime.machine.conditions import Conditions

from ...sidecars import engine_info

BRIEF = ("--seconds", "0.2", "--warm-up", "0")


@pytest.fixture
def name() -> str:
    """One network is enough."""
    return "fashion_mnist"


@pytest.fixture
def run(run):
    """The same with stdout in one line."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code, out, err = run(*arguments)
        return code, " ".join(out.split()), err

    return command


class Recorded:
    """A session that keeps what it is given."""

    inputs = ("images",)
    uses_graph = True

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.given = seconds, []

    def run(self, feeds):
        self.given.append(feeds["images"])
        time.sleep(self.seconds)
        return {"rates": np.zeros((len(feeds["images"]), 10), np.float32)}


@pytest.fixture
def session(monkeypatch) -> Recorded:
    """In place of an engine for one to eight windows."""
    recorded = Recorded()
    engine = Engine(Path("a.bundle/engines/orin-10.3-fp16"), engine_info(batch=[1, 1, 8]))
    running = Backend(
        name="tensorrt", title="TensorRT 10.3, fp16", session=recorded, engine=engine, not_run=["engine old is old"]
    )
    monkeypatch.setattr(select, "opened", lambda *_, **__: running)
    return recorded


def still(monkeypatch, **changed: Any) -> None:
    """A machine whose conditions are known."""
    quiet = Conditions(
        processor="A processor",
        cpus=6,
        governors=["schedutil"],
        cpu_mhz=(729, 1497),
        gpu="A GPU",
        gpu_mhz=(306, 612),
        power_mode="15W",
        jetson_clocks=None,
        jetpack="JetPack 6.2 (Jetson Linux 36.4.3)",
        load=0.25,
    )
    monkeypatch.setattr(benchmark, "conditions", lambda: dataclasses.replace(quiet, **changed))


def taking(monkeypatch, seconds: list[float]) -> None:
    """Runs that take so long."""
    monkeypatch.setattr(benchmark, "timed", lambda runs, *_: dict.fromkeys(runs, seconds))


def test_a_network_is_measured(run, bundle):
    code, out, _ = run("bench", bundle, "--json", "--seconds", "0.5", "--backend", "onnxruntime", "--batch", "3")
    assert code == 0
    found = json.loads(out)
    latency = found["latency"]
    assert latency["runs"] >= timing.FEWEST
    assert 0 < latency["least"] <= latency["p50"] <= latency["p90"] <= latency["most"] < 5
    assert (found["batch"], found["backend"], found["engine"], found["cuda_graph"]) == (3, "onnxruntime", None, None)
    assert found["throughput"] == pytest.approx(3 / latency["p50"])
    assert found["title"].startswith("ONNX Runtime ")
    assert found["memory"]["process"] > 2**20
    assert {"python", "numpy", "onnxruntime"} <= set(found["versions"])
    assert found["before"]["processor"]
    assert found["before"]["cpus"] >= 1
    assert set(found) == (
        {"bundle", "network", "precision", "backend", "title", "engine", "cuda_graph", "batch", "windows", "warm_up"}
        | {"latency", "memory", "energy", "stepwise", "before", "after", "versions"}
        | {"throughput", "traffic", "bandwidth", "joules", "joules_above_rest"}
        | {"bundle_sha256", "machine", "engine_sha256"}
    )
    assert (found["traffic"], found["bandwidth"]) == (None, None)


def test_it_is_said_for_people(run, bundle, monkeypatch):
    still(monkeypatch)
    code, out, err = run("bench", bundle, *BRIEF, "--seconds", "0.5", "--verbose")
    out = out.replace("\N{NO-BREAK SPACE}", " ")
    assert code == 0
    assert "fashion_mnist, fp32, in ONNX Runtime " in out
    assert re.search(r"latency p50 [\d.]+ [µm]s latency p90 [\d.]+ [µm]s latency p99 ", out)
    assert re.search(r"throughput [\d.]+ k? ?windows/s", out)
    assert "it includes the copies to a GPU and back" in out
    assert "Processor: A processor, 6 cores, load 0.25, 729 MHz of 1,497, governor schedutil" in out
    assert "GPU: A GPU, 306 MHz of 612 after the runs" in out
    assert "Board: JetPack 6.2 (Jetson Linux 36.4.3), power mode 15W" in out
    assert "Not known: jetson_clocks ('jetson_clocks --show' needs root)." in out
    assert "The machine was busy" not in out
    assert "measure in ONNX Runtime" in err


def test_what_the_machine_does_not_tell_is_said(run, bundle, monkeypatch):
    unknown = {"governors": [], "cpu_mhz": None, "gpu_mhz": None, "power_mode": None, "load": 6.5}
    still(monkeypatch, **unknown)
    out = run("bench", bundle, *BRIEF, "--verbose")[1]
    assert "Not known: the processor's governor, its clock, the GPU's clock, the power mode, jetson_clocks" in out
    assert "Other programs kept the machine busy: load 6.50 on 6 cores." in out


def test_the_golden_windows_are_repeated_to_the_batch(run, bundle, session):
    code, out, err = run("bench", bundle, *BRIEF, "--batch", "7", "--json")
    assert code == 0
    with np.load(bundle / "golden.npz") as archive:
        windows = archive["images"]
    assert {given.shape for given in session.given} == {(7, *windows.shape[1:])}
    np.testing.assert_array_equal(session.given[0], windows[np.arange(7) % len(windows)])
    found = json.loads(out)
    assert (found["engine"], found["cuda_graph"]) == ("orin-10.3-fp16", True)
    assert "engine old is old" in err.splitlines()


def test_more_windows_than_there_are(run, bundle, session, monkeypatch):
    monkeypatch.setattr(session, "inputs", ("images",))
    with np.load(bundle / "golden.npz") as archive:
        windows = archive["images"]
    assert len(windows) < 30
    given = benchmark.inputs(Bundle.open(bundle), 30)["images"]
    np.testing.assert_array_equal(given[len(windows)], windows[0])
    assert len(given) == 30


def test_a_batch_that_the_engine_does_not_take_is_refused(run, bundle, session):
    code, _, err = run("bench", bundle, "--batch", "9")
    assert code == 2
    assert err.splitlines()[-1] == (
        "error: --batch 9: engine orin-10.3-fp16 takes 1 to 8 windows at a time; "
        f"run 'tcja-deploy build {bundle} --batch 1:9:9'"
    )


def test_few_runs_are_no_claim(run, bundle, session, monkeypatch):
    session.seconds = 0.02
    monkeypatch.setattr(timing, "PATIENCE", 0.2)
    out = run("bench", bundle, *BRIEF)[1]
    assert re.search(r"latency p50 unknown: \d+ runs are too few, 30 are needed; give more --seconds", out)
    assert "throughput" not in out
    session.seconds = 0.001
    monkeypatch.setattr(timing, "PATIENCE", 10)
    out = run("bench", bundle, "--seconds", "0.1", "--warm-up", "0")[1]
    assert re.search(r"latency p99 unknown: \d+ runs are too few, 100 are needed", out)
    assert re.search(r"latency p50 [\d.]+", out)


def test_percentiles_are_of_single_runs():
    """Of 1 to 100 ms in any order the percentiles are known by hand."""
    seconds = [number / 1000 for number in np.random.default_rng(0).permutation(np.arange(1, 101))]
    found = Latency.of(seconds)
    assert (found.p50, found.p90, found.p99) == (0.05, 0.09, 0.099)
    assert (found.least, found.most, found.runs) == (0.001, 0.1, 100)
    assert found.mean == pytest.approx(0.0505)
    assert Latency.of(seconds[:99]).p99 is None
    assert Latency.of(seconds[:29]).p50 is Latency.of(seconds[:29]).drift is None


def test_a_run_that_is_disturbed_does_not_move_the_median():
    assert Latency.of([0.001] * 60 + [9.0] * 20).p50 == 0.001


def test_runs_that_become_slower_are_remarked(run, bundle, session, monkeypatch):
    still(monkeypatch)
    assert Latency.of([0.001] * 50 + [0.0012] * 50).drift == pytest.approx(0.2)
    taking(monkeypatch, [0.001] * 50 + [0.0012] * 50)
    assert "The last fifth of the runs was 20 % slower than the first" in run("bench", bundle)[1]
    taking(monkeypatch, [0.001] * 50 + [0.00104] * 50)
    assert "The last fifth" not in run("bench", bundle)[1]


def test_it_is_measured_for_so_long_and_until_there_are_enough():
    began = time.perf_counter()
    taken = timed({"a": lambda: time.sleep(0.001)}, 0.1, 30)["a"]
    assert 0.1 <= sum(taken) <= time.perf_counter() - began
    assert len(timed({"a": lambda: time.sleep(0.001)}, 0.0, 30)["a"]) == 30
    assert len(timed({"a": lambda: None}, 0.0, 0)["a"]) == 1


def test_energy_is_the_power_times_the_time(run, bundle, session, monkeypatch):
    """5 W at rest and 9 W while it runs, 1 ms a run of two windows."""
    still(monkeypatch)
    drawn = iter((5.0, 9.0))
    source = "hwmon", lambda _: iter([{"VDD_IN": watts, "VDD_SOC": 1.0} for watts in [next(drawn)] * 20])
    monkeypatch.setattr(power, "source", lambda: source)
    monkeypatch.setattr(benchmark, "_REST", 0.0)
    taking(monkeypatch, [0.001] * 40)
    (found,) = benchmark.bench(bundle, BenchOptions(batches=(2,))).cases
    assert found.joules == pytest.approx(9.0 * 0.001 / 2)
    assert found.joules_above_rest == pytest.approx(4.0 * 0.001 / 2)
    drawn = iter((5.0, 9.0))
    out = run("bench", bundle, "--batch", "2")[1].replace("\N{NO-BREAK SPACE}", " ")
    assert "power 9.00 W, 5.00 W at rest (VDD_IN, hwmon, 20 samples)" in out
    assert "energy 4.50 mJ a window, 2.00 mJ above rest" in out


def test_power_that_is_not_told(run, bundle, session, monkeypatch):
    monkeypatch.setattr(power, "source", lambda: None)
    assert "energy unknown: this machine does not measure its power" in run("bench", bundle, *BRIEF)[1]
    monkeypatch.setattr(power, "source", lambda: ("tegrastats", lambda _: iter(())))
    monkeypatch.setattr(benchmark, "_REST", 0.0)
    assert "unknown: too few samples of tegrastats; give more --seconds" in run("bench", bundle, *BRIEF)[1]


def test_memory_that_came_with_the_network_is_counted(monkeypatch):
    meter = MemoryMeter.start()
    held = mmap.mmap(-1, 32 * 2**20)  # numpy may take memory that was used and freed before
    held.write(bytes([1]) * len(held))
    told = meter.read()
    assert told.process is not None
    if told.loaded is not None:  # where the peak can be counted anew
        assert 30 * 2**20 < told.loaded < 100 * 2**20
    held.close()
    monkeypatch.setattr(memory, "_PROCESS", Path("/none"))
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    assert MemoryMeter.start().read() == Memory(process=None, loaded=None, gpu=None)


def test_every_backend_can_be_chosen():
    assert [name.value for name in BackendName] == [AUTO, *BACKENDS]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--batch", "0"], 2, "Invalid value for '--batch'"),
        (["--seconds", "-1"], 2, "--seconds -1.0 must be 0 to 86,400"),
        (["--seconds", "nan"], 2, "--seconds is NaN, and must be a finite number"),
        (["--warm-up", "86401"], 2, "--warm-up 86401.0 must be 0 to 86,400"),
        (["--backend", "cpu"], 2, "Invalid value for '--backend'"),
        (["--backend", "tensorrt"], 2, "has no tensorrt engine: run 'tcja-deploy build"),
    ],
)
def test_what_cannot_be_measured(run, bundle, options, code, message):
    done = run("bench", bundle, *options)
    assert done[0] == code
    assert message in done[2].splitlines()[-1]


def test_windows_of_another_network(run, bundle):
    opened = Bundle.open(bundle)
    taken = dataclasses.replace(opened.manifest.input, shape=(1, 9, 9))
    other = dataclasses.replace(opened, manifest=dataclasses.replace(opened.manifest, input=taken))
    with pytest.raises(BadInput, match=r"golden.npz does not fit the network of the manifest"):
        benchmark.inputs(other, 1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("seconds", float("nan"), "`seconds` is NaN, and must be a finite number"),
        ("seconds", float("inf"), "`seconds` is Infinity, and must be a finite number"),
        ("warm_up", -1.0, "`warm_up` -1.0 must be 0 to 86,400"),
    ],
)
def test_times_that_cannot_be_are_refused(name, value, message):
    with pytest.raises(BadInput, match=message):
        BenchOptions(**{name: value})
