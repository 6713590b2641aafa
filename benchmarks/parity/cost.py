"""What certified parity costs, against a plain float64 forward pass of the same windows in the same run.

    python -m benchmarks.parity.cost CHECKPOINT [--windows 8] [--runs 3]

Ours is all that an export does with the windows: the float64 reference with its bounds, the recording, and both models
in ONNX Runtime, teacher-forced and free-running. What does not grow with the windows, the neurons alone and
the random and the exact stimulus, is measured apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tcja_deploy.parity.compare import compare
from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.graph.exported import save
from tcja_exporters.reference import recorder
from tcja_exporters.reference.taps import find_taps
from tcja_runtime.backends.probe import onnxruntime_probes
from tcja_runtime.budget import batch_size
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.windows import InMemoryWindows, random_windows
from tcja_runtime.evidence import golden, stimulus
from tcja_runtime.evidence.trace import Recording
from tcja_runtime.files.folder import Folder


def seconds(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    network = identify(load_checkpoint(args.checkpoint))
    model, contract, steps = network.model, network.contract, network.time_steps
    exported = export_onnx(model, contract, network.output, {"producer": "benchmark"})
    signature = dataclasses.replace(
        recorder.signature(model, contract, network.output, steps),
        taps=find_taps(model, exported.model, steps),
        weights=exported.weights,
    )
    layers = signature.layers
    samples = random_windows(contract, args.windows)

    with tempfile.TemporaryDirectory() as folder:
        save(exported, Path(folder))
        probes = onnxruntime_probes(Folder(Path(folder)), signature)
        size = batch_size(signature)

        def plain() -> None:
            model.to(torch.float64)
            with torch.inference_mode():
                for start in range(0, len(samples), size):
                    model(torch.from_numpy(samples.inputs[start : start + size]).to(torch.float64))

        def certified(windows: InMemoryWindows) -> None:
            vectors = golden.Recorder()

            def trained(inputs: Floats) -> Recording:
                found = recorder.record(model, inputs, signature)
                vectors.add(found.reference)
                return found

            found = compare(map(trained, windows.batches(size)), probes, {}, signature, advance=lambda _: None)
            if found.parity.failures:
                raise SystemExit(found.parity.failures[0].text)

        def stimuli() -> None:
            other = recorder.with_weights(model, exported.weights, stimulus.exact_weights(exported.weights))
            for network_, n in ((model, stimulus.windows([layer.shape for layer in layers], steps)), (other, 1)):
                inputs = stimulus.inputs(contract, n)
                spikes = {layer.name: stimulus.spikes(layer.name, layer.shape, steps, n) for layer in layers}
                recorder.record(network_, inputs, signature, spikes=spikes)
                for probe in probes[:n]:  # both models on the random stimulus, one on the exact one
                    probe.stimulated(inputs, spikes, stimulus.exact_weights(exported.weights) if n == 1 else None)

        plain()
        forward = seconds(plain, args.runs)
        whole = seconds(lambda: certified(samples), args.runs)
        fixed = seconds(stimuli, 1)
    print(f"{network.name}, {args.windows} windows, {torch.get_num_threads()} threads, median of {args.runs}")
    print(f"plain float64 forward   {forward:8.2f} s")
    print(f"certified parity        {whole:8.2f} s   {whole / forward:.2f} x")
    print(f"stimuli, once           {fixed:8.2f} s   {(whole + fixed) / forward:.2f} x with them")


if __name__ == "__main__":
    main()
