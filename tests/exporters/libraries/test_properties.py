"""Each known neuron against its library, over drawn constants, in both float types.

Currents are drawn, and multiples of half the threshold, which bring membranes exactly to the threshold.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tcja_exporters import libraries
from tcja_runtime.errors import BadInput

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SEEDS = 6
Draw = np.random.Generator


def spikingjelly(name: str) -> type[nn.Module]:
    from spikingjelly.activation_based import neuron

    if not hasattr(neuron, name):
        pytest.skip(f"this release of SpikingJelly has no {name}")
    kind: type[nn.Module] = getattr(neuron, name)
    return kind


def membrane(draw: Draw) -> dict[str, object]:
    """The threshold and reset of a neuron of SpikingJelly."""
    threshold = float(draw.choice([0.5, 1.0, draw.uniform(0.1, 3)]))
    return {"v_threshold": threshold, "v_reset": [None, 0.0, float(-draw.uniform(0, 1))][draw.integers(3)]}


def tau(draw: Draw) -> float:
    return float(draw.choice([1.5, 2.0, 4.0, draw.uniform(1.01, 20)]))


def leaky(draw: Draw) -> dict[str, object]:
    return {"tau": tau(draw), "decay_input": bool(draw.integers(2)), **membrane(draw)}


def learned(draw: Draw, low: float, high: float) -> Tensor:
    """A learned constant of the layer, or one of each of its neurons."""
    shape = (NEURONS_OF_LAYER,) if draw.integers(2) else ()
    return torch.tensor(draw.uniform(low, high, shape), dtype=torch.float32)


def mode(draw: Draw) -> str:
    return str(draw.choice(["s", "m"]))


def plif(draw: Draw) -> nn.Module:
    node = spikingjelly("ParametricLIFNode")(2.0, bool(draw.integers(2)), **membrane(draw), step_mode=mode(draw))
    node.w.data = torch.tensor(draw.normal(0, 1.5), dtype=torch.float32)
    return node


def klif(draw: Draw) -> nn.Module:
    kind, constants = spikingjelly("KLIFNode"), leaky(draw)
    if kind.__module__ == "spikingjelly.activation_based.neuron" and constants["v_reset"] is None:
        constants["v_reset"] = 0.0  # a soft reset raises an error before 2.0
    node = kind(bool(draw.integers(2)), **constants, step_mode=mode(draw))
    node.k.data = torch.tensor(draw.choice([0.5, draw.uniform(0.2, 3)]), dtype=torch.float32)
    return node


def with_weights(draw: Draw, node: nn.Module) -> nn.Module:
    """A parallel neuron with drawn weights; the untrained ones of SlidingPSN are powers of two."""
    if type(node).__name__ != "SlidingPSN" or draw.integers(2):
        node.weight.data = torch.from_numpy(draw.normal(0, 1, node.weight.shape).astype(np.float32))
    node.bias.data = torch.from_numpy(draw.choice([-1, -0.5, 0, 0.3], node.bias.shape).astype(np.float32))
    return node


def snn_leaky(draw: Draw) -> nn.Module:
    import snntorch

    return snntorch.Leaky(
        beta=learned(draw, -0.1, 1.1) if draw.integers(2) else float(draw.choice([0.5, 0.9])),
        threshold=learned(draw, 0.1, 3) if draw.integers(2) else float(draw.choice([0.5, 1.0])),
        reset_mechanism=str(draw.choice(["subtract", "zero", "none"])),
    )


def lapicque(draw: Draw) -> nn.Module:
    import snntorch

    return snntorch.Lapicque(
        beta=float(draw.choice([0.5, 0.9, draw.uniform(0.05, 0.99)])),
        R=float(draw.choice([1.0, 2.0, 0.5])),
        time_step=float(draw.choice([1.0, 0.5])),
        threshold=float(draw.choice([0.5, 1.0, draw.uniform(0.1, 3)])),
        reset_mechanism=str(draw.choice(["subtract", "zero", "none"])),
    )


def lif_box(draw: Draw) -> nn.Module:
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract, reset_value
    from norse.torch.module.lif_box import LIFBoxCell

    rate, threshold, v_reset = (learned(draw, low, high) for low, high in ((50, 900), (0.1, 1), (-1, 0)))
    method = (reset_value, reset_subtract)[draw.integers(2)]
    return LIFBoxCell(LIFBoxParameters(v_th=threshold, tau_mem_inv=rate, v_reset=v_reset, reset_method=method))


def iaf(draw: Draw) -> nn.Module:
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.module.iaf import IAFCell

    return IAFCell(p=IAFParameters(v_th=learned(draw, 0.1, 2), v_reset=learned(draw, -1, 0)))


def ilif(draw: Draw) -> nn.Module:
    from spikingjelly.activation_based import surrogate

    kind = spikingjelly("ILIFNode")
    count = surrogate.MultiLevelSpikeCount(int(draw.integers(1, 9)))
    return kind(tau(draw), float(draw.choice([0.5, 1.0, 4.0])), count, step_mode=mode(draw))


STEPS, NEURONS_OF_LAYER = 7, 50
ONE_STEP = ("ILIFNode",)
"""Neurons that are exported for windows of one time step."""
COMPUTED = ("ParametricLIFNode", "snnTorch Lapicque")
"""Neurons that compute their constants, in float32 with other roundings than those of the exact constants."""
NEURONS: dict[str, Callable[[Draw], nn.Module]] = {
    "IFNode": lambda draw: spikingjelly("IFNode")(**membrane(draw), step_mode=mode(draw)),
    "LIFNode": lambda draw: spikingjelly("LIFNode")(**leaky(draw), step_mode=mode(draw)),
    "ParametricLIFNode": plif,
    "KLIFNode": klif,
    "HalfThresholdIFNode": lambda draw: spikingjelly("HalfThresholdIFNode")(
        membrane(draw)["v_threshold"], step_mode=mode(draw)
    ),
    "SimpleIFNode": lambda draw: spikingjelly("SimpleIFNode")(**membrane(draw), step_mode=mode(draw)),
    "SimpleLIFNode": lambda draw: spikingjelly("SimpleLIFNode")(
        **{**leaky(draw), "v_reset": float(draw.choice([0.0, -draw.uniform(0, 1)]))}, step_mode=mode(draw)
    ),
    "OTTTLIFNode": lambda draw: spikingjelly("OTTTLIFNode")(**leaky(draw)),
    "SLTTLIFNode": lambda draw: spikingjelly("SLTTLIFNode")(**leaky(draw)),
    "PSN": lambda draw: with_weights(draw, spikingjelly("PSN")(STEPS)),
    "MaskedPSN": lambda draw: with_weights(
        draw, spikingjelly("MaskedPSN")(int(draw.integers(1, STEPS + 3)), STEPS, lambda_init=1.0, step_mode="m")
    ),
    "SlidingPSN": lambda draw: with_weights(
        draw, spikingjelly("SlidingPSN")(int(draw.integers(1, STEPS + 3)), step_mode="m")
    ),
    "ILIFNode": ilif,
    "snnTorch Leaky": snn_leaky,
    "snnTorch Lapicque": lapicque,
    "norse LIFBoxCell": lif_box,
    "norse IAFCell": iaf,
}


def fired(node: nn.Module, calls: str, currents: Tensor) -> Tensor:
    """The spikes [T, ...] of a neuron that starts from rest; it may return the pair (spikes, state), and take it."""
    if calls == "window":
        output = node(currents)
        return output[0] if isinstance(output, tuple) else output
    spikes, state = [], ()
    for x in currents:
        output = node(x, *state)
        spikes.append(output[0] if isinstance(output, tuple) else output)
        state = output[1:] if isinstance(output, tuple) else ()
    return torch.stack(spikes)


@pytest.mark.parametrize("name", NEURONS)
def test_a_neuron_with_drawn_constants_fires_as_in_its_library(name):
    rates = []
    for seed in range(SEEDS):
        draw = np.random.default_rng(seed)
        for dtype in (torch.float64, *(() if name in COMPUTED else (torch.float32,))):
            node = NEURONS[name](np.random.default_rng(seed)).to(dtype).eval()
            known = libraries.recognise("node", node)
            for x in (
                draw.normal(0.3, 1.5, (STEPS, 3, NEURONS_OF_LAYER)),
                draw.integers(-4, 9, (STEPS, 3, NEURONS_OF_LAYER)) / 2,
            ):
                currents = torch.from_numpy(x * known.spec.current_unit * known.most).to(dtype)
                currents = currents[:1] if name in ONE_STEP else currents
                libraries.reset(node)
                with torch.no_grad():
                    theirs = fired(node, known.calls, currents)
                    ours = fired(known.replacement().to(dtype), known.calls, currents)
                assert torch.equal(ours, theirs.to(dtype)), (seed, dtype, known.spec.rules)
                rates.append(float((ours > 0).to(dtype).mean()))
    assert 0.05 < np.mean(rates) < 0.9


def test_parallel_neurons_without_a_fixed_window_are_refused():
    masked = spikingjelly("MaskedPSN")(2, 4, lambda_init=0.5, step_mode="m")
    with pytest.raises(BadInput, match=r"PSN\) .*: its mask is not final \(lambda_ is 0.5\); train it to lambda_ = 1"):
        libraries.recognise("node", masked)
    with pytest.raises(
        BadInput, match=r"in step mode 's' it keeps earlier currents in a queue; call functional.set_ste"
    ):
        libraries.recognise("node", spikingjelly("SlidingPSN")(2))


def test_lapicque_neurons_with_other_equations_are_refused():
    import snntorch

    with pytest.raises(BadInput, match=r"multiplies by R \(5.1\), 1 / \(R C\) and time_step \(1\) one after the other"):
        libraries.recognise("node", snntorch.Lapicque(beta=False, R=5.1, C=5.0))
