"""What `check` says of a network, beside what `export` then does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tcja_deploy.check.checker import check
from tcja_deploy.check.result import Becomes
from tcja_deploy.export import models, spike_counts, trials
from tcja_deploy.export.request import ExportRequest
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.errors import Unavailable
from tcja_runtime.tensorrt import build

from ... import networks
from ...exporters.peers import own
from . import agreement

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
RTX = pytest.mark.rtx

QUICK = (
    "a neuron for two layers",
    "a branch on values",
    "random numbers",
    "two neurons that are not supported",
    "two neurons with other equations",
    "the wrong layout",
    "no known neuron",
    "an unknown checkpoint",
    "a checkpoint of another shape",
    "too few class names",
)
SLOW = (
    "Synaptic of snnTorch",
    "an operation without a rule",
    "fp16",
    "a recurrent layer",
)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_it_agrees_with_the_export(name, tmp_path):
    """In all of `CASES`: benchmarks/export/check.py."""
    row = agreement.compared(name, tmp_path)
    assert row.differences == []
    assert row.found.accepted == ((tmp_path / "out.bundle").exists())


@pytest.mark.slow
@pytest.mark.tensorrt
@RTX
def test_the_parser_finds_the_layers_of_the_engine(tmp_path):
    row = agreement.compared("a shared bias", tmp_path, target="tensorrt-rtx")
    assert row.differences == []
    assert row.found.models.engine.layers > 0
    assert row.found.models.time_form == "fused"


@pytest.mark.slow
@pytest.mark.tensorrt
@RTX
def test_what_tensorrt_cannot_parse_is_refused_and_the_rest_is_told(tmp_path):
    found = check(request("an operation that TensorRT does not have", tmp_path, target="tensorrt-rtx"))
    assert found.refusals == [
        "tensorrt-rtx cannot parse the model: node Det (operator Det, PyTorch module of the whole network): "
        "UNSUPPORTED_NODE, false"
    ]
    assert found.models.estimated == {"n1": ["aten._linalg_det.default"]}
    assert [module.name for module in found.modules if module.becomes is Becomes.JUDGED] == ["n1", "n2", "n3", "n4"]


def request(name: str, folder: Path, **options: object) -> ExportRequest:
    given = {"target": "onnx", **agreement.CASES[name](folder), **options}
    return ExportRequest(out=folder / "out.bundle", **given)


def test_each_module_is_told(tmp_path):
    found = check(request("a neuron that is not known", tmp_path))
    rows = {module.name: module for module in found.modules}
    assert {name: rows[name].becomes for name in ("n1", "n2", "n3", "n4", "conv1", "attention.conv", "fc2")} == {
        "n1": Becomes.JUDGED,
        "n2": Becomes.FIRES,
        "n3": Becomes.JUDGED,
        "n4": Becomes.JUDGED,
        "conv1": Becomes.OPERATORS,
        "attention.conv": Becomes.OPERATORS,
        "fc2": Becomes.OPERATORS,
    }
    assert rows["readout"].remark == "the export adds it to the network"
    assert (rows["n1"].kind, rows["n1"].remark) == ("IFNode", "h = v + x, h >= 1, reset minus 1")
    assert sum(module.nodes for module in found.modules) == found.models.nodes["model.onnx"]
    assert found.models.forms["unrolled"] > found.models.forms["scan"] == found.models.nodes["model.plain.onnx"]


@pytest.mark.slow
def test_each_module_of_the_registry_is_told(tmp_path):
    row = agreement.compared("dvs128, stepwise", tmp_path)
    assert row.differences == []
    found = row.found
    said = json.loads(json.dumps(found.to_dict()))
    assert (said["accepted"], said["refusals"], said["network"]["time_steps"]) == (True, [], 5)
    assert said["models"]["nodes"].keys() == {"model.onnx", "model.plain.onnx", HEAD, TAIL}
    assert said["models"]["engine"] == {"target": None, "layers": None, "why": "`target` onnx builds no engine"}
    rows = {module.name: module for module in found.modules}
    assert [name for name, row in rows.items() if row.becomes is Becomes.ATTENTION] == ["conv.11", "conv.15"]
    assert [name for name, row in rows.items() if row.becomes is Becomes.JUDGED] == [
        layer.name for layer in found.network.layers
    ]
    assert (rows["conv.0.1"].becomes, rows["conv.0.1"].remark) == (Becomes.NOTHING, "folded into conv.0.0")
    assert sum(module.nodes for module in found.modules) == found.models.nodes["model.onnx"]


def test_all_refused_neurons_are_named_not_only_the_first(tmp_path):
    found = check(request("two neurons that are not supported", tmp_path))
    assert [reason.partition(" cannot")[0] for reason in found.refusals] == [
        "the neuron 'n2' (spikingjelly.QIFNode)",
        "the neuron 'n3' (spikingjelly.EIFNode)",
    ]
    rows = {module.name: module.becomes for module in found.modules}
    assert [rows[name] for name in ("n1", "n2", "n3", "n4", "conv1")] == [
        *(Becomes.NEURON, Becomes.REFUSED, Becomes.REFUSED, Becomes.NEURON),
        Becomes.NOT_REACHED,
    ]
    assert found.network is None
    assert found.models is None


def test_all_neurons_with_other_equations_are_named(tmp_path):
    found = check(request("two neurons with other equations", tmp_path))
    assert [reason.partition(" of its")[0] for reason in found.refusals] == [
        "'n2' does not follow the equations",
        "'n4' does not follow the equations",
    ]
    becomes = {module.name: module.becomes for module in found.modules}
    assert [becomes[f"n{i}"] for i in (1, 2, 3, 4)] == [Becomes.NEURON, Becomes.REFUSED] * 2


@pytest.mark.parametrize("shape", [(4, 2, 4, 4), (4, 2, 5, 5)])
def test_nothing_is_written(shape, tmp_path, monkeypatch):
    """Neither into the folder of the user's module, nor is anything left in that of temporary files or of the cache."""
    places = {name: tmp_path / name for name in ("work", "tmp", "cache")}
    for place in places.values():
        place.mkdir()
    monkeypatch.chdir(places["work"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(places["cache"]))
    monkeypatch.setattr("tempfile.tempdir", str(places["tmp"]))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (places["work"] / "checked_net.py").write_text(networks.OWN_NETWORK)
    sys.modules.pop("checked_net", None)
    asked = ExportRequest(model="checked_net:Net", shape=shape, layout="TN", out=Path("a.bundle"))
    assert check(asked).accepted == (shape == (4, 2, 4, 4))
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["checked_net.py"]
    assert sys.dont_write_bytecode is False


@pytest.mark.parametrize(("share", "is_open"), [(1000.0, True), pytest.param(0.0, False, marks=pytest.mark.slow)])
def test_no_engine_is_built_to_decide_on_spike_counts(simulated, share, is_open, tmp_path, monkeypatch):
    def built(request: object) -> None:
        raise AssertionError(request)

    monkeypatch.setattr(trials, "build", built)
    monkeypatch.setattr(spike_counts, "SHARE", share)
    (tmp_path / "undecided_net.py").write_text(networks.OWN_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    asked = ExportRequest(
        model="undecided_net:Net", shape=(4, 2, 4, 4), layout="TN", out=tmp_path / "a.bundle", target="tensorrt"
    )
    found = check(asked)
    assert found.accepted
    says = "An export builds two engines to decide whether model.plain.onnx returns spike counts"
    assert any(remark.startswith(says) for remark in found.remarks) == is_open


def test_what_this_machine_lacks_is_not_said_of_the_network(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "installed", list)
    with pytest.raises(Unavailable, match="`target` tensorrt needs the package tensorrt"):
        check(request("too few class names", tmp_path, target="tensorrt"))


def test_a_bug_is_no_refusal(tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(models, "trained_network", fails)
    with pytest.raises(ZeroDivisionError):
        check(ExportRequest(model=own.awake(own.Window(*own.activation_based("m"))), out=tmp_path / "b"))
