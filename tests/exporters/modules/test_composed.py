"""Neurons of more than one state, and neurons that never fire, against the libraries' own, to the bit."""

import numpy as np
import pytest
import torch

from tcja_exporters import libraries
from tcja_exporters.modules.neurons import SteppedNeuron

T, N, UNITS, DRAWN = 9, 2, 300, 8
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def norse(kind, draw, *, own=False):
    """A neuron of norse that leaks to a membrane other than 0; `own`: with constants that differ by neuron."""
    import norse.torch as library

    parameters = {"tau_mem_inv": draw(20.0, 900.0), "v_leak": draw(-0.3, 0.3)}
    if "Box" not in kind:
        parameters["tau_syn_inv"] = draw(50.0, 900.0)
    if kind.startswith("LIF"):
        parameters |= {"v_th": draw(0.2, 1.5), "v_reset": draw(-0.4, 0.1)}
    shares = torch.linspace(0.9, 1.1, UNITS) if own else torch.ones(())
    tensors = {name: value * shares for name, value in parameters.items()}
    record = {"LIF": library.LIFParameters, "LIB": library.LIBoxParameters}.get(kind[:3], library.LIParameters)
    return getattr(library, kind)(p=record(**tensors))


def synaptic(draw, **options):
    import snntorch

    return snntorch.Synaptic(alpha=draw(0.1, 0.99), beta=draw(0.1, 0.99), threshold=draw(0.3, 2.0), **options)


def spikingjelly(kind, draw, **options):
    from spikingjelly.activation_based import neuron

    constants = {"tau": draw(1.1, 5.0)} if kind == "LIFNode" else {}
    return getattr(neuron, kind)(**constants, **options)


MADE = {
    "norse LIF": lambda draw: norse("LIF", draw),
    "norse LIFCell": lambda draw: norse("LIFCell", draw),
    "norse LIFCell, constants of its neurons": lambda draw: norse("LIFCell", draw, own=True),
    "norse LICell, constants of its neurons": lambda draw: norse("LICell", draw, own=True),
    "norse LI": lambda draw: norse("LI", draw),
    "norse LICell": lambda draw: norse("LICell", draw),
    "norse LIBoxCell": lambda draw: norse("LIBoxCell", draw),
    "Synaptic": lambda draw: synaptic(draw),
    "Synaptic that keeps its states": lambda draw: synaptic(draw, init_hidden=True),
    "Synaptic that shows its states": lambda draw: synaptic(draw, init_hidden=True, output=True),
    "Synaptic without reset": lambda draw: synaptic(draw, reset_mechanism="none"),
    "Synaptic with reset to zero": lambda draw: synaptic(draw, reset_mechanism="zero"),
    "Synaptic with reset to zero at once": lambda draw: synaptic(draw, reset_mechanism="zero", reset_delay=False),
    "silent LIFNode": lambda draw: spikingjelly("LIFNode", draw, v_threshold=float("inf"), step_mode="m"),
    "silent LIFNode, input not decayed": lambda draw: spikingjelly(
        "LIFNode", draw, v_threshold=float("inf"), decay_input=False
    ),
    "silent IFNode": lambda draw: spikingjelly("IFNode", draw, v_threshold=float("inf")),
}
"""Neurons of random constants, made with a function that draws a number."""


def constants(seed):
    """A function that draws numbers that float32 holds."""
    generator = np.random.default_rng(seed)
    return lambda low, high: float(np.float32(generator.uniform(low, high)))


def run(module, calls, x):
    """What a neuron returns for currents [T, N, units], and its attribute `v` if it never fires."""
    with torch.no_grad():
        if calls == "window":
            output = module(x)
            found = output[0] if isinstance(output, tuple) else output
        else:
            steps, states = [], ()
            for current in x:
                output = module(current, *states)
                several = isinstance(output, tuple)
                steps.append(output[0] if several else output)
                keeps = isinstance(module, SteppedNeuron) or getattr(module, "init_hidden", False)
                states = output[1:] if several and not keeps else ()
            found = torch.stack(steps)
    return found, getattr(module, "v", None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", MADE)
def test_every_spike_and_membrane_is_the_librarys(name, dtype):
    fired = 0.0
    for seed in range(DRAWN):
        theirs = MADE[name](constants(seed)).eval()
        known = libraries.recognise("n", theirs)
        x = torch.from_numpy(np.random.default_rng(seed).normal(0.4, 1.0, (T, N, UNITS))).to(dtype)
        expected, expected_v = run(theirs, known.calls, x)
        found, found_v = run(known.replacement(), known.calls, x)
        assert torch.equal(found, expected.to(dtype)), seed
        if found_v is not None:
            assert torch.equal(found_v, expected_v)
            assert found_v.abs().max() > 0.1
        fired += float(expected.mean())
    assert name.startswith("silent") or fired > 0.1


def test_states_start_at_rest_as_a_network_starts_them():
    module = libraries.recognise("n", MADE["Synaptic"](constants(0))).replacement()
    syn, mem = module.init_synaptic()
    x = torch.full((T, N, UNITS), 0.5)
    with torch.no_grad():
        first = [module(current, syn, mem)[0] for current in x]
        for part in (module.synapse, module.neuron):
            part.restart()
        assert torch.equal(torch.stack(first), torch.stack([module(current)[0] for current in x]))


def test_a_neuron_returns_its_synaptic_current():
    theirs = MADE["Synaptic"](constants(3))
    ours = libraries.recognise("n", theirs).replacement()
    x = torch.randn(N, UNITS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours(x)[1], theirs(x)[1])
