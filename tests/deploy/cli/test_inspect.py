from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

from tcja_deploy import console
from tcja_exporters.networks import NETWORKS
from tcja_runtime.model_file import protobuf

from ... import networks
from ...runtime.bundle.sealing import reseal


def test_inspect_a_checkpoint(run, tmp_path, name):
    checkpoint = networks.SMALL[name].checkpoint(tmp_path / "model.pth")
    code, out, _ = run("inspect", checkpoint, "--json")
    assert code == 0
    facts = json.loads(out)
    assert (facts["kind"], facts["network"]) == ("checkpoint", name)
    assert facts["parameters"] == sum(p.numel() for p in networks.SMALL[name].module().parameters())
    assert len(facts["tensors"]) == len(networks.SMALL[name].state())
    assert facts["classes"] == list(NETWORKS[name].classes(networks.SMALL[name].sizes))
    assert f"T = {networks.SMALL[name].sizes.time_steps}" in run("inspect", checkpoint)[1]


@pytest.mark.parametrize("file", ["model.onnx", "model.plain.onnx"])
def test_inspect_a_model(run, bundle, file):
    code, out, _ = run("inspect", bundle / file, "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["kind"] == "onnx"
    assert facts["ir_version"] == 8
    assert facts["functions"] == (["tcja::TcjaLif"] if file == "model.onnx" else [])
    assert facts["metadata"]["network"] == bundle.stem
    assert "Operators" in run("inspect", bundle / file)[1]


def test_inspect_a_nir_graph(run, tmp_path):
    nir = pytest.importorskip("nir")
    shape = {"input_type": {"input": np.array([6])}, "output_type": {"output": np.array([5])}}
    lif = nir.LIF(**{name: np.full(5, 0.25) for name in ("tau", "r", "v_leak", "v_threshold", "v_reset")})
    nodes = {"input": nir.Input(shape["input_type"]), "fc": nir.Linear(np.zeros((5, 6))), "lif": lif}
    nodes["output"] = nir.Output(shape["output_type"])
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, [("input", "fc"), ("fc", "lif"), ("lif", "output")]))
    code, out, _ = run("inspect", tmp_path / "net.nir", "--json")
    assert code == 0
    facts = json.loads(out)
    assert [each["type"] for each in facts["nodes"]] == ["Input", "Linear", "LIF", "Output"]
    assert facts["nodes"][1] == {"node": "fc", "type": "Linear", "from": "input", "values": "weight 0"}
    text = " ".join(run("inspect", tmp_path / "net.nir")[1].split())
    assert "is a NIR graph of 4 nodes" in text
    assert "--set says them in an export" in text
    assert (
        "does not store its time steps; export it, and give the bundle"
        in run("inspect", tmp_path / "net.nir", "--device", "orin-nano")[2]
    )
    assert run("inspect", tmp_path / "net.nir", "--network", "dvs128")[2].endswith("is for checkpoints; leave it out\n")


ODD = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e\nParity met\u2028Parity met\r"


def test_texts_of_a_bundle_do_not_drive_the_terminal(run, bundle, name, monkeypatch):
    """Whoever makes a bundle can write any text into it: models without metadata contradict none."""
    monkeypatch.setattr(console.out, "_width", 100_000)  # no line is wrapped, so all lines are those of the texts
    for file in ("model.onnx", "model.plain.onnx"):
        fields = protobuf.fields((bundle / file).read_bytes())
        (bundle / file).write_bytes(b"".join(field for number, field, _ in fields if number != 14))
    content = json.loads((bundle / "manifest.json").read_text())
    for file in ("model.onnx", "model.plain.onnx"):
        model = (bundle / file).read_bytes()
        content["files"][file] = {"sha256": hashlib.sha256(model).hexdigest(), "bytes": len(model)}
    texts = {key: content[key] + ODD for key in ("producer", "created", "network", "dialect")}
    told = {key: [ODD] for key in ("cautions",)} | {"reference": ODD, "source": ODD, "verdict": ODD}
    lists = {"evidence": [ODD, f"check this: {ODD}"], "classes": [each + ODD for each in content["classes"]]}
    parity = {**content["parity"], **told}
    reseal(bundle, files=content["files"], parity=parity, tools={ODD: ODD}, **texts, **lists)
    for options in ([], ["--verbose"]):
        code, out, err = run("inspect", bundle, *options)
        assert (code, err) == (0, "")
        assert not [each for each in out if each not in "\n\xa0" and not each.isprintable()]
        assert not [line for line in out.splitlines() if line.startswith("Parity met")]


def test_inspect_what_is_no_model(run, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"junk")
    code, _, err = run("inspect", tmp_path / "a.onnx")
    assert code == 2
    assert "a.onnx is not a valid ONNX model" in err


def test_inspect_says_what_a_bundle_costs(run, bundle):
    code, out, err = run("inspect", bundle, "--device", "orin-nano:7W", "--batch", "2")
    assert code == 0
    assert "Network: " in out
    assert "Jetson Orin Nano 8GB, power mode 7W (7 W): at most 836" in out
    assert "Data Sheet, DS-11105-001 v1.5" in " ".join(out.split())
    assert "Costs of 2 windows at a time" in out
    assert "Synaptic operations of a window" in out
    assert "measure the firing rates" in err
    _, out, _ = run("inspect", bundle, "--device", "orin-nano:7W", "--batch", "2", "--json")
    facts = json.loads(out)
    costs = facts["costs"]
    assert facts["kind"] == "bundle"
    assert (costs["board"]["name"], costs["mode"]["watts"], costs["batch"]) == ("orin-nano", 7, 2)
    assert costs["board"]["modes"] == ["15W", "7W"]
    assert costs["board"]["peaks"]["fp32"] == pytest.approx(1024 * 2 * 408e6)
    total, layers = costs["total"], costs["layers"]
    for figure in ("macs", "operations", "parameters", "bytes_moved", "seconds", "joules"):
        assert sum(layer[figure] for layer in layers) == pytest.approx(total[figure])
    assert total["joules"] == pytest.approx(7 * total["seconds"])
    assert costs["dense_joules"] == pytest.approx(total["macs"] / 2 * 4.6e-12)
    assert sum(layer["joules"] for layer in costs["synapses"]) == pytest.approx(costs["synaptic_joules"])
    assert 0 < costs["synaptic_joules"] < costs["dense_joules"]
    assert sum(2 * layer["macs"] for layer in costs["synapses"]) == total["macs"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dvs128"])
def test_without_a_bundle_no_firing_rates_are_known(run, tmp_path, bundle, name):
    expected = json.loads(run("inspect", bundle, "--device", "thor", "--json")[1])["costs"]
    checkpoint = networks.SMALL[name].checkpoint(tmp_path / "a.pth")
    for file in (checkpoint, bundle / "model.onnx", bundle / "model.plain.onnx"):
        costs = json.loads(run("inspect", file, "--device", "thor", "--json")[1])["costs"]
        assert (costs["synapses"], costs["synaptic_joules"], costs["measured_on"]) == (None, None, None)
        assert costs["total"]["macs"] == expected["total"]["macs"]
        if file.name != "model.plain.onnx":  # in which a neuron is several nodes
            assert costs["layers"] == expected["layers"]
    code, out, _ = run("inspect", file, "--device", "thor")
    assert code == 0
    assert "Synaptic operations are counted from firing rates, which only a bundle has" in " ".join(out.split())


def test_inspect_without_a_device_says_no_costs(run, bundle):
    assert "costs" not in json.loads(run("inspect", bundle, "--json")[1])


def test_inspect_lists_the_sets_of_weights_and_what_is_no_weight(run, tmp_path):
    state = networks.SMALL["dvs128"].state()
    average = {f"module.{key}": value for key, value in state.items()}
    content = {"net": state, "ema": {"n_averaged": torch.tensor(3), **average}, "epoch": 7, "args": {"T": 9, "lr": 0.1}}
    torch.save(content, tmp_path / "a.pth")
    code, out, _ = run("inspect", tmp_path / "a.pth", "--json")
    facts = json.loads(out)
    assert code == 0
    assert [(row["weights"], row["taken"]) for row in facts["sets_of_weights"]] == [("net", "yes"), ("ema", "no")]
    assert facts["not_weights"] == ["epoch = 7", "args (T = 9, lr = 0.1)"]
    assert "check this: the weights are 'net'; a.pth also has 'ema': choose with `weights`" in facts["evidence"]
    assert "check this: the checkpoint says args.T = 9, but T is 5 here" in facts["evidence"]
    code, out, _ = run("inspect", tmp_path / "a.pth", "--weights", "ema")
    assert code == 0
    assert "the weights are 'ema'; a.pth also has 'net': choose with --weights" in " ".join(out.split())


def test_inspect_a_checkpoint_of_an_unknown_network(run, tmp_path):
    torch.save(
        {"student": {"a.weight": torch.ones(2, 3)}, "teacher": {"a.weight": torch.ones(2, 3)}}, tmp_path / "a.pth"
    )
    code, out, err = run("inspect", tmp_path / "a.pth")
    assert code == 0
    assert "a.pth is of no known network" in err
    assert "A network of your own is exported with --model" in err
    assert "student" in out
    facts = json.loads(run("inspect", tmp_path / "a.pth", "--json")[1])
    assert facts["network"] is None
    rows = [(row["weights"], row["taken"]) for row in facts["sets_of_weights"]]
    assert rows == [("student", "no"), ("teacher", "no")]
    assert facts["tensors"] == [{"key": "a.weight", "shape": "2x3", "type": "torch.float32"}]
    assert run("inspect", tmp_path / "a.pth", "--network", "dvs128")[0] == 2
