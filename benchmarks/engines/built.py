"""Builds the engine of one model, for one window, and prints its sidecar as JSON: a part of `engines.py`.

python -m benchmarks.engines.built MODEL.onnx PRECISION T
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from tcja_runtime.errors import TcjaError
from tcja_runtime.tensorrt.build import Batch, BuildOptions, BuildRequest, build


def main() -> None:
    model, precision, time_steps = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        request = BuildRequest(
            model=Path(model),
            engines=Path(folder),
            target="tensorrt-rtx",
            precision=precision,
            time_steps=int(time_steps),
            options=BuildOptions(batch=Batch(1, 1, 1)),
        )
        try:
            print(json.dumps(dataclasses.asdict(build(request).info)))
        except TcjaError as error:
            print(json.dumps({"failed": str(error)}))


if __name__ == "__main__":
    main()
