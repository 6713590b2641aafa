"""Published code names backends that need CuPy: its networks are built without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tcja_exporters.libraries.backends import torch_backends
from tcja_exporters.user_models.factory import from_factory
from tcja_runtime.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # when SpikingJelly is imported

HEAD = "from torch import nn\n"
IMPORT = "from spikingjelly.activation_based import neuron, functional, layer\n"
CLOCKED = "from spikingjelly.clock_driven import neuron\n"
NET = """nn.Sequential(
        neuron.LIFNode(step_mode="m", backend="cupy"), nn.Identity(), neuron.IFNode(step_mode="m", backend="cupy"))
"""
RUN = "    import torch\n    net(torch.zeros(2, 1, 3))\n    return net\n"
CODE = {
    # Spike-driven Transformer and SpikeSR write the backend into the call.
    "argument": f"{HEAD}{IMPORT}def build():\n    return {NET}",
    "imported in the factory": f"{HEAD}def build():\n    {IMPORT}    return {NET}",
    "made at import": f"{HEAD}{IMPORT}build = {NET}",
    "run once in the factory": f"{HEAD}{IMPORT}def build():\n    net = {NET}{RUN}",
    "set_backend": f"""{HEAD}{IMPORT}
def build():
    net = nn.Sequential(neuron.LIFNode(), nn.Identity(), neuron.IFNode())
    functional.set_step_mode(net, "m")
    functional.set_backend(net, "cupy")
    return net
""",
    # Spikformer and Spikingformer are of this release.
    "clock_driven": f"""{HEAD}{CLOCKED}
def build():
    net = nn.Sequential(
        neuron.MultiStepLIFNode(tau=2.0, detach_reset=True, backend="cupy"), nn.Identity(),
        neuron.MultiStepIFNode(backend="cupy"))
{RUN}""",
    "fp32 inference": f"""{HEAD}{CLOCKED}
def build():
    return nn.Sequential(neuron.MultiStepLIFNode(backend="cupy"), neuron.LIFNode(cupy_fp32_inference=True),
        neuron.MultiStepIFNode(backend="cupy"))
""",
}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a user's module, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text: str) -> None:
        (tmp_path / "net_of_cupy.py").write_text(text)
        sys.modules.pop("net_of_cupy", None)

    yield write
    sys.modules.pop("net_of_cupy", None)


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_a_factory_for_cupy_builds_a_network_of_torch(written, code):
    written(code)
    made = from_factory("net_of_cupy:build")
    assert [made.network[at].backend for at in (0, 2)] == ["torch", "torch"]
    (line,) = made.lines
    said = "2 neurons of SpikingJelly have a backend for GPUs in the code; the export computes with its backend torch:"
    assert line == f"{said} 0, 2"
    spikes = made.network(torch.full((3, 1, 3), 9.0))
    assert spikes.shape == (3, 1, 3)
    assert_unchanged()


def assert_unchanged() -> None:
    """SpikingJelly is as it was: without CuPy it refuses its backend."""
    from spikingjelly.activation_based import neuron
    from spikingjelly.clock_driven import neuron as clocked

    with pytest.raises(ImportError, match="CuPy is not installed"):
        neuron.LIFNode(step_mode="m", backend="cupy")
    with pytest.raises(AssertionError, match="CuPy is not installed"):
        clocked.MultiStepLIFNode(backend="cupy")
    assert neuron.LIFNode().backend == clocked.MultiStepLIFNode().backend == "torch"


def test_a_factory_without_backends_says_nothing(written):
    written(f"{HEAD}{IMPORT}def build():\n    return nn.Sequential(neuron.LIFNode(step_mode='m'))\n")
    assert from_factory("net_of_cupy:build").lines == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            f"{HEAD}{IMPORT}def build():\n    return neuron.LIFNode(step_mode='m', backend='lava')\n",
            "NotImplementedError: lava is not a",
        ),
        (
            f"{HEAD}{IMPORT}def build():\n    return neuron.LIFNode(backend='cuda')\n",
            "NotImplementedError: cuda is not a",
        ),
        (
            f"{HEAD}def build():\n    raise ImportError('CuPy is not installed, says another package')\n",
            "another package",
        ),
    ],
)
def test_other_failures_stay_and_leave_nothing_behind(written, code, said):
    written(code)
    with pytest.raises(BadInput, match=said):
        from_factory("net_of_cupy:build")
    assert_unchanged()


def test_nothing_is_imported_for_others(monkeypatch):
    """A network without SpikingJelly does not import it."""
    for name in [name for name in sys.modules if name.startswith("spikingjelly")]:
        monkeypatch.delitem(sys.modules, name)
    with torch_backends() as backends:
        assert backends.run(lambda: 5) == 5
    assert not [name for name in sys.modules if name.startswith("spikingjelly")]


def test_lines_name_a_few():
    from spikingjelly.activation_based import neuron

    with torch_backends() as backends:
        made = backends.run(lambda: nn.Sequential(*(neuron.IFNode(step_mode="m", backend="cupy") for _ in range(5))))
        other = backends.run(lambda: neuron.IFNode(step_mode="m", backend="cupy"))
    assert [line.rpartition(": ")[2] for line in backends.lines(made)] == ["0, 1, 2 and 2 more"]
    assert other.backend == "torch"
    assert backends.lines(nn.Sequential(nn.Identity())) == []


@pytest.mark.releases
@pytest.mark.parametrize("call", ["neuron.LIFNode(backend='cupy')", "functional.set_backend(neuron.LIFNode(), 'cupy')"])
def test_the_second_release_has_no_backends(written, call):
    """SpikingJelly 2, which cannot be installed beside the first, in a process of its own."""
    second = Path(sys.prefix) / "spikingjelly-2"
    if not second.exists():
        pytest.skip("SpikingJelly 2 is not at hand; make test-all installs it")
    written(f"{HEAD}{IMPORT}def build():\n    return {call}\n")
    code = "from tcja_exporters.user_models.factory import from_factory\ntry:\n    from_factory('net_of_cupy:build')\n"
    code += "except Exception as error:\n    print(error)\n"
    root = Path(__file__).parents[3]
    paths = os.pathsep.join(map(str, (second, *(root / part for part in ("", "exporters", "runtime")))))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "SpikingJelly 2 has no backends: leave `backend` and set_backend out, or install the release" in done.stdout
