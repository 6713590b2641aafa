"""Which machine this is, in results that are gathered from many boards: what it is, and a text that tells it apart.

The text is a hash, so a result that is passed on names neither the machine nor its user. It is made of the serial
number of a Jetson, or else of /etc/machine-id, with a text of this program, as machine-id(5) asks. A container has the
machine-id of its image, which all boards may share, so there it is not used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
from pathlib import Path
from typing import ClassVar

from tcja_runtime.machine import jetpack
from tcja_runtime.machine.conditions import power_mode, processor
from tcja_runtime.machine.gpu import gpu
from tcja_runtime.machine.system_readings import file_text

_SERIAL = Path("/proc/device-tree/serial-number")
_MACHINE_ID = Path("/etc/machine-id")
_OF_CONTAINERS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_SAYS_CONTAINER = ("KUBERNETES_SERVICE_HOST", "container")
"""The variables that Kubernetes, and systemd, Podman and LXC set in a container."""
_PROGRAM = b"tcja-deploy: the identity of a machine in its results"
_DIGITS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine on which a result was made.

    Attributes:
        id: a text of 16 characters that tells this machine from others; None if nothing here tells it.
        board: the model of the board; on a machine without a board's name, that of the processor.
        gpu: the name of the first GPU; None without one.
        jetpack: the JetPack release of a Jetson, such as "JetPack 6.2 (Jetson Linux 36.4.3)"; None on other machines.
        power_mode: the name of a Jetson's power mode, "15W"; None on other machines, and if it is not known.
    """

    id: str | None = None
    board: str = ""
    gpu: str | None = None
    jetpack: str | None = None
    power_mode: str | None = None

    TAKES_MORE: ClassVar[bool] = True  # that of another version may have other fields


def this_machine() -> Machine:
    """Returns what is known of this machine."""
    found, system = gpu(), jetpack.system()
    return Machine(
        id=_identity(),
        board=processor(),
        gpu=found.name if found else None,
        jetpack=system.title if system else None,
        power_mode=power_mode() if system else None,
    )


def _identity() -> str | None:
    contained = any(file.exists() for file in _OF_CONTAINERS) or any(name in os.environ for name in _SAYS_CONTAINER)
    known = file_text(_SERIAL) or ("" if contained else file_text(_MACHINE_ID))
    return hmac.new(known.encode(), _PROGRAM, hashlib.sha256).hexdigest()[:_DIGITS] if known else None
