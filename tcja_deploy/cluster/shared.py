"""A bundle that the machines of a cluster share: on a disk that all of them see, under the same path.

It is not copied to them. Each worker opens it as the command did, so all hashes are checked, and a signature if the
user requires it. Its manifest must be the command's, byte for byte; it has the hashes of all other files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import socket
from pathlib import Path

from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.origin.origin import MANIFEST
from tcja_runtime.choices import AUTO
from tcja_runtime.errors import Unavailable
from tcja_runtime.signing.trust import Trust


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedBundle:
    """A bundle, and how its network is run.

    Attributes:
        path: its path.
        sha256: the hash of its manifest.
        trust: whom and what the user trusts.
        backend: the name of the backend, or `AUTO`.
        device: where the network runs: "cpu", "gpu", or "any".
    """

    path: Path
    sha256: str
    trust: Trust
    backend: str
    device: str

    @classmethod
    def of(cls, bundle: Bundle, trust: Trust, backend: str) -> SharedBundle:
        """Return a bundle that is open."""
        engines = "any" if bundle.manifest.engines else "cpu"
        device = {AUTO: engines, "onnxruntime": "cpu"}.get(backend, "gpu")
        return cls(path=bundle.path, sha256=_hash(bundle), trust=trust, backend=backend, device=device)

    def opened(self) -> Bundle:
        """Open the bundle in a worker, to run its network.

        Raises:
            BadInput: it cannot be used.
            Unavailable: it is another bundle.
        """
        host = socket.gethostname()
        if not self.path.exists():
            raise Unavailable(
                f"{self.path} is not on the machine {host}: the bundle and the data must be on a disk that all "
                "machines of the cluster share, under the same path"
            )
        found = Bundle.open(self.path, self.trust, to_run=True)
        if _hash(found) != self.sha256:
            raise Unavailable(
                f"{self.path} on the machine {host} is not the bundle that this command opened: it was changed, or it "
                "is not on a disk that all machines of the cluster share"
            )
        return found


def _hash(bundle: Bundle) -> str:
    return hashlib.sha256(bundle.read(MANIFEST)).hexdigest()
