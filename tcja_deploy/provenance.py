"""What a result in JSON says of where it was made: of which bundle, on which machine, with which versions."""

from __future__ import annotations

import dataclasses
from typing import Any

from tcja_deploy.packages import tools
from tcja_runtime.machine.identity import this_machine


def provenance(bundle_sha256: str) -> dict[str, Any]:
    """Return the fields that results of many machines are compared by (`tcja_deploy.compare`), as plain values.

    Args:
        bundle_sha256: the hash of the bundle that the result is about (`Bundle.sha256`).
    """
    return {"bundle_sha256": bundle_sha256, "machine": dataclasses.asdict(this_machine()), "versions": tools()}
