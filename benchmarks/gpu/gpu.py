"""A network on one GPU: PyTorch, SpikingJelly's kernels and ONNX Runtime, their latency and whether they agree.

    python -m benchmarks.gpu.gpu BUNDLE CHECKPOINT [--plain PLAIN.onnx] [--spikingjelly-2 FOLDER] [--batch 1 8]
                             [--seconds 2] [--device cuda] [--json FILE]

BUNDLE was exported from CHECKPOINT; its golden windows are the input, the reference's answers and spikes what all are
compared with. PLAIN.onnx is the network with SpikingJelly's neurons, exported the plain way (`plain_export.py`, any
batch). FOLDER holds SpikingJelly 2, which cannot be installed beside the first.

A time is the median of single runs by the processor's clock, from a window in the GPU's memory until the answer lies
there. The runs of a family, a process of its own, take turns; all products are of float32 (no TF32). Convolutions are
searched for exhaustively, which is ONNX Runtime's default; ours are what `verify` and `run` take. "CUDA graph" launches
the same work at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.metadata
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_exporters.modules.neurons import spiking_neurons
from tcja_runtime.backends.onnxruntime import EXACT, OnnxRuntimeSession
from tcja_runtime.bundle.bundle import PLAIN_MODEL, Bundle
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import first_line
from tcja_runtime.evidence import golden
from tcja_runtime.machine.conditions import conditions
from tcja_runtime.machine.gpu import gpu, gpu_clocks
from tcja_runtime.model_file.tensor_names import spikes_tensor

TURNS = 5
WARM_UP = 0.5
"""Seconds, and three runs at least."""


@dataclasses.dataclass
class Contestant:
    """A way to run the network on a batch that lies on the device.

    Attributes:
        name: for the table.
        run: answers once; the work may still be under way.
        answer: what a run answers, [N, classes].
        spikes: how many it fires in a run; None if it does not tell.
    """

    name: str
    run: Callable[[], Any]
    answer: Callable[[], Floats]
    spikes: Callable[[], int] | None = None


Offered = Iterator[Contestant | tuple[str, Exception]]
"""A contestant, or the name of one that cannot run here, and why."""


def attempted(name: str, made: Callable[[], Contestant]) -> Contestant | tuple[str, Exception]:
    try:
        return made()
    except Exception as error:
        return name, error


# PyTorch


def graphed(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The same work as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what is set up in a first run cannot be captured
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = run()

    def replayed() -> Tensor:
        graph.replay()
        return answer

    return replayed


def of_torch(name: str, run: Callable[[], Tensor], neurons: list[nn.Module] | None = None) -> Contestant:
    def spikes() -> int:
        fired: list[Tensor] = []
        hooks = [each.register_forward_hook(lambda _m, _x, y: fired.append(y.sum(dtype=torch.int64))) for each in kept]
        run()
        for hook in hooks:
            hook.remove()
        return int(sum(fired))

    kept = neurons or []
    run()
    return Contestant(name, run, lambda: run().double().cpu().numpy(), spikes if neurons else None)


def in_torch(name: str, run: Callable[[], Tensor], neurons: list[nn.Module], *, graph: bool) -> Offered:
    """Eager, and as a CUDA graph."""
    yield attempted(name, lambda: of_torch(name, run, neurons))
    if graph and torch.cuda.is_available():
        title = f"{name}, CUDA graph"
        yield attempted(title, lambda: of_torch(title, graphed(run)))


def network(path: Path, device: str) -> nn.Module:
    return identify(load_checkpoint(path)).model.eval().to(device)


def ours(asked: argparse.Namespace, window: Tensor) -> Offered:
    model = network(asked.checkpoint, asked.device)
    compiled = torch.compile(model, dynamic=False)
    yield from in_torch("PyTorch", lambda: model(window), list(spiking_neurons(model).values()), graph=True)
    title = "PyTorch, compiled"
    yield attempted(title, lambda: of_torch(title, lambda: compiled(window)))
    if torch.cuda.is_available():
        again = f"{title}, CUDA graph"
        yield attempted(again, lambda: of_torch(again, graphed(lambda: compiled(window))))


def replaced(model: nn.Module, made: Callable[[float], nn.Module]) -> list[nn.Module]:
    """Give a network other neurons, made from their tau, and return them."""
    neurons = []
    for name, spiking in spiking_neurons(model).items():
        parent, _, child = name.rpartition(".")
        neurons.append(made(spiking.spec.tau))
        setattr(model.get_submodule(parent), child, neurons[-1].eval())
    return neurons


def spikingjelly(asked: argparse.Namespace, window: Tensor) -> Offered:
    """The published neurons, in PyTorch and with the CuPy kernel that the networks were trained with."""
    from spikingjelly.clock_driven import functional, neuron

    release = importlib.metadata.version("spikingjelly")
    for title, backend in (("PyTorch", "torch"), ("CuPy", "cupy")):
        name = f"SpikingJelly {release}, {title}"

        def made(name: str = name, backend: str = backend) -> Offered:
            model = network(asked.checkpoint, asked.device)
            neurons = replaced(model, lambda tau: neuron.MultiStepLIFNode(tau=tau, detach_reset=True, backend=backend))

            def run() -> Tensor:
                functional.reset_net(model)
                return model(window)

            # CuPy launches in a stream of its own, which a graph does not capture.
            yield from in_torch(name, run, neurons, graph=backend == "torch")

        try:
            yield from made()
        except Exception as error:
            yield name, error


def spikingjelly_2(asked: argparse.Namespace, window: Tensor) -> Offered:
    """The release that chooses its kernels itself: its own CUDA, if it was built, before Triton."""
    from spikingjelly.activation_based import functional, neuron

    model = network(asked.checkpoint, asked.device)
    neurons = replaced(model, lambda tau: neuron.LIFNode(tau=tau, detach_reset=True, step_mode="m"))

    def run() -> Tensor:
        functional.reset_net(model)
        return model(window)

    kernel = "PyTorch"
    if asked.device == "cuda":
        kernel = functional.neuron_implementation("lif", window.device)["implementation"]
    yield from in_torch(f"SpikingJelly 2, {kernel}", run, neurons, graph=True)


# ONNX Runtime


def of_onnxruntime(name: str, file: Path, window: Tensor, device: str, options: dict[str, str]) -> Contestant:
    import onnxruntime

    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    if device == "cuda":
        provider = "CUDAExecutionProvider"
        onnxruntime.preload_dlls()
        onnxruntime.set_default_logger_severity(4)  # it says that its default convolutions may be slow
    else:
        provider, options = "CPUExecutionProvider", {}
    session = onnxruntime.InferenceSession(str(file), quiet, providers=[(provider, options)])
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"ONNX Runtime has no {provider} here")
    (given,), (asked,) = session.get_inputs(), session.get_outputs()
    binding = session.io_binding()
    binding.bind_ortvalue_input(given.name, onnxruntime.OrtValue.ortvalue_from_numpy(window.cpu().numpy(), device, 0))

    def run() -> None:
        session.run_with_iobinding(binding)

    binding.bind_output(asked.name, device)
    run()
    # A graph writes where it wrote when it was captured.
    (answer,) = binding.get_outputs()
    binding.bind_ortvalue_output(asked.name, answer)

    def answered() -> Floats:
        run()
        return np.asarray(binding.copy_outputs_to_cpu()[0], np.float64)

    return Contestant(name, run, answered)


def in_onnxruntime(asked: argparse.Namespace, window: Tensor) -> Offered:
    models = {"tcja-deploy": (asked.bundle / PLAIN_MODEL, EXACT["CUDAExecutionProvider"])}
    if asked.plain:
        models["plain export"] = asked.plain, {"use_tf32": "0"}
    kinds = {"": {}} | ({", CUDA graph": {"enable_cuda_graph": "1"}} if asked.device == "cuda" else {})
    for (title, (file, options)), (kind, more) in itertools.product(models.items(), kinds.items()):
        name, chosen = f"ONNX Runtime, {title}{kind}", {**options, **more}
        found = attempted(name, functools.partial(of_onnxruntime, name, file, window, asked.device, chosen))
        if title == "tcja-deploy" and not more and isinstance(found, Contestant):
            found.spikes = lambda: fired(asked, window)
        yield found


def fired(asked: argparse.Namespace, window: Tensor) -> int:
    """Spikes of our model, which its layers' tensors tell."""
    manifest = Bundle.open(asked.bundle).manifest
    names = [spikes_tensor(layer.name) for layer in manifest.layers]
    backend = "onnxruntime-cuda" if asked.device == "cuda" else "onnxruntime"
    session = OnnxRuntimeSession.open(asked.bundle / PLAIN_MODEL, names, backend=backend)
    return int(sum(np.count_nonzero(each) for each in session.run({session.inputs[0]: window.cpu().numpy()}).values()))


FAMILIES = {"spikingjelly": spikingjelly, "onnxruntime": in_onnxruntime, "spikingjelly-2": spikingjelly_2, "ours": ours}


# Measuring


def medians(contestants: list[Contestant], seconds: float, wait: Callable[[], None]) -> list[float]:
    """Seconds of a run, of each in turn."""

    def timed(contestant: Contestant) -> float:
        wait()
        start = time.perf_counter()
        contestant.run()
        wait()
        return time.perf_counter() - start

    def during(contestant: Contestant, whole: float, fewest: int) -> list[float]:
        taken: list[float] = []
        while len(taken) < fewest or sum(taken) < whole:
            taken.append(timed(contestant))
        return taken

    for contestant in contestants:
        during(contestant, WARM_UP, 3)
    taken: list[list[float]] = [[] for _ in contestants]
    for _ in range(TURNS):
        for i, contestant in enumerate(contestants):
            taken[i] += during(contestant, seconds / TURNS, 3)
    return [statistics.median(each) for each in taken]


def family(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """What all of a family did, a row each and batch."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    wait = torch.cuda.synchronize if asked.device == "cuda" else lambda: None
    bundle = Bundle.open(asked.bundle)
    recorded = golden.read(bundle, bundle.manifest.input)
    rows: list[dict[str, Any]] = []
    for batch in asked.batch:
        chosen = np.arange(batch) % len(recorded.samples)
        window = torch.from_numpy(recorded.samples.inputs[chosen]).to(asked.device)
        expected, spikes = recorded.recorded.output[chosen], int(recorded.counts[:, chosen].sum())
        with torch.no_grad():
            offered = list(FAMILIES[asked.family](asked, window))
            able = [each for each in offered if isinstance(each, Contestant)]
            for each in offered:
                if not isinstance(each, Contestant):
                    name, error = each
                    said = first_line(error)
                    rows.append({"name": name, "batch": batch, "error": said[:300]})
            for contestant, taken in zip(able, medians(able, asked.seconds, wait), strict=True):
                answer = contestant.answer()
                row: dict[str, Any] = {"name": contestant.name, "batch": batch, "seconds": taken}
                row["same class"] = int((answer.argmax(1) == expected.argmax(1)).sum())
                row["largest difference"] = float(np.abs(answer - expected).max())
                if contestant.spikes:
                    row["spikes"], row["spikes expected"] = contestant.spikes(), spikes
                rows.append(row)
    return rows


def measured(asked: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """A family in a process of its own, so that what fails fails alone."""
    environment = dict(os.environ)
    if name == "spikingjelly-2":
        environment["PYTHONPATH"] = os.pathsep.join([str(asked.spikingjelly_2), environment.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, *sys.argv, "--family", name, "--json", str(file)]
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, env=environment, timeout=asked.limit
            )
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        except subprocess.TimeoutExpired:
            said = f"took more than {asked.limit} s"
        if file.exists():
            return json.loads(file.read_text())
    return [{"name": name, "batch": batch, "error": said[:300]} for batch in asked.batch]


def table(rows: list[dict[str, Any]], batches: list[int], title: str) -> Table:
    made = Table(title=title, title_justify="left")
    made.add_column("")
    for batch in batches:
        for head in (f"batch {batch}, ms", "ratio", "classes", "spikes"):
            made.add_column(head, justify="right")
    base = {row["batch"]: row["seconds"] for row in reversed(rows) if "seconds" in row}
    for name in dict.fromkeys(row["name"] for row in rows):
        cells = []
        for batch in batches:
            row = next((each for each in rows if each["name"] == name and each["batch"] == batch), {})
            if "seconds" not in row:
                cells += ["-", "", "", ""]
                continue
            spikes = f"{row['spikes'] - row['spikes expected']:+d}" if "spikes" in row else ""
            ratio = f"{row['seconds'] / base[batch]:.2f}"
            cells += [f"{row['seconds'] * 1000:.3f}", ratio, f"{row['same class']}/{batch}", spikes]
        made.add_row(name, *cells)
    return made


def versions() -> dict[str, str]:
    found = {"torch": torch.__version__, "CUDA of torch": str(torch.version.cuda)}
    if torch.backends.cudnn.is_available():
        found["cuDNN"] = str(torch.backends.cudnn.version())
    for package in ("triton", "onnxruntime-gpu", "onnxruntime", "cupy-cuda13x", "spikingjelly", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--plain", type=Path)
    parser.add_argument("--spikingjelly-2", type=Path)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=2.0, help="of measuring, each and batch")
    parser.add_argument("--limit", type=float, default=200.0, help="seconds that a family may take")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--family", choices=FAMILIES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.family:
        asked.json.write_text(json.dumps(family(asked)))
        return
    console, device, rows = Console(width=140), gpu(), []
    for name in FAMILIES:
        if name == "spikingjelly-2" and not asked.spikingjelly_2:
            continue
        start = time.perf_counter()
        rows += measured(asked, name)
        console.print(f"{name}: {time.perf_counter() - start:.0f} s, clocks {gpu_clocks()}", style="dim")
    if asked.json:
        state = dataclasses.asdict(conditions())
        asked.json.write_text(
            json.dumps({"gpu": device and device.name, "versions": versions(), "conditions": state, "rows": rows})
        )
    for row in rows:
        if "error" in row:
            console.print(f"{row['name']}, batch {row['batch']}: {row['error']}", style="dim", markup=False)
    console.print(table(rows, asked.batch, f"{device.name if device else 'CPU'}; ratio to the first row; {versions()}"))


if __name__ == "__main__":
    main()
