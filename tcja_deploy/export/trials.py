"""Engines that are built to choose between models, and are then thrown away."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tcja_runtime.bundle.origin.engine_list import ENGINES
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.tensorrt.build import Batch, BuildOptions, BuildRequest, build


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trials:
    """How engines are built to choose between models of the same network.

    Attributes:
        target: the target that they are built for, one of `tcja_runtime.choices.ENGINE_TARGETS`.
        precision: the precision of the models.
        time_steps: the number of time steps, T.
        build_timeout: the seconds after which each builder is ended; None for
            `tcja_runtime.tensorrt.build.BUILD_TIMEOUTS`.
    """

    target: str
    precision: str
    time_steps: int
    build_timeout: int | None = None

    def engine(self, model: Path) -> EngineInfo:
        """Build the engine of a model for one window, in the folder of the model; return what its sidecar says.

        Raises:
            BuildTimeout: the builder did not end in time.
            BadInput: TensorRT cannot build the model.
            Unavailable: TensorRT, a GPU or memory is missing on this machine.
        """
        request = BuildRequest(
            model=model,
            engines=model.parent / ENGINES,
            target=self.target,
            precision=self.precision,
            options=BuildOptions(batch=Batch(1, 1, 1), build_timeout=self.build_timeout),
            time_steps=self.time_steps,
        )
        return build(request).info
