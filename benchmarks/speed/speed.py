"""How fast our exported networks are, against the same networks run in other ways, in one run of this script.

    python -m benchmarks.speed.speed [NETWORK | CHECKPOINT[:DATA.npz]]... [--json FILE] [--plot FILE.svg] [--markdown]

Measured are every network of the registry in its published size, with drawn weights, and the trained Fashion-MNIST
example on its real images; or those that are named. `peers.py` says against what. The contestants run in turn, round
by round, in one process, each with the threads that it takes by itself; figures are of single runs, ratios are ours
divided by theirs, of medians. Memory is that of a fresh process each (`peak.py`), growth is in `growth.py`, and engines
are built by TensorRT-RTX, which needs no GPU. docs/measurements/speed.md has what was measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import drawn
from benchmarks.speed import contest, growth, page
from benchmarks.speed.contest import Subject
from benchmarks.speed.runners import FLOOR, OURS, PLAIN
from tcja_deploy.packages import tools
from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_exporters.networks import NETWORKS
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.data import dataset
from tcja_runtime.data.windows import random_windows
from tcja_runtime.errors import TcjaError
from tcja_runtime.machine.conditions import conditions
from tcja_runtime.machine.versions import version
from tcja_runtime.tensorrt import build

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion_mnist"
TRAINED = f"{EXAMPLE / 'checkpoint.pth'}:{EXAMPLE / 'test_1000.npz'}"
RTX = "tensorrt-rtx"
AT_MOST = {PLAIN: 0.60, FLOOR: 1.4}
"""What the published DVS128 network may take of a contestant's time."""
LINEAR = 1.1
"""The exponent of what grows linearly, at most."""


def found(what: str, folder: Path) -> Subject:
    """A network of the registry with drawn weights, or a checkpoint's with its data."""
    path, _, file = what.partition(":")
    is_drawn = path in NETWORKS
    network = identify(
        load_checkpoint(drawn.checkpoint(path, 0, folder / "drawn.pth") if is_drawn else Path(path)),
        path if is_drawn else None,
    )
    contract = network.contract
    windows = dataset.load(Path(file), contract, None) if file else None
    return Subject(
        name=network.name if is_drawn else f"{network.name}, trained" if file else f"{network.name}, {Path(path).name}",
        source=f"{'drawn' if is_drawn else 'trained'} weights, {'data' if file else 'drawn windows'}",
        model=network.model,
        dialect=network.dialect,
        contract=contract,
        output=network.output,
        time_steps=network.time_steps,
        windows=lambda n: next(windows.batches(n)) if windows else random_windows(contract, n).inputs,
    )


def engines(subject: Subject, folder: Path, builds: int) -> dict[str, Any]:
    """Layers, bytes and seconds of the engines of both exports in `folder`, built in turn for one window."""
    files = {OURS: folder / contest.FOR_ENGINES / PLAIN_MODEL, PLAIN: folder / "plain.onnx"}
    options = build.BuildOptions(batch=build.Batch(1, 1, 1))
    built: dict[str, list[EngineInfo]] = {name: [] for name in files}
    try:
        for i in range(builds):
            for name, file in files.items():
                place = folder / "engines" / f"{i} {name}"
                place.mkdir(parents=True)
                request = build.BuildRequest(model=file, engines=place, target=RTX, precision="fp32", options=options)
                built[name].append(build.build(request).info)
    except TcjaError as error:
        return {"failed": str(error)}
    return {
        "network": subject.name,
        "builder": f"{RTX} {built[OURS][0].version}",
        "builds": builds,
        "contestants": {
            name: {
                "nodes": contest.nodes(files[name]),
                "layers": infos[0].layers,
                "bytes": infos[0].bytes,
                "build_seconds": statistics.median(info.build_seconds for info in infos),
            }
            for name, infos in built.items()
        },
    }


def promises(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What is promised, what was measured, and whether it was kept."""
    kept = []

    def promise(what: str, value: float | None, most: float) -> None:
        kept.append({"what": what, "measured": value, "at_most": most, "kept": value is not None and value <= most})

    for network in result["networks"]:
        if network["name"] == growth.NAME and network["batch"] == 1:
            for name, most in AT_MOST.items():
                promise(f"{growth.NAME}, one window: time / {name}", network["contestants"][name]["ratio"], most)
    for network in result["networks"]:
        promise(f"{network['name']}: time / {PLAIN}", network["contestants"][PLAIN]["ratio"], 1.0)
    over_time = result["growth"]["T"]["rows"]
    if over_time:
        sizes = [row["nodes"][MODEL] for row in over_time]
        promise(f"nodes of {MODEL}, T = {over_time[-1]['T']} / T = {over_time[0]['T']}", max(sizes) / min(sizes), 1.0)
    for along, sweep in result["growth"].items():
        for what, value in sweep["exponents"].get(OURS, {}).items():
            promise(f"{what} grows with {along}: exponent", value, LINEAR)
    both = result["engines"].get("contestants")
    if both:
        for key in ("layers", "bytes", "build_seconds"):
            promise(f"engine, {key.replace('_', ' ')} / {PLAIN}", both[OURS][key] / both[PLAIN][key], 1.0)
    return kept


def measured(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything, as it goes into the JSON file."""
    result: dict[str, Any] = {
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"before": dataclasses.asdict(conditions()), "torch_threads": torch.get_num_threads()},
        "versions": tools() | {"spikingjelly": version("spikingjelly")},
        "rounds": args.rounds,
        "seconds": args.seconds,
        "networks": [],
        "engines": {"failed": f"{growth.NAME} was not measured with one window"},
    }
    for i, what in enumerate(args.what):
        for batch in args.batch:
            place = folder / f"{i}-{batch}"
            place.mkdir()
            subject = found(what, place)
            _say(f"{subject.name}, {batch} at a time")
            contestants = contest.held(subject, place, batch, args.rounds, args.seconds, args.compile)
            told = (f"{name} {1e3 * each['median']:.1f} ms" for name, each in contestants.items() if "median" in each)
            _say(f"    {', '.join(told)}")
            result["networks"].append(
                {
                    "name": subject.name,
                    "source": subject.source,
                    "T": subject.time_steps,
                    "batch": batch,
                    "contestants": contestants,
                }
            )
            if batch == 1 and args.builds and what == args.engine:
                _say(f"engines of {subject.name}")
                result["engines"] = engines(subject, place, args.builds)
    small = {"side": 32, "channels": 8} if args.quick else {}
    steps, batches = args.time_steps, args.batches
    sweeps = {
        "T": ([growth.subject(t, **small) for t in steps], [1]),
        "batch": ([growth.subject(args.batches_at, **small)] if batches else [], batches),
    }
    result["growth"] = {}
    for along, (subjects, sizes) in sweeps.items():
        _say(f"growth with {along}")
        rows = growth.measured(subjects, sizes, folder / along, args.rounds)
        result["growth"][along] = {
            "network": subjects[0].name if subjects else None,
            "rows": rows,
            "exponents": growth.exponents(rows, along),
        }
    result["machine"]["after"] = dataclasses.asdict(conditions())
    result["promises"] = promises(result)
    return result


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=[*NETWORKS, TRAINED], help="networks of the registry, checkpoints")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="windows a run, of the networks")
    parser.add_argument("--rounds", type=int, default=30, help="at least")
    parser.add_argument("--seconds", type=float, default=30.0, help="go on for so long, with each network")
    parser.add_argument("--compile", type=float, default=120.0, help="seconds for torch.compile; 0 leaves it out")
    parser.add_argument("--engine", default=growth.NAME, help="the network whose engines are built")
    parser.add_argument("--builds", type=int, default=3, help="of each engine; 0 builds none")
    parser.add_argument("--time-steps", type=int, nargs="*", default=[4, 8, 16, 32, 64], help="T, for growth")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 2, 4, 8], help="for growth")
    parser.add_argument("--batches-at", type=int, default=16, help="T, for growth with the batch")
    parser.add_argument("--json", type=Path, help="write everything measured")
    parser.add_argument("--plot", type=Path, help="draw it, as SVG")
    parser.add_argument("--markdown", action="store_true", help="print tables for docs/measurements/speed.md")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few rounds, a tiny network for growth")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds, args.compile, args.builds = 3, 0.0, 0.0, 1
        args.time_steps, args.batches, args.batches_at = [2, 4], [1, 2], 2
    return args


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        result = measured(args, Path(folder))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.plot:
        args.plot.write_text(page.plot(result), encoding="utf-8")
    page.show(result, markdown=args.markdown)


if __name__ == "__main__":
    main()
