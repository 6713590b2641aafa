"""The bundle whose files are damaged: a network of 19 neurons with all that a bundle can have, in small_bundle.zip.

It is in the repository, so that the damage to it is the same everywhere. `python -m tests.fuzz.small_bundle` makes it
again.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

FILE = Path(__file__).with_suffix(".zip")


def unpacked(folder: Path) -> Path:
    """Write the bundle into a folder, and return its path."""
    with zipfile.ZipFile(FILE) as archive:
        archive.extractall(folder / "small.bundle")
    return folder / "small.bundle"


def make() -> None:
    """Export the network, and pack the bundle."""
    import torch

    from tcja_deploy.export import pipeline
    from tcja_deploy.export.request import ExportRequest

    from .. import networks

    space = {"__name__": "small"}
    exec(networks.OWN_NETWORK, space)
    network = space["Net"]().eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.rand_like(parameter) * 0.6)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "small.bundle"
        options = {"layout": "TN", "target": "onnx", "samples": 1, "anytime": 0, "classes": ("a", "b", "c")}
        pipeline.export(ExportRequest(model=network, shape=(2, 2, 4, 4), out=out, streaming=True, **options))
        with zipfile.ZipFile(FILE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for file in sorted(out.rglob("*")):
                archive.write(file, file.relative_to(out))


if __name__ == "__main__":
    make()
