"""The estimated costs of a checkpoint, an ONNX model or a bundle on a board, from the figures that NVIDIA publishes."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from tcja_deploy.console import Progress
from tcja_deploy.inspect.describe import CheckpointOptions, GraphFile, OnnxFile, Opened
from tcja_deploy.packages import needs, producer
from tcja_exporters.costs.boards import SOURCES, Device
from tcja_runtime.bundle.bundle import MODEL, Bundle
from tcja_runtime.bundle.engines import Engine, engines
from tcja_runtime.choices import PRECISIONS
from tcja_runtime.counting import counted
from tcja_runtime.errors import BadInput, TcjaError, first_line
from tcja_runtime.evidence import golden
from tcja_runtime.evidence.golden import Golden

if TYPE_CHECKING:
    from onnx import ModelProto

    from tcja_exporters.checkpoint.load import Checkpoint
    from tcja_exporters.costs.roofline import EngineCost, ModuleCost
    from tcja_exporters.costs.synapses import SynapticCost


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """The costs of a network on a device.

    Attributes:
        device: the board and its power mode.
        batch: the number of windows that the network takes at a time.
        layers: the costs of each PyTorch module, for a batch.
        total: the costs of the network, for a batch.
        weight_bytes: the size of all weights in bytes.
        engines: the costs of each engine of a bundle that has a kernel plan, the last built first.
        synapses: the synaptic operations of each module, for one window; None if the firing rates are not known. Only
            a bundle has golden windows, in which they are measured.
        measured_on: the description of the windows in which the firing rates were measured; None if the rates are not
            known.
        dense_joules: the energy of the network's multiply-accumulates for one window, if no input were zero.
    """

    device: Device
    batch: int
    layers: list[ModuleCost]
    total: ModuleCost
    weight_bytes: int
    engines: list[EngineCost]
    synapses: list[SynapticCost] | None
    measured_on: str | None
    dense_joules: float

    @property
    def synaptic_joules(self) -> float | None:
        """The energy of all synaptic operations for one window, in joules; None if the firing rates are not known."""
        return None if self.synapses is None else math.fsum(each.joules for each in self.synapses)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON. Times are in seconds, energies in joules, sizes in bytes, rates in 1/s."""
        board = self.device.board
        fields = dataclasses.asdict(self)
        device = fields.pop("device")
        figures = {
            "modes": [mode.name for mode in board.modes],
            "sources": [SOURCES[source] for source in board.sources],
            "peaks": {precision: self.device.peak(precision) for precision in PRECISIONS},
            "bandwidth": self.device.bandwidth,
        }
        return {
            "board": {**device["board"], **figures},
            "mode": device["mode"],
            **fields,
            "engines": [{**dataclasses.asdict(each), "seconds": each.seconds} for each in self.engines],
            "synaptic_joules": self.synaptic_joules,
        }


def estimate(
    found: Opened, device: Device, batch: int, progress: Progress, options: CheckpointOptions | None = None
) -> Estimate:
    """Estimate the costs of a file's network on a device.

    Args:
        found: a bundle, an ONNX file, or a checkpoint, which is exported in memory.
        device: the board and its power mode.
        batch: the number of windows that the network takes at a time.
        progress: where progress is shown.
        options: the options for a checkpoint.

    Raises:
        BadInput: the file is damaged or is none of these three, the network of the checkpoint is not known, or the
            costs of one of its operators are not.
        Unavailable: onnx or torch is not installed.
    """
    with needs("export"):
        from tcja_exporters.costs.roofline import Costs
        from tcja_exporters.costs.synapses import E_MAC
    vectors: Golden | None = None
    spiking = False
    built: list[Engine] = []
    if isinstance(found, GraphFile):
        raise BadInput(
            f"{found.path} is a NIR graph, which does not store its time steps; export it, and give the bundle"
        )
    if isinstance(found, Bundle):
        spiking = found.manifest.input.scaling == "spikes"
        model = _canonical(found)
        vectors = golden.read(found, found.manifest.input)
        built = engines(found)
    elif isinstance(found, OnnxFile):
        model = found.model
    else:
        with progress.step("export in memory"):
            model = _export(found, options or CheckpointOptions())
    costs = Costs.of(model, batch, spiking=spiking)
    synapses = None
    if vectors is not None:
        with progress.step("measure the firing rates"):
            synapses = costs.synapses(costs.rates(vectors))
    total = costs.total(device)
    return Estimate(
        device=device,
        batch=batch,
        layers=costs.modules(device),
        total=total,
        weight_bytes=costs.weight_bytes,
        engines=[
            Costs.of(model, each.info.batch[1], spiking=spiking).engine(each.name, each.info.plan, device)
            for each in built
            if each.info.plan is not None
        ],
        synapses=synapses,
        measured_on=None if vectors is None else _source(vectors),
        dense_joules=total.macs / batch * E_MAC,
    )


def _source(vectors: Golden) -> str:
    return f"{counted(len(vectors.samples), 'golden window')} ({vectors.samples.source})"


def _canonical(bundle: Bundle) -> ModelProto:
    """Return model.onnx of a bundle, without its weights."""
    import onnx

    try:
        return onnx.load_from_string(bundle.read(MODEL))
    except TcjaError:
        raise
    except Exception as error:  # the errors of protobuf have no base class of their own
        raise BadInput(f"{bundle.path / MODEL} is not a valid ONNX model: {first_line(error)}") from error


def _export(checkpoint: Checkpoint, options: CheckpointOptions) -> ModelProto:
    with needs("export"):
        from tcja_exporters.checkpoint.identify import identify
        from tcja_exporters.graph.export import export_onnx
    trained = identify(checkpoint, options.network, options.settings)
    return export_onnx(trained.model, trained.contract, trained.output, {"producer": producer()}).model
