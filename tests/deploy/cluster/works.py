"""Works for the workers of a cluster, which import them."""

from __future__ import annotations

import dataclasses
import importlib
import os
import signal
import time
from typing import Any

from tcja_deploy.cluster.job import Runner
from tcja_deploy.run.classify import ClassifyWork


@dataclasses.dataclass(frozen=True, kw_only=True)
class Troubled:
    """A classification with trouble at the batch that begins with window number `at`.

    Attributes:
        work: the classification.
        trouble: "death" ends the process, "bug" is an error that is not the user's, "" is none. With "processors", each
            process says that it has another processor.
        seconds: the seconds that each batch takes.
    """

    work: ClassifyWork
    at: int = 0
    trouble: str = ""
    seconds: float = 0.0

    device = "cpu"

    def runner(self) -> Runner:
        real = self.work.runner()
        if self.trouble == "processors":
            importlib.import_module("tcja_deploy.cluster.worker").processor = lambda: f"CPU {os.getpid()}"

        def run(start: int, inputs: Any) -> Any:
            time.sleep(self.seconds)
            if start == self.at and self.trouble == "death":
                os.kill(os.getpid(), signal.SIGKILL)
            if start == self.at and self.trouble == "bug":
                raise KeyError("a bug")
            return real.run(start, inputs)

        return dataclasses.replace(real, run=run)
