"""Ours for the first ratio of `cost.py`: from a checkpoint to the two models of a bundle, nothing proven yet.

python -m benchmarks.export.onnx_stage CHECKPOINT FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_exporters.graph import exported
from tcja_exporters.graph.export import export_onnx


def main() -> None:
    found, folder = identify(load_checkpoint(Path(sys.argv[1]))), Path(sys.argv[2])
    folder.mkdir()
    exported.save(export_onnx(found.model, found.contract, found.output, {"producer": "benchmark"}), folder)


if __name__ == "__main__":
    main()
