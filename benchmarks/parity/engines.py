"""Are wrong engines caught by their spike counts, and right ones never refused? ONNX Runtime simulates the engines.

    python -m benchmarks.parity.engines [--seeds 50] [--names fashion_mnist dvs128] [--precision fp32]
    python -m benchmarks.parity.engines --cost [--names dvs128] [--precision fp16]

Small networks of the tests, without labels. For each seed, a right engine adds up in three other orders: the input
channels of every convolution and matrix product are exchanged, so sums round otherwise. Then each mutated engine of the
first network is judged, and a table says what caught it.

With `--cost`, TensorRT-RTX builds the engines of networks in their published sizes, with spike counts and without. How
much more they move is said, by their kernel plans. No GPU is needed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

from benchmarks import drawn
from benchmarks.engines import engines
from tcja_deploy.export import pipeline
from tcja_deploy.export.network import Known
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.parity.verdict import OutputParity
from tcja_exporters.costs.roofline import Costs
from tcja_exporters.graph.export import with_spike_counts, with_time_forms
from tcja_exporters.graph.exported import save
from tcja_runtime.bundle.bundle import PLAIN_MODEL, Bundle
from tcja_runtime.errors import BadInput, first_line
from tests import networks
from tests.deploy.parity import mutations
from tests.deploy.parity.simulated_engines import model_of, reordered, verdict

ORDERS, WINDOWS = 3, 12


def exported(folder: Path, name: str, seed: int, precision: str) -> Path:
    """A bundle of a small network with drawn weights, proven on drawn windows without labels."""
    small = networks.SMALL[name]
    data, contract = folder / "data.npz", small.network.contract(small.sizes)
    np.savez(data, **{contract.name: small.inputs(WINDOWS, seed=seed + 7).numpy()})
    checkpoint, out = small.checkpoint(folder / "model.pth", seed=seed), folder / "a.bundle"
    pipeline.export(
        ExportRequest(
            checkpoint=checkpoint,
            out=out,
            data=data,
            target="onnx",
            precision=precision,
            keep=ExportRequest.keep if precision == "fp32" else ("nothing",),
            spike_counts="on",
        )
    )
    return out


def family(bundle: Path) -> list[mutations.Mutation]:
    """Every kind of mistake: neurons, weights, attention, the order of time and polarities, pooling."""
    manifest = Bundle.open(bundle).manifest
    return [
        *mutations.of_neurons(manifest),
        *mutations.of_weights(manifest),
        *mutations.of_attention(manifest),
        *mutations.of_input(manifest),
        *mutations.of_pooling(mutations.opened(model_of(bundle))),
    ]


def caught(found: OutputParity) -> tuple[str, str, str]:
    """What caught an engine, the number of counts that differ, and where the first wrong one is."""
    counts = found.counts
    if counts is None:
        raise ValueError("the engine returns no counts")
    by = "counts" if counts.beyond else "output" if found.failures else "no"
    where = f"{counts.first.layer}, step {counts.first.time_step}" if counts.first else ""
    return by, f"{counts.differing:,} of {counts.counts:,}", where


def cost(name: str, precision: str) -> str:
    """Say what engines of a network move for a window, by their kernel plans, with spike counts and without."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        checkpoint = drawn.checkpoint(name, 0, folder / "drawn.pth")
        made = engines.prepared(name, checkpoint, precision, folder / "prepared", Known()).network
        layers, steps = made.signature.layers, made.trained.time_steps
        plain = with_time_forms(made.lowered.exported, {layer.name: engines.NOW for layer in layers})
        of = engines.Built(network=name, time_steps=steps, precision=precision, form=engines.NOW)
        found = []
        for form, model in (("plain", plain), ("counts", with_spike_counts(plain, layers, steps, fuses=True))):
            out = folder / form
            out.mkdir()
            save(model, out)
            engine = engines.built(out / PLAIN_MODEL, of, Costs.of(made.lowered.exported.model), 600)
            if engine.failed:
                return f"{name} {precision}: {engine.failed}"
            found.append(engine.data + engine.weights)
    without, counted = found
    return (
        f"{name} {precision}: {without / 1e6:,.1f} MB without spike counts, {counted / 1e6:,.1f} MB with them, "
        f"{100 * (counted / without - 1):.1f} % more"
    )


def main() -> None:
    """Print the refused right engines, and a table of the mutated ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--names", nargs="+", default=["fashion_mnist"])
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--cost", action="store_true")
    given, console = parser.parse_args(), Console()
    if given.cost:
        for name in given.names:
            console.print(cost(name, given.precision))
        return
    for name in given.names:
        refused, differing, settled, counts = 0, 0, 0, 0
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                bundle = exported(Path(folder), name, seed, given.precision)
                right = model_of(bundle)
                for order in range(ORDERS):
                    found = verdict(bundle, reordered(right, seed * ORDERS + order), Path(folder))
                    refused += bool(found.failures)
                    if found.counts:
                        differing += found.counts.differing
                settled += found.counts.settled if found.counts else 0
                counts += found.counts.counts if found.counts else 0
                if seed == 0:
                    _mutated(console, bundle, name, given.precision, Path(folder))
        console.print(
            f"{name} {given.precision}: of {given.seeds * ORDERS:,} right engines {refused:,} refused; "
            f"{settled:,} of {counts:,} counts must be equal; {differing:,} counts differ by rounding"
        )


def _mutated(console: Console, bundle: Path, name: str, precision: str, folder: Path) -> None:
    table = Table("mutation", "caught by", "counts that differ", "first wrong", title=f"{name} {precision}")
    right = mutations.opened(model_of(bundle))
    for mutation in family(bundle):
        model = onnx.ModelProto()
        model.CopyFrom(right)
        mutation.apply(model)
        try:
            table.add_row(mutation.name, *caught(verdict(bundle, model, folder)))
        except BadInput as error:  # not every mutation fits a model in half
            table.add_row(mutation.name, f"not made: {first_line(error)[:40]}", "", "")
    console.print(table)


if __name__ == "__main__":
    main()
