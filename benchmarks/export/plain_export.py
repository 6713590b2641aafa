"""The peer of `cost.py`: a TCJA network with SpikingJelly's neurons, exported the plain way and checked once.

python -m benchmarks.export.plain_export CHECKPOINT OUT.onnx [--unchecked]

`--unchecked` stops when the model is written.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from spikingjelly.clock_driven import functional, neuron

from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_exporters.modules.neurons import spiking_neurons
from tcja_runtime.data.windows import random_windows


def main() -> None:
    found = identify(load_checkpoint(Path(sys.argv[1])))
    model, out = found.model, sys.argv[2]
    for name, spiking in spiking_neurons(model).items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, neuron.MultiStepLIFNode(tau=spiking.spec.tau))
    window = torch.from_numpy(random_windows(found.contract, 1).inputs)

    functional.reset_net(model)
    with torch.no_grad():
        torch.onnx.export(model, (window,), out, dynamo=True, input_names=["frames"], output_names=["rates"])
        if "--unchecked" in sys.argv:
            return
        functional.reset_net(model)
        expected = model(window).numpy()
    (actual,) = onnxruntime.InferenceSession(out).run(None, {"frames": window.numpy()})
    print(f"largest difference {np.abs(actual - expected).max():.3g}")


if __name__ == "__main__":
    main()
