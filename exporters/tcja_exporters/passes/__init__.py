"""Graph passes over an exported network, on onnx-graphsurgeon graphs.

A pass is a function that changes a graph in place and returns a `PassResult`. An exact pass keeps every bit of every
tensor that stays in the graph. A pass that is not exact says so in `PassResult.exact`, and the parity test then judges
the difference. Each pass runs once, in the order of `PASSES`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import onnx_graphsurgeon as gs
from onnx_graphsurgeon.logger import G_LOGGER

from tcja_exporters.passes.base import PassResult
from tcja_exporters.passes.fold_batch_norm import fold_batch_norm
from tcja_exporters.passes.fold_constants import fold_constants
from tcja_exporters.passes.fold_padding import fold_padding
from tcja_exporters.passes.hoist_repeats import hoist_repeats
from tcja_exporters.passes.merge_duplicates import merge_duplicates
from tcja_exporters.passes.remove_dead import remove_dead
from tcja_exporters.passes.resolve_shapes import resolve_shapes
from tcja_exporters.passes.split_without_sequences import split_without_sequences

PASSES: tuple[Callable[[gs.Graph], PassResult], ...] = (
    resolve_shapes,
    fold_constants,
    split_without_sequences,
    fold_batch_norm,
    fold_padding,
    merge_duplicates,
    remove_dead,
    hoist_repeats,
)
"""The passes, in the order in which they run."""

G_LOGGER.severity = G_LOGGER.ERROR  # its warnings are about coloured logs, and about nodes that a later pass folds


def run(graph: gs.Graph) -> list[dict[str, Any]]:
    """Run every pass on a graph, in place; return one dictionary for each pass: name, changes, exact, note."""
    report = []
    for apply in PASSES:
        done = apply(graph)
        graph.cleanup().toposort()
        report.append({"name": apply.__name__, **dataclasses.asdict(done)})
    return report
