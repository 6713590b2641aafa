"""The options of a verification."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tcja_deploy.cluster.options import ClusterOptions
from tcja_runtime.budget import MOST_WINDOWS
from tcja_runtime.choices import AUTO, BACKENDS
from tcja_runtime.data.camera import WHOLE, CameraView
from tcja_runtime.data.windows import GivenWindows
from tcja_runtime.errors import check_choice
from tcja_runtime.events import ReadOptions
from tcja_runtime.records import check_arguments, check_size
from tcja_runtime.signing.trust import Trust


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """The options of a verification. With any options, the network is compared with the golden vectors.

    Attributes:
        data: windows to classify, free-running, or their path (`tcja_runtime.data.dataset.load`). The trained
            network's predictions for them are known only if they are the data of the export, or its first windows. None
            classifies the golden windows.
        samples: the largest number of windows to take from the data, from the first on; None takes all.
        bisect: whether to find the first signal that is wrong, if parity is not met.
        backend: one of `tcja_runtime.choices.BACKENDS`, or `AUTO`: ONNX Runtime on the CPU, and TensorRT for
            each engine that this machine can run.
        trust: whom and what the user trusts: keys, and engines of unknown origin.
        anytime: the number of windows to run again with only 1 to T of their frames, from the first window on
            (`tcja_runtime.evidence.anytime`); None takes as many real windows as take little time.
        camera_view: what the frames of recordings in the data are made from, instead of what the network's contract
            says.
        labels: the rule by which folders and label files of the data tell classes, one of
            `tcja_runtime.choices.LABEL_RULES`; None takes the rule of the bundle.
        reading: what the user says about recordings that do not say it themselves.
        cluster: the Ray that shares the windows of the data among processes, if any.
    """

    data: Path | GivenWindows | None = None
    samples: int | None = None
    bisect: bool = False
    backend: str = AUTO
    trust: Trust = dataclasses.field(default_factory=Trust)
    anytime: int | None = None
    camera_view: CameraView = WHOLE
    labels: str | None = None
    reading: ReadOptions = dataclasses.field(default_factory=ReadOptions)
    cluster: ClusterOptions = dataclasses.field(default_factory=ClusterOptions)

    def __post_init__(self) -> None:
        check_arguments(self)
        check_size("samples", self.samples, 1)
        check_size("anytime", self.anytime, 0, MOST_WINDOWS)
        check_choice("backend", self.backend, (AUTO, *BACKENDS))
