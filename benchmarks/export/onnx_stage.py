"""Ours for the first ratio of `cost.py`: from a checkpoint to the two models of a bundle, nothing proven yet.

python -m benchmarks.export.onnx_stage CHECKPOINT FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from tcja_exporters.checkpoint import load
from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.graph import export, exported


def main() -> None:
    found, folder = identify(load.load(Path(sys.argv[1]))), Path(sys.argv[2])
    folder.mkdir()
    exported.save(export.export(found.model, found.contract, found.output, {"producer": "benchmark"}), folder)


if __name__ == "__main__":
    main()
