"""The spikes of networks that other people's libraries run and write as NIR files, against those of what is read."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.modules.composed import SynapticNeuron
from tcja_exporters.modules.neurons import Neuron
from tcja_exporters.nir_graphs.network import from_nir
from tcja_runtime.data.contract import InputContract

nir = pytest.importorskip("nir")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

LIBRARIES = ("norse", "snntorch", "spikingjelly")
STEPS, BATCH = 12, 8
SINABS = Path(sys.prefix) / "sinabs"


def inputs(*item: int, seed: int = 0) -> torch.Tensor:
    """Counts of events [T, N, ...], most of them 0."""
    counts = np.random.default_rng(seed).poisson(0.7, (STEPS, BATCH, *item))
    return torch.from_numpy(counts.astype(np.float64))


def dyadic(net: nn.Module) -> nn.Module:
    """Round the weights to multiples of 1/8, so that sums are exact and membranes are often at the threshold."""
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim:
                parameter.copy_((parameter * 24).round() / 8)
    return net


def read(graph, folder: Path, shape: tuple[int, ...], **settings: str):
    file = folder / "net.nir"
    nir.write(file, graph, compression=None)
    contract = InputContract.latents(STEPS, *shape) if len(shape) == 1 else InputContract.of((STEPS, *shape))
    return from_nir(file, contract, settings)


def recorded(net: nn.Module, neurons: list[nn.Module], run) -> list[np.ndarray]:
    """What each neuron returns, [T, N, ...], while a network runs in float64."""
    calls: list[list[torch.Tensor]] = [[] for _ in neurons]

    def keep(made: list[torch.Tensor]):
        return lambda _module, _args, output: made.append(output[0] if isinstance(output, tuple) else output)

    hooks = [neuron.register_forward_hook(keep(made)) for neuron, made in zip(neurons, calls, strict=True)]
    with torch.no_grad():
        run(net.double())
    for hook in hooks:
        hook.remove()
    return [(torch.stack(made) if len(made) > 1 else made[0]).double().numpy() for made in calls]


def fires_the_same(network, theirs: nn.Module, run, x: torch.Tensor) -> None:
    """Compare every spike of every neuron with those of the library's network, which `run` runs on windows."""
    found = [module for module in theirs.modules() if type(module).__module__.split(".")[0] in LIBRARIES]
    neurons = [
        module for module in found if hasattr(module, "p") or hasattr(module, "threshold") or hasattr(module, "v")
    ]
    expected = recorded(theirs, neurons, lambda net: run(net, x))
    parts = [part for part in network.model.children() if isinstance(part, (Neuron, SynapticNeuron))]
    ours = recorded(network.model, parts, lambda net: net.over_time(x))
    assert len(ours) == len(expected) > 1
    for spikes, wanted in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(spikes, wanted)
        assert 0.02 < np.abs(spikes).mean() < 0.95


def snntorch_net(reset: str) -> nn.Module:
    import snntorch as snn

    def leaky(beta, threshold, *shape: int) -> nn.Module:
        return snn.Leaky(
            beta=torch.zeros(shape) + beta,
            threshold=torch.zeros(shape) + threshold,
            init_hidden=True,
            reset_mechanism=reset,
        )

    def synaptic(reset: str, *shape: int) -> nn.Module:
        alpha, beta, threshold = (torch.full(shape, value) for value in (0.5, 0.75, 1.5))
        return snn.Synaptic(alpha, beta, threshold, init_hidden=True, output=True, reset_mechanism=reset)

    return dyadic(
        nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1),
            leaky(0.75, 1.0, 3, 8, 8),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(48, 12, bias=False),
            leaky(torch.linspace(0.05, 0.95, 12), torch.linspace(0.4, 0.6, 12), 12),
            nn.Linear(12, 5),
            synaptic(reset, 5),
        )
    )


def through(net, x: torch.Tensor) -> None:
    """Run one module after the other, in float64: some neurons return spikes in float32."""
    for module in net:
        y = module(x)
        x = (y[0] if isinstance(y, tuple) else y).double()


def snntorch_run(net, x: torch.Tensor) -> None:
    for module in net:
        if hasattr(module, "reset_mem"):
            module.reset_mem()
    for step in x:
        through(net, step)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_snntorch(reset, tmp_path):
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(0)
    net = snntorch_net(reset)
    graph = export_to_nir(net, torch.zeros(1, 2, 8, 8), ignore_dims=[0])
    network = read(graph, tmp_path, (2, 8, 8), dialect="snntorch", reset=reset)
    fires_the_same(network, net, snntorch_run, inputs(2, 8, 8))


def norse_run(net, x: torch.Tensor) -> None:
    state = None
    for step in x:
        _, state = net(step, state)


@pytest.mark.parametrize(("dt", "reset"), [(0.001, "reset_value"), (0.0004, "reset_subtract")])
def test_norse(dt, reset, tmp_path):
    import norse.torch as norse
    from norse.torch.functional import reset as resets

    torch.manual_seed(0)
    box = norse.LIFBoxParameters(
        tau_mem_inv=torch.tensor(0.25 / dt), v_th=torch.tensor(0.25), reset_method=getattr(resets, reset)
    )
    net = norse.SequentialState(
        nn.Linear(6, 20),
        norse.LIFBoxCell(box, dt=dt),
        nn.Linear(20, 12, bias=False),
        norse.IAFCell(dt=dt),
        nn.Linear(12, 8),
        norse.LIFCell(norse.LIFParameters(torch.tensor(0.5 / dt), torch.tensor(0.25 / dt), torch.tensor(0.125)), dt=dt),
        nn.Linear(8, 3),
        norse.LIBoxCell(norse.LIBoxParameters(torch.tensor(0.25 / dt), torch.tensor(-0.5)), dt=dt),
    )
    dyadic(net)
    graph = norse.to_nir(net, torch.zeros(1, 6), dt=dt)
    network = read(graph, tmp_path, (6,), dialect="norse", dt=str(dt), reset=reset)
    fires_the_same(network, net, norse_run, inputs(6))


@pytest.mark.releases
def test_sinabs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SINABS)
    monkeypatch.setitem(sys.modules, "pylab", ModuleType("pylab"))  # sinabs draws with it, and nothing is drawn here
    exchange = pytest.importorskip("sinabs.nir", reason="make test-all installs sinabs")
    import sinabs.layers as sl
    from sinabs.activation import MembraneReset, MembraneSubtract, SingleSpike

    torch.manual_seed(0)
    for reset in (MembraneSubtract(), MembraneReset()):
        how = {"spike_fn": SingleSpike, "reset_fn": reset, "batch_size": BATCH}
        net = dyadic(
            nn.Sequential(
                nn.Conv2d(2, 3, 3, padding=1),
                sl.IAFSqueeze(**how),
                sl.SumPool2d(2),
                nn.Flatten(),
                nn.Linear(48, 12),
                sl.LIFSqueeze(tau_mem=torch.tensor(5.0), spike_threshold=torch.tensor(0.25), **how),
                nn.Linear(12, 4),
                sl.ExpLeakSqueeze(tau_mem=torch.tensor(3.0), batch_size=BATCH),
            )
        )
        x = inputs(2, 8, 8)
        joined = x.transpose(0, 1).flatten(0, 1)  # sinabs takes [N * T, ...]
        net(joined.float())
        graph = exchange.to_nir(net, joined.float())
        graph.nodes["0"].input_shape = (8, 8)  # sinabs leaves it out, and nir.write needs it
        graph.nodes["3"].input_type = {"input": np.array([3, 4, 4])}
        for part in net:
            if hasattr(part, "reset_states"):
                part.reset_states()
        network = read(graph, tmp_path, (2, 8, 8), dialect="sinabs", reset=type(reset).__name__)
        found = [part for part in net if isinstance(part, sl.LIF)]
        expected = recorded(net, found, lambda net, joined=joined: through(net, joined))
        parts = [part for part in network.model.children() if isinstance(part, Neuron)]
        ours = recorded(network.model, parts, lambda net, x=x: net.over_time(x))
        for made, theirs in zip(ours, expected, strict=True):
            wanted = theirs.reshape(BATCH, STEPS, *theirs.shape[1:]).swapaxes(0, 1)
            if np.isin(wanted, (0, 1)).all():
                np.testing.assert_array_equal(made, wanted)
            else:  # membranes: alpha is computed in float32 in training, and here by sinabs in float64
                np.testing.assert_allclose(made, wanted, rtol=1e-6, atol=1e-7)
            assert np.abs(made).mean() > 0.02


def test_spikingjelly(tmp_path):
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange", reason="only release 2 writes NIR")
    from spikingjelly.activation_based import functional, layer, neuron

    torch.manual_seed(0)
    net = dyadic(
        nn.Sequential(
            layer.Conv2d(2, 3, 3, padding=1),
            neuron.LIFNode(tau=4.0),
            layer.AvgPool2d(2),
            neuron.LIFNode(tau=3.0, decay_input=False, v_reset=-0.25, v_threshold=0.25),
            layer.Flatten(),
            layer.Linear(48, 12, bias=False),
            neuron.IFNode(v_threshold=0.75),
            layer.Linear(12, 5),
            neuron.LIFNode(tau=2.5, v_reset=0.1, v_threshold=0.5),
            layer.Linear(5, 4),
            neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75),
        )
    ).eval()
    functional.set_step_mode(net, "m")
    x = inputs(2, 8, 8)
    for dt in (1e-4, 1e-3):
        functional.reset_net(net.float())
        graph = exchange.export_to_nir(net, x.float(), dt=dt)
        functional.reset_net(net.double())
        network = read(graph, tmp_path, (2, 8, 8), dialect="spikingjelly", dt=str(dt))
        fires_the_same(network, net, lambda net, x: net(x), x)
    request = ExportRequest(
        checkpoint=tmp_path / "net.nir",
        shape=(3, 2, 8, 8),
        settings={"dialect": "spikingjelly", "dt": "0.001"},
        out=tmp_path / "net.bundle",
        target="onnx",
        samples=2,
    )
    assert pipeline.export(request)[1].met
