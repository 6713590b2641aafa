"""After-last-frame latency of a streamed network against that of its whole window, for every network with frames.

    python -m benchmarks.speed.stepwise [NETWORK...] [--seconds 20]

Networks are of their published sizes with drawn weights, in ONNX Runtime on the CPU, one window at a time; both run in
turns in one process. "frame" is a step of the head, "last" the last frame's step and the tail. Every answer is compared
with the whole window's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import drawn
from tcja_deploy.bench.timing import stepwise_in_turns
from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_exporters.graph import stepwise
from tcja_exporters.graph.export import export_onnx
from tcja_exporters.graph.exported import save
from tcja_exporters.networks import NETWORKS
from tcja_exporters.networks.base import ShapeReader
from tcja_exporters.reference import recorder
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession, installed
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.data.windows import random_windows

COLUMNS = ("network", "T", "layers in head", "MiB a stream", "whole ms", "frame ms", "last ms", "last/whole", "answer")


def measured(name: str, folder: Path, seconds: float, fewest: int) -> tuple[str, ...]:
    """The row of a network."""
    network = identify(load_checkpoint(drawn.checkpoint(name, 0, folder / "model.pth")), name)
    contract = network.contract
    signature = recorder.signature(network.model, contract, network.output, network.time_steps)
    exported = export_onnx(network.model, contract, network.output, {"producer": "benchmark"})
    split = stepwise.split(exported, contract, signature.layers)
    save(exported, folder, split.models)
    plain, head, tail = (
        OnnxRuntimeSession.open(folder / file, keeps_memory=True) for file in (PLAIN_MODEL, HEAD, TAIL)
    )
    window = random_windows(contract, 1, seed=1).inputs
    expected = plain.run({contract.name: window})[network.output]
    streams = Streams(split.streaming, signature, head, tail)
    for frame in window[0]:
        completed = streams.push(frame[None])
    same = (
        "identical" if np.array_equal(completed.outputs, expected) else f"{abs(completed.outputs - expected).max():.2g}"
    )
    taken = stepwise_in_turns(streams, lambda: plain.run({contract.name: window}), window, seconds, fewest)
    whole, one, last = (statistics.median(taken[name]) for name in ("whole", "frame", "last"))
    return (
        name,
        str(contract.shape[0]),
        f"{len(split.streaming.states)} of {len(signature.layers)}",
        f"{streams.bytes / 2**20:.1f}",
        *(f"{1000 * each:.1f}" for each in (whole, one, last)),
        f"1/{whole / last:.1f}",
        same,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    with_frames = [
        n for n, known in NETWORKS.items() if known.contract(known.sizes(ShapeReader({}, {}))).name != "images"
    ]
    parser.add_argument("networks", nargs="*", default=with_frames, help=f"of {', '.join(with_frames)}")
    parser.add_argument("--seconds", type=float, default=20.0, help="to go on for, with each")
    parser.add_argument("--fewest", type=int, default=10, help="rounds, however long they take")
    args = parser.parse_args()
    for name in args.networks:
        if name not in with_frames:
            parser.error(f"'{name}' is no network with frames: choose among {', '.join(with_frames)}")
    table = Table(*COLUMNS, title=f"onnxruntime {' '.join(installed().values())}, medians")
    for name in args.networks:
        with tempfile.TemporaryDirectory() as folder:
            table.add_row(*measured(name, Path(folder), args.seconds, args.fewest))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
