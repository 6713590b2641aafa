"""How a bundle is packaged, and what came out."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from tcja_runtime.choices import TritonBackend
from tcja_runtime.errors import BadInput, check_choice
from tcja_runtime.records import check_arguments, check_size
from tcja_runtime.signing.trust import Trust
from tcja_runtime.streaming.packets import PacketRule

MOST_INSTANCES, MOST_WINDOWS = 1024, 4096
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
LONGEST_DELAY = 10_000_000
MOST_CAMERAS, LONGEST_IDLE = 1024, 86_400_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class CameraOptions:
    """How the cameras of a stepwise network are served.

    Attributes:
        count: the most cameras that a network serves at once. The start of another waits until one ends.
        idle: the time, in microseconds, after which a camera that sends nothing has ended.
        rule: how packets of events become frames, if a camera does not say it; None if each must.

    Raises:
        BadInput: an attribute has another type, or is out of range.
    """

    count: int = 16
    idle: int = 10_000_000
    rule: PacketRule | None = None

    def __post_init__(self) -> None:
        check_arguments(self)
        check_size("cameras", self.count, 1, MOST_CAMERAS)
        check_size("idle", self.idle, 1, LONGEST_IDLE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """How a bundle becomes a model of a Triton Inference Server.

    Attributes:
        name: the name of the model; None takes that of the bundle's folder, without .bundle.
        backend: the backend of the server, one of `tcja_runtime.choices.TritonBackend`.
        instances: the number of instances of the model, each with a network of its own.
        max_batch: the most windows that the server runs at once; None takes what the bundle allows.
        delay: the longest time, in microseconds, that a request waits for others to share its batch. Without it,
            requests that come while a batch runs make up the next one.
        new_version: whether the bundle becomes the next version of a model that the repository has. The model's
            configuration stays, and with it all other options but `name` and `engine`.
        trust: what the server requires of the bundle when it loads it.
        engine: for the backend "tensorrt", the name of the engine; None takes the last built one of TensorRT.
        cameras: how cameras are served, if the bundle is stepwise.

    Raises:
        BadInput: an attribute has another type, or is out of range.
    """

    name: str | None = None
    backend: str = TritonBackend.PYTHON.value
    instances: int = 1
    max_batch: int | None = None
    delay: int = 0
    new_version: bool = False
    trust: Trust = dataclasses.field(default_factory=Trust)
    engine: str | None = None
    cameras: CameraOptions = dataclasses.field(default_factory=CameraOptions)

    def __post_init__(self) -> None:
        check_arguments(self)
        if self.new_version:
            kept = TritonOptions(trust=self.trust)
            for name in ("backend", "instances", "max_batch", "delay"):
                if getattr(self, name) != getattr(kept, name):
                    raise BadInput(f"`new_version` keeps the configuration of the model; leave `{name}` out")
            if self.cameras != kept.cameras:
                raise BadInput(
                    "`new_version` keeps the configuration of the model; leave `cameras`, `idle`, `window` and what "
                    "belongs to it out"
                )
        check_choice("backend", self.backend, [each.value for each in TritonBackend])
        check_size("instances", self.instances, 1, MOST_INSTANCES)
        if self.max_batch is not None:
            check_size("max_batch", self.max_batch, 1, MOST_WINDOWS)
        check_size("delay", self.delay, 0, LONGEST_DELAY)
        if not self.new_version:  # else the configuration of the model says the backend
            self.check_engine(self.backend)
        if self.cameras.rule is not None and self.backend != TritonBackend.PYTHON.value:
            raise BadInput("`window` is for the `backend` python, which cuts events into windows; leave it out")
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise BadInput(
                f"`name` {self.name} must have letters, digits and the characters _ . - only, and begin with a letter "
                "or a digit"
            )

    def check_engine(self, backend: str) -> None:
        """Check that an engine is named for a backend that runs one.

        Raises:
            BadInput: it is named for another backend.
        """
        if self.engine is not None and backend != TritonBackend.TENSORRT.value:
            raise BadInput(
                f"`engine` {self.engine} is for the `backend` tensorrt, and the model is for {backend}; leave `engine` "
                "out, or choose that backend for a new model"
            )

    def model(self, bundle: Path) -> str:
        """Returns the name of the model.

        Raises:
            BadInput: the name of the bundle's folder cannot be that of a model.
        """
        if self.name is not None:
            return self.name
        name = bundle.absolute().name.removesuffix(".bundle")
        if not _NAME.fullmatch(name):
            raise BadInput(f"the folder {bundle.absolute().name} has no name for a model; give `name`")
        return name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Packaged:
    """What was written.

    Attributes:
        folder: the repository or folder.
        models: the names of the models in it that were written.
        version: the version of these models that has the bundle.
        backend: the backend of the server that runs them.
    """

    folder: Path
    models: tuple[str, ...]
    version: int
    backend: str
