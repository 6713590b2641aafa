"""What a checkpoint, an ONNX model or a bundle would cost on a board: an estimate, from what NVIDIA publishes of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tcja_deploy.console import Progress
from tcja_deploy.packages import needs, producer
from tcja_exporters.costs.boards import SOURCES, Board, Mode, Precision
from tcja_runtime.bundle.bundle import GOLDEN, MODEL, Bundle
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden
from tcja_runtime.evidence.golden import Golden

if TYPE_CHECKING:
    from onnx import ModelProto

    from tcja_exporters.costs.roofline import ModuleCost
    from tcja_exporters.costs.synapses import Synapses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """The costs of a network on a board.

    Attributes:
        board: it.
        mode: its power mode.
        batch: windows at a time.
        layers: of each PyTorch module, for a batch.
        total: of the network.
        weight_bytes: of all weights.
        synapses: synaptic operations of each product, for a window; None where firing rates are not known.
        measured_on: the windows that firing rates were measured on; None where they were not.
        dense_joules: of the multiply-adds of the same products in a network that does not spike, for a window.
    """

    board: Board
    mode: Mode
    batch: int
    layers: list[ModuleCost]
    total: ModuleCost
    weight_bytes: int
    synapses: list[Synapses] | None
    measured_on: str | None
    dense_joules: float

    @property
    def synaptic_joules(self) -> float | None:
        """Of all synaptic operations, for a window."""
        return None if self.synapses is None else math.fsum(each.joules for each in self.synapses)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the units that their names and `tcja_exporters.costs.roofline` say."""
        published = {
            "modes": [mode.name for mode in self.board.modes],
            "sources": [SOURCES[source] for source in self.board.sources],
            "peaks": {kind: self.board.peak(kind, self.mode) for kind in get_args(Precision)},
            "bandwidth": self.board.bandwidth(self.mode),
        }
        fields = dataclasses.asdict(self)
        return {**fields, "board": {**fields["board"], **published}, "synaptic_joules": self.synaptic_joules}


def estimate(
    path: Path,
    at: tuple[Board, Mode],
    batch: int,
    progress: Progress,
    *,
    network: str | None = None,
    settings: Mapping[str, str] | None = None,
    trust_checkpoint: bool = False,
) -> Estimate:
    """Estimate what a file's network costs on a board.

    Args:
        path: a bundle's folder, an .onnx file, or else a checkpoint, which is exported in memory.
        at: the board and its power mode.
        batch: windows at a time.
        progress: where progress is shown.
        network: a checkpoint's network, where it does not tell.
        settings: what else a checkpoint does not tell of its network.
        trust_checkpoint: whether to unpickle a checkpoint that can run code.

    Raises:
        BadInput: it is none of these, or the costs of its operators cannot be told.
        Unavailable: onnx or torch is not installed.
    """
    with needs("export"):
        from tcja_exporters.costs.roofline import Costs
        from tcja_exporters.costs.synapses import E_MAC
    vectors: Golden | None = None
    spiking = False
    if path.is_dir():
        bundle = Bundle.open(path)
        spiking = bundle.manifest.input.scaling == "spikes"
        model = _load(path / MODEL)
        vectors = golden.load(path / GOLDEN, bundle.manifest.input)
    elif path.suffix == ".onnx":
        model = _load(path)
    else:
        with progress.step("export in memory"):
            model = _export(path, network, settings, trust_checkpoint)
    costs = Costs(model, batch, spiking=spiking)
    synapses = None
    if vectors is not None:
        with progress.step("measure firing rates"):
            synapses = costs.synapses(costs.rates(vectors))
    total = costs.total(at)
    return Estimate(
        board=at[0],
        mode=at[1],
        batch=batch,
        layers=costs.layers(at),
        total=total,
        weight_bytes=costs.weight_bytes,
        synapses=synapses,
        measured_on=None if vectors is None else _named(vectors),
        dense_joules=total.macs / batch * E_MAC,
    )


def _named(vectors: Golden) -> str:
    n = len(vectors.samples)
    return f"{n} golden window{'s' * (n > 1)} ({vectors.samples.source})"


def _load(path: Path) -> ModelProto:
    import onnx

    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf has no base class of its own
        raise BadInput(f"{path} is not a valid ONNX model: {str(error).strip().splitlines()[0]}") from error


def _export(path: Path, network: str | None, settings: Mapping[str, str] | None, trust_checkpoint: bool) -> ModelProto:
    with needs("export"):
        from tcja_exporters.checkpoint import load
        from tcja_exporters.checkpoint.identify import identify
        from tcja_exporters.graph import export
    trained = identify(load.load(path, trust_checkpoint=trust_checkpoint), network, settings)
    return export.export(trained.model, trained.contract, trained.output, {"producer": producer()}).model
