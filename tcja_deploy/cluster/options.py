"""Which Ray a command uses, and how many workers."""

from __future__ import annotations

import dataclasses
import re

from tcja_runtime.errors import BadInput
from tcja_runtime.records import check_arguments, check_size

LOCAL = "local"
"""The address that starts Ray on this machine, for this command alone."""

_ADDRESS = re.compile(r"local|auto|[^\s/:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Which Ray a command uses.

    Attributes:
        ray: the address of a cluster, HOST:PORT; or "auto" for the cluster that runs on this machine; or `LOCAL`. None
            uses no Ray.
        workers: the number of processes that each run the network; None takes as many as there are CPUs, or GPUs if
            the network runs on these.

    Raises:
        BadInput: an attribute has another value.
    """

    ray: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        check_arguments(self)
        check_size("workers", self.workers, 1, 10_000)
        if self.ray is None and self.workers is not None:
            raise BadInput("`workers` is the number of workers of Ray; give `ray` too, or leave it out")
        if self.ray is not None and not is_address(self.ray):
            raise BadInput(
                f"`ray` {self.ray} is no address of a cluster: it must be HOST:PORT, auto or local. The command must "
                "run on a machine of the cluster, so ray:// is not taken"
            )


def is_address(text: str) -> bool:
    """Whether a text is an address of Ray, as `ClusterOptions` takes it."""
    return _ADDRESS.fullmatch(text) is not None
