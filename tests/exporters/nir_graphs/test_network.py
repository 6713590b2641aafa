"""Whole graphs: branches, names, shapes and settings."""

import nir
import numpy as np
import pytest
import torch

from tcja_exporters.nir_graphs.network import from_nir
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput

from . import graphs

STEPS = 6
CONTRACT = InputContract.latents(STEPS, 6)


def network(graph, folder, contract=CONTRACT, **settings):
    return from_nir(graphs.written(graph, folder), contract, settings)


def test_edges_into_one_node_are_added_and_odd_names_are_kept_apart(tmp_path):
    graph = graphs.chain((6,), (6,), a=graphs.affine(6, 6), code=graphs.affine(6, 6))
    graph.nodes |= {"skip.a": nir.Scale(scale=np.full(6, 0.5, np.float32)), "skip_a": graphs.affine(6, 6)}
    graph.edges += [("a", "skip.a"), ("skip.a", "output"), ("input", "skip_a"), ("skip_a", "output")]
    made = network(graph, tmp_path)
    x = torch.rand(STEPS, 2, 6)
    w = torch.from_numpy(graphs.weights(6, 6)).T
    with torch.no_grad():
        ours = made.model.over_time(x)
    torch.testing.assert_close(ours, x @ w @ w + 0.5 * (x @ w) + x @ w)
    names = [name for name, _ in made.model.named_children()]
    assert sorted(names) == ["a", "code_", "readout", "skip_a", "skip_a_"]


def test_the_neurons_compute_the_equations_of_nir_by_the_forward_euler_method(tmp_path):
    dt, tau, r, leak, threshold, reset = 1e-3, 4e-3, 1.5, 0.1, 0.6, -0.2
    lif = graphs.lif(5, tau=tau, r=r, v_leak=leak, v_threshold=threshold, v_reset=reset)

    def constants(**values):
        return {name: np.full(5, value) for name, value in values.items()}

    current = constants(tau_syn=2e-3, tau_mem=5e-3, r=2.0, v_leak=0.0, w_in=1.5)
    graph = graphs.chain(
        (6,),
        (5,),
        fc=graphs.affine(6, 5),
        lif=lif,
        fc_1=graphs.affine(5, 5),
        **{"if": nir.IF(**constants(r=300.0, v_threshold=0.5, v_reset=0.1))},
        cuba=nir.CubaLIF(**current, **constants(v_threshold=0.25, v_reset=0.0)),
        fires=nir.Threshold(threshold=np.full(5, 0.7)),
        cuba_li=nir.CubaLI(**current),
        li=nir.LI(**constants(tau=3e-3, r=1.0, v_leak=0.5)),
        i=nir.I(**constants(r=100.0)),
    )
    x = torch.from_numpy(np.random.default_rng(0).random((STEPS, 4, 6)))
    made = network(graph, tmp_path, dt="0.001")
    with torch.no_grad():
        ours = made.model.double().over_time(x).numpy()
    v, u, li = np.full((4, 5), leak), np.full((4, 5), 0.1), np.full((4, 5), 0.5)
    i, w, j, y, total = np.zeros((5, 4, 5))
    first, then = graphs.weights(5, 6).T, graphs.weights(5, 5).T
    theirs, fired = [], []
    for step in x.numpy():
        v = v + dt / tau * (leak - v + r * (step @ first))
        spikes = v > threshold
        v = np.where(spikes, reset, v)
        u = u + dt * 300.0 * (spikes @ then)
        spikes = u > 0.5
        u = np.where(spikes, 0.1, u)
        i = i + dt / 2e-3 * (1.5 * spikes - i)
        w = w + dt / 5e-3 * (2.0 * i - w)
        spikes = w > 0.25
        w = np.where(spikes, 0.0, w)
        fired.append(spikes)
        j = j + dt / 2e-3 * (1.5 * spikes - j)
        y = y + dt / 5e-3 * (2.0 * j - y)
        li = li + dt / 3e-3 * (0.5 - li + y)
        total = total + dt * 100.0 * li
        theirs.append(total)
    np.testing.assert_allclose(ours, np.stack(theirs), rtol=1e-12, atol=1e-12)
    assert 0.1 < np.stack(fired).mean() < 0.9
    assert made.evidence[1] == "dt = 0.001 s, as `settings` says: a NIR file does not store its time step"


def test_what_the_file_does_not_say_is_said(tmp_path):
    graph = graphs.chain((6,), (5,), fc=graphs.affine(6, 5), lif=graphs.lif(5, tau=1e-5))
    assert network(graph, tmp_path, dialect="norse").evidence == [
        "the neurons compute norse's LIFBoxCell, LIBoxCell, IAFCell and LIFCell, as `settings` says: a NIR file does "
        "not say who wrote it; `settings` dialect can be nir or snntorch or norse or spikingjelly or sinabs",
        "check this: dt = 0.001 s, assumed: a NIR file does not store its time step",
        "check this: the reset is reset_value, assumed: a NIR file does not store it; `settings` reset can be "
        "reset_value or reset_subtract",
    ]


SMALL = graphs.small()
WRONG = {
    "an unknown setting": (
        {"T": "4"},
        "`settings` T=4: a NIR graph has no such setting; known are: dialect, dt, reset",
    ),
    "an unknown dialect": (
        {"dialect": "lava"},
        "`settings` dialect=lava: of a NIR graph it can be nir or snntorch or ",
    ),
    "dt": ({"dt": "-1"}, "`settings` dt=-1: dt is the time step in seconds, such as 0.001"),
    "dt in words": ({"dt": "1 ms"}, "`settings` dt=1 ms: dt is the time step in seconds"),
    "dt of a code that has none": (
        {"dialect": "sinabs", "dt": "0.001"},
        "`settings` dt=0.001: sinabs writes times in time steps; leave dt out",
    ),
    "a reset": ({"reset": "zero"}, "`settings` reset=zero: with the dialect nir it can be v_reset"),
    "a time step that is too long": (
        {"dt": "0.001"},
        "the node 'lif' (LIF) cannot be exported: its tau, 0.0004 s, is shorter than a time step of 0.001 s; give the "
        "`settings` dt that fits, or the dialect that wrote the file",
    ),
    "a node that another code writes": (
        {"dialect": "spikingjelly"},
        "the node 'lif' (LI) cannot be exported: SpikingJelly's IFNode, LIFNode and CUBALIFNode are written as IF, "
        "LIF, CubaLIF; give the dialect that wrote the file",
    ),
    "times in seconds": (
        {"dialect": "norse", "dt": "0.0001"},
        "its tau is 0.0004, and norse 1.1 writes dt divided by an inverse time, which is below dt = 0.0001 s; a file "
        "with times in seconds is of the dialect nir",
    ),
    "another dialect": (
        {"dialect": "snntorch"},
        "the node 'lif' (LIF) cannot be exported: its r is 1, and snnTorch writes tau / dt with dt = 0.0001 s",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_settings_that_do_not_fit_are_refused(wrong, tmp_path):
    settings, text = WRONG[wrong]
    li = nir.LI(tau=np.ones(5), r=np.ones(5), v_leak=np.zeros(5))
    graph = graphs.chain((6,), (5,), fc=graphs.affine(6, 5), lif=li) if "(LI)" in text else SMALL
    with pytest.raises(BadInput) as raised:
        network(graph, tmp_path, **settings)
    assert text in str(raised.value)


def test_constants_and_shapes_that_do_not_fit_are_refused(tmp_path):
    def refused(text, contract=CONTRACT, item=(6,), units=(5,), lif=None):
        graph = graphs.chain(item, units, fc=graphs.affine(6, 5), lif=lif or graphs.lif(5))
        with pytest.raises(BadInput) as raised:
            network(graph, tmp_path, contract)
        assert text in str(raised.value)

    refused("the node 'lif' (LIF) cannot be exported: its tau is 0, and must be positive", lif=graphs.lif(5, tau=0.0))
    refused("'lif' (LIF) cannot be exported: its tau has shape [4], and its input is [5]", lif=graphs.lif(4))
    wide = InputContract.latents(STEPS, 7)
    refused("the node 'input' (Input) cannot be exported: it has the shape [6], and a time step [7]; give the ", wide)
    refused(
        "it has the shape [1, 6], and a time step [7]; give the `shape` T,1,6, or T,6 if its first axis", wide, (1, 6)
    )
    refused(
        "the node 'output' (Output) cannot be exported: it has the shape [3], and what reaches it has [5]", units=(3,)
    )
    assert network(
        graphs.chain((1, 6), (1, 1, 5), fc=graphs.affine(6, 5), lif=graphs.lif(5)), tmp_path
    ).classes == tuple("01234")
