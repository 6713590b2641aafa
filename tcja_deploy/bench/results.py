"""The results of `bench`: one network on one machine, in one case or in several side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tcja_deploy.bench.memory import Memory
from tcja_deploy.bench.timing import Latency, StepwiseLatency
from tcja_deploy.formatting import windows
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.machine.conditions import Conditions
from tcja_runtime.machine.identity import Machine
from tcja_runtime.machine.power import Power

WINDOWS = "the bundle's golden windows, repeated"
"""The description of the windows that are run, for JSON."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Energy:
    """The power that the board drew, at rest and during the runs.

    Attributes:
        source: the sensor, "hwmon" or "tegrastats".
        rest: the power before the runs, with the network loaded; None for too few samples.
        runs: the power during the runs; None for too few samples.
    """

    source: str
    rest: Power | None
    runs: Power | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traffic:
    """The bytes that an engine moves between memory and GPU in a run.

    Attributes:
        moved: the bytes, from the engine's kernel plan; None if they are not known for this batch size.
        unknown: the reason why they are not known; empty if they are.
    """

    moved: int | None
    unknown: str

    @classmethod
    def of(cls, info: EngineInfo, batch: int) -> Traffic:
        """Return the bytes that an engine moves in a run of a batch size."""
        if info.plan is None:
            return cls(moved=None, unknown=info.plan_unread)
        if batch != info.batch[1]:
            return cls(moved=None, unknown=f"the kernel plan is of {windows(info.batch[1])} at a time")
        return cls(moved=info.plan.moved, unknown="")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One backend with one batch size, and its measurements.

    Attributes:
        backend: one of `tcja_runtime.choices.BACKENDS`, or `tcja_deploy.bench.benchmark.CANONICAL`.
        title: the backend's name for people, such as "ONNX Runtime 1.23".
        engine: the engine's name; None for ONNX Runtime.
        engine_sha256: the engine's hash; None for ONNX Runtime.
        batch: the number of windows in a run.
        latency: the latency of a run.
        memory: the memory that the network took. If there are several cases, the memory of each is measured in a
            process of its own.
        cuda_graph: whether the runs were launched as a CUDA graph; None if the backend has no CUDA graphs.
        energy: the power that the board drew; None if the board does not report it, or if there are several cases.
        traffic: the bytes that the engine moves in a run, from its kernel plan; None for ONNX Runtime.
        stepwise: the latency frame by frame; None if the bundle has no stepwise models, if the case runs an engine, or
            if there are several cases.
    """

    backend: str
    title: str
    engine: str | None
    engine_sha256: str | None
    batch: int
    latency: Latency
    memory: Memory
    cuda_graph: bool | None
    energy: Energy | None
    traffic: Traffic | None
    stepwise: StepwiseLatency | None

    @property
    def bandwidth(self) -> float | None:
        """The bytes of the engine's kernel plan over the median time of a run, in bytes a second; None if unknown.

        The time includes the copies of the batch to the GPU and back, so the kernels are at least as fast.
        """
        moved = self.traffic.moved if self.traffic else None
        return moved / self.latency.p50 if moved and self.latency.p50 else None

    @property
    def throughput(self) -> float | None:
        """Windows a second, from the median run; None for too few runs."""
        return self.batch / self.latency.p50 if self.latency.p50 else None

    @property
    def joules(self) -> float | None:
        """The energy that the whole board took for one window, in joules; None if its power is not known."""
        drawn = self.energy and self.energy.runs
        return drawn.watts * self.latency.mean / self.batch if drawn else None

    @property
    def joules_above_rest(self) -> float | None:
        """The energy for one window without the energy that the board takes at rest, in joules.

        None if the power during the runs, or the power at rest, is not known.
        """
        energy = self.energy
        if energy is None or energy.runs is None or energy.rest is None:
            return None
        return (energy.runs.watts - energy.rest.watts) * self.latency.mean / self.batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Growth:
    """The growth of a backend's time and memory with the batch size, as exponents e: twice the batch takes 2^e as much.

    Attributes:
        backend: the name of the backend, as in `Case`.
        time: the exponent of the median time of a run; None if the median of a case is not known.
        memory: the exponent of the memory that the network took, its weights included; None if the memory of a case is
            not known.
    """

    backend: str
    time: float | None
    memory: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The latency, throughput, memory and energy of a network on a machine.

    Attributes:
        bundle: the bundle's path.
        bundle_sha256: the hash of what was exported (`Bundle.sha256`).
        machine: the machine that was measured.
        network: the network's name.
        precision: the precision of the bundle's models.
        warm_up: the seconds for which each case ran before it was measured.
        before: the machine's conditions before the runs.
        after: the machine's conditions right after the runs.
        versions: the versions of Python and of the installed packages (`tcja_deploy.packages.tools`).
        cases: the measurements of each case: in the order of batch sizes, then of `BenchOptions.backends`.
        side_by_side: whether several backends or batch sizes were requested. Their cases are measured in turn, without
            energy and stepwise latency.
    """

    bundle: str
    bundle_sha256: str
    machine: Machine
    network: str
    precision: str
    warm_up: float
    before: Conditions
    after: Conditions
    versions: dict[str, str]
    cases: list[Case]
    side_by_side: bool

    @property
    def growth(self) -> list[Growth]:
        """The growth of the time and memory of each backend with the batch size; empty for a single batch size."""
        if len({case.batch for case in self.cases}) < 2:
            return []
        found = []
        for name in dict.fromkeys(case.backend for case in self.cases):
            own = [case for case in self.cases if case.backend == name]
            sizes = [case.batch for case in own]
            time = exponent(sizes, [case.latency.p50 for case in own])
            memory = exponent(sizes, [case.memory.loaded for case in own])
            found.append(Growth(backend=name, time=time, memory=memory))
        return found

    def ratio(self, case: Case) -> float | None:
        """Return the speed of a case relative to the first backend with the same batch size.

        It is the median latency of the first backend divided by that of the case; None if a median is not known.
        """
        first = next(other for other in self.cases if other.batch == case.batch).latency.p50
        return first / case.latency.p50 if first and case.latency.p50 else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in seconds, bytes, watts and joules.

        The values of a single case are at the top level. Several cases (`side_by_side`) are a list, "cases".
        """
        fields = dataclasses.asdict(self)
        cases, side_by_side = fields.pop("cases"), fields.pop("side_by_side")
        for case, found in zip(self.cases, cases, strict=True):
            found |= {"throughput": case.throughput, "bandwidth": case.bandwidth}
            if side_by_side:
                for name in ("cuda_graph", "energy", "stepwise"):
                    del found[name]
                found["ratio"] = self.ratio(case)
            else:
                if case.stepwise:
                    found["stepwise"]["share"] = case.stepwise.share
                found |= {"joules": case.joules, "joules_above_rest": case.joules_above_rest, "windows": WINDOWS}
        if side_by_side:
            return {**fields, "cases": cases, "growth": [dataclasses.asdict(each) for each in self.growth]}
        return {**fields, **cases[0]}


def exponent(sizes: Sequence[int], values: Sequence[float | None]) -> float | None:
    """Return the slope of the straight line that fits log(value) against log(size) best.

    Returns:
        The slope; None if a value is None or 0, or if all sizes are equal.
    """
    known = [value for value in values if value]
    if len(known) < len(sizes) or len(set(sizes)) < 2:
        return None
    slope, _ = np.polyfit(np.log(sizes), np.log(known), 1)
    return float(slope)
