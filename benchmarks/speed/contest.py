"""One network in all the ways of `peers`, run in turn: latency, throughput, memory, and what each answers."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from benchmarks.speed import peers
from benchmarks.speed.runners import COMPILED, FLOOR, OURS, PLAIN, TORCH, InOnnxRuntime, Ours, Runner
from tcja_deploy.bench.timing import Latency, alternated
from tcja_exporters.graph.export import export_onnx, with_time_forms
from tcja_exporters.graph.exported import save
from tcja_exporters.reference import recorder
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.data.contract import Floats, InputContract

FOR_ENGINES = "unrolled"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A network to measure.

    Attributes:
        name: of it.
        source: where its weights and windows are from.
        model: in eval mode, its neurons `SpikingNeuron`.
        dialect: whose neurons they stand for.
        contract: its input.
        output: name of what it returns.
        time_steps: T.
        windows: so many windows that meet the contract.
    """

    name: str
    source: str
    model: nn.Module
    dialect: str
    contract: InputContract
    output: str
    time_steps: int
    windows: Callable[[int], Floats]


def exported(subject: Subject, folder: Path) -> dict[str, int]:
    """Export by this tool, for any batch; returns the nodes of the main graph of each model.

    In the folder itself time has the form that ONNX Runtime is given, in `FOR_ENGINES` that which TensorRT is given.
    """
    (folder / FOR_ENGINES).mkdir(parents=True, exist_ok=True)
    found = export_onnx(subject.model, subject.contract, subject.output, {"producer": "benchmark"})
    save(with_time_forms(found, {}, pooled=True), folder)
    layers = [layer.name for layer in recorder.layers(subject.model, subject.contract)]
    save(with_time_forms(found, dict.fromkeys(layers, "unrolled")), folder / FOR_ENGINES)
    return {name: nodes(folder / name) for name in (MODEL, PLAIN_MODEL)}


def nodes(model: Path) -> int:
    """Of a model's main graph."""
    return len(onnx.load(model, load_external_data=False).graph.node)


def held(subject: Subject, folder: Path, batch: int, rounds: int, seconds: float, patience: float) -> dict[str, Any]:
    """Run a network in all ways, in turn.

    Args:
        subject: the network.
        folder: for models; those of `PLAIN` and of ours are left there.
        batch: windows a run.
        rounds: that are run at least.
        seconds: to go on for.
        patience: seconds that torch.compile is given; 0 leaves it out.

    Returns:
        Of each contestant its latency and so on, or why there is none under "failed".
    """
    windows = subject.windows(batch)
    trained, floor = peers.as_trained(subject.model, subject.dialect), peers.bare(subject.model)
    peers.check_numbers(floor, windows)
    facts: dict[str, dict[str, Any]] = {OURS: {"nodes": exported(subject, folder)[PLAIN_MODEL]}}
    files = {PLAIN: folder / "plain.onnx", FLOOR: folder / "floor.onnx"}
    for name, model in ((PLAIN, trained), (FLOOR, floor)):
        took = peers.export(model, windows, files[name])
        facts[name] = {"nodes": nodes(files[name]), "export_seconds": round(took, 2)}
    contestants: dict[str, Runner] = {
        OURS: Ours(folder),
        PLAIN: InOnnxRuntime(files[PLAIN]),
        FLOOR: InOnnxRuntime(files[FLOOR]),
        TORCH: peers.InTorch(trained),
    }
    failed = {}
    if patience:
        try:
            contestants[COMPILED] = peers.compiled(peers.as_trained(subject.model, subject.dialect), windows, patience)
        except Exception as error:  # whatever the compiler has to say
            failed[COMPILED] = {"failed": " ".join(str(error).split())[:200]}
    answers = {name: contestant.run(windows) for name, contestant in contestants.items()}  # and warm them up
    runs = {name: (lambda runner=runner: runner.run(windows)) for name, runner in contestants.items()}
    found = compared(alternated(runs, seconds, rounds), batch)
    for name, said in facts.items():
        found[name].update(said)
    for name, answer in answers.items():
        if name != FLOOR:
            found[name]["difference"] = float(np.abs(answer - answers[OURS]).max())
    torch.save(trained, folder / "trained.pt")
    for name, file in {OURS: folder / PLAIN_MODEL, **files, TORCH: folder / "trained.pt"}.items():
        found[name]["memory"] = memory(name, file, windows)
    return found | failed


def compared(taken: Mapping[str, list[float]], batch: int) -> dict[str, dict[str, Any]]:
    """What runs tell: of each contestant latency, throughput, and how much of its median ours takes."""
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    return {
        name: {
            "median": medians[name],
            "latency": dataclasses.asdict(Latency.of(seconds)),
            "throughput": batch / medians[name],
            "ratio": medians[OURS] / medians[name],
        }
        for name, seconds in taken.items()
    }


def memory(name: str, model: Path, windows: Floats) -> int | None:
    """Bytes, at most, that came with a contestant in a fresh process (`peak.py`); None if the system does not tell."""
    stored = model.with_name("windows.npy")
    np.save(stored, windows)
    command = [sys.executable, "-m", "benchmarks.speed.peak", name, str(model), str(stored)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told: int | None = json.loads(done.stdout)
    return told
