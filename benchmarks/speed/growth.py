"""How time, memory and size of dvs128 grow with T and with the batch, for our export and the plain one.

Frames are smaller than the published 128x128, so that T = 64 and a batch of 8 fit any machine; channels are as
published. All cases of a sweep run in turn, in one process; memory is that of a fresh process each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import drawn
from benchmarks.speed import contest, peers
from benchmarks.speed.contest import Subject
from benchmarks.speed.runners import OURS, PLAIN, InOnnxRuntime, Ours
from tcja_deploy.bench.results import exponent
from tcja_deploy.bench.timing import alternated
from tcja_exporters.networks import NETWORKS
from tcja_exporters.networks.base import ShapeReader
from tcja_exporters.networks.shared.event_sizes import EventSizes
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.data.windows import random_windows

NAME, SIDE = "dvs128", 64


def subject(time_steps: int, side: int = SIDE, channels: int | None = None) -> Subject:
    """Dvs128 with drawn weights for another T, smaller frames and, for a smoke run, fewer channels."""
    network = NETWORKS[NAME]
    sizes: EventSizes = network.sizes(ShapeReader({}, {}))
    sizes = sizes._replace(attention=sizes.attention._replace(time_steps=time_steps), height=side, width=side)
    if channels:
        sizes = sizes._replace(widths=(channels,) * len(sizes.widths), hidden=4 * channels)
    contract = network.contract(sizes)
    return Subject(
        name=f"{NAME} at {side}x{side}",
        source="drawn weights and windows",
        model=drawn.module(NAME, 0, sizes),
        dialect=network.dialect.name,
        contract=contract,
        output=network.output,
        time_steps=time_steps,
        windows=lambda n: random_windows(contract, n).inputs,
    )


def measured(subjects: Sequence[Subject], batches: Sequence[int], folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Each network at each batch size: a case a row.

    Args:
        subjects: the networks, each of another T.
        batches: windows a run.
        folder: for models.
        rounds: of runs.
    """
    rows: list[dict[str, Any]] = []
    runs: dict[tuple[int, str], Any] = {}
    for each in subjects:
        place = folder / f"{each.time_steps}"
        sizes = contest.exported(each, place)
        for batch in batches:
            windows, plain = each.windows(batch), place / f"plain-{batch}.onnx"
            seconds = peers.export(peers.as_trained(each.model, each.dialect), windows, plain)
            contestants = {OURS: Ours(place), PLAIN: InOnnxRuntime(plain)}
            for name, contestant in contestants.items():
                contestant.run(windows)
                runs[len(rows), name] = lambda contestant=contestant, windows=windows: contestant.run(windows)
            files = {OURS: place / PLAIN_MODEL, PLAIN: plain}
            rows.append(
                {
                    "T": each.time_steps,
                    "batch": batch,
                    "nodes": {MODEL: sizes[MODEL], PLAIN_MODEL: sizes[PLAIN_MODEL], PLAIN: contest.nodes(plain)},
                    "export_seconds": round(seconds, 2),
                    "memory": {n: contest.memory(n, file, windows) for n, file in files.items()},
                }
            )
    taken = alternated({f"{row} {name}": run for (row, name), run in runs.items()}, 0.0, rounds)
    for i, row in enumerate(rows):
        ours = {name: taken[f"{i} {name}"] for name in (OURS, PLAIN)}
        row.update(contest.compared(ours, row["batch"]))
    return rows


def exponents(rows: Sequence[dict[str, Any]], along: str) -> dict[str, dict[str, float | None]]:
    """Of time and memory, along "T" or "batch"; None where the system does not tell memory, or nothing grows."""
    return {
        name: {
            "time": exponent([row[along] for row in rows], [row[name]["median"] for row in rows]),
            "memory": exponent([row[along] for row in rows], [row["memory"][name] for row in rows]),
        }
        for name in (OURS, PLAIN)
    }
