"""Networks with attention: exported whole, with no bound that is an estimate.

Spikformer's products of spikes, MA-SNN's gates over time, channels and pixels, and a block with softmax, layer norm and
GELU, written anew; and those of SpikingJelly's second release.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tcja_deploy
from tcja_runtime.bundle.bundle import GOLDEN
from tcja_runtime.errors import ParityNotMet
from tcja_runtime.evidence import golden

from ...exporters.peers import attention

SECOND = Path(sys.prefix) / "spikingjelly-2"
WINDOWS = np.random.default_rng(0).poisson(1.0, (6, attention.T, 2, 8, 8)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", attention.NETWORKS)
def test_no_bound_is_an_estimate(name, tmp_path):
    network = attention.awake(attention.NETWORKS[name]())
    result = tcja_deploy.export(network, data=WINDOWS, layout="TN", out=tmp_path / "a.bundle", target="onnx")
    assert result.parity.estimated == {}
    assert result.parity.wide_bounds in ([], ["lif1 on the range stimulus"])  # counts of 16 million times a sigmoid
    assert not result.parity.silent
    if name == "Spikformer":
        manifest = result.manifest
        vectors = golden.load(result.bundle / GOLDEN, manifest.input)
        seen = vectors.recorded.witnesses["attention.attn_lif"]
        assert not seen.bounds.any(), "products of spikes are exact"
        assert seen.values.any()
        assert vectors.recorded.witnesses["attention.proj_lif"].bounds.any()


class Mistaken(attention.SpikingSelfAttention):
    """Its scale is another in the exported model, by one unit in the last place of float32."""

    @property
    def scale(self) -> float:
        return 0.125 + 2.0**-26 if torch.compiler.is_exporting() else 0.125

    @scale.setter
    def scale(self, value: float) -> None: ...


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_scale_that_is_one_bit_off_is_found(tmp_path):
    network = attention.Spikformer()
    network.attention = Mistaken(16, 2)
    with pytest.raises(
        ParityNotMet, match=r"the current of attention\.attn_lif, .* rounding explains a difference of 0;"
    ):
        tcja_deploy.export(
            attention.awake(network), data=WINDOWS, layout="TN", out=tmp_path / "a.bundle", target="onnx"
        )


REAL = f"""
import sys
sys.path.insert(0, {str(SECOND)!r})
import numpy as np, tcja_deploy, torch
from spikingjelly.activation_based.model.masnn import MASNN
from spikingjelly.activation_based.model.spikformer import Spikformer
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.exporters.peers import attention

T = attention.T
windows = np.random.default_rng(0).poisson(1.0, (4, T, 2, 16, 16)).astype(np.float32)

class Real(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Spikformer(
            T=T, in_channels=2, img_size_h=16, img_size_w=16, patch_size=4, num_classes=5, embed_dims=16, num_heads=2,
            mlp_ratio=2.0, depths=1,
        )

    def forward(self, x):
        return self.net(x).mean(0)

networks = {{
    "Spikformer": (Real(), windows),
    "MA-SNN": (
        MASNN(T=T, num_classes=5, input_size=(8, 8), channels=(6, 6), pools=(1, 2), fc_hidden=16, reduction_t=2,
              reduction_c=2),
        windows[..., :8, :8],
    ),
}}
for name, (network, data) in networks.items():
    made = tcja_deploy.export(attention.awake(network), data=data, layout="TN", out=name + ".bundle", target="onnx")
    print(name, made.parity.estimated, made.verdict)
"""


@pytest.mark.releases
def test_the_same_of_spikingjelly_2(tmp_path):
    """The library's own classes, in a process of their own, as another release is imported here."""
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    met = "{} Parity met: not one spike differs."
    assert done.stdout.splitlines() == [f"Spikformer {met}", f"MA-SNN {met}"]
