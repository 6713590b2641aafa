import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_exporters import libraries
from tcja_runtime.neuron import NeuronSpec, fire

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

SECOND = Path(sys.prefix) / "spikingjelly-2"


def ties(spec: NeuronSpec, seed: int = 0) -> np.ndarray:
    halves = np.random.default_rng(seed).integers(-4, 9, (12, 500))
    return halves * spec.threshold / 2


@pytest.mark.parametrize("threshold", [1.0, 0.8])
@pytest.mark.parametrize("v_reset", [0.0, None, -0.25])
@pytest.mark.parametrize("mode", ["s", "m"])
def test_every_neuron_of_spikingjelly_alone(mode, v_reset, threshold):
    from spikingjelly.activation_based import neuron

    for node in (
        neuron.IFNode(threshold, v_reset, step_mode=mode),
        neuron.LIFNode(2.0, True, threshold, v_reset, step_mode=mode),
        neuron.LIFNode(3.0, False, threshold, v_reset, step_mode=mode),
        neuron.ParametricLIFNode(1.7, True, threshold, v_reset, step_mode=mode),
        neuron.ParametricLIFNode(2.2, False, threshold, v_reset, step_mode=mode),
    ):
        known = libraries.recognise("node", node.double().eval())
        x = torch.from_numpy(ties(known.spec))
        with torch.no_grad():
            fired = node(x) if mode == "m" else torch.stack([node(step) for step in x])
        assert known.calls == {"s": "step", "m": "window"}[mode]
        np.testing.assert_array_equal(fi := fire(known.spec, x.numpy()), fired.bool().numpy())
        assert 0.05 < fi.mean() < 0.95


@pytest.mark.slow
@pytest.mark.releases
def test_all_of_this_with_spikingjelly_2():
    """The second release, which cannot be installed beside the first, in a process of its own."""
    if not SECOND.exists():
        pytest.skip("SpikingJelly 2 is not at hand; make test-all installs it")
    folder = Path(__file__).parent
    files = [
        folder.parent / "user_models/test_conversion.py",
        folder / "test_properties.py",
        folder / "test_refused.py",
    ]
    chosen = "(activation_based or parallel or documents or Node or PSN) and not lower_precision"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *files],
        env={**os.environ, "PYTHONPATH": str(SECOND)},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stdout
    assert "21 passed" in done.stdout
