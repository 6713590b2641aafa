"""A user's network on the command line: exit code, one line, and what the bundle says."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_deploy.cli import app
from tcja_runtime.bundle.bundle import Bundle

from ... import networks

MODULE = (
    networks.OWN_NETWORK
    + """
def build():
    return Net()

class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x)

def parallel():
    return nn.DataParallel(Net())

def lazy():
    net = Net()
    net.a = nn.LazyLinear(16)
    return net
"""
)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with a user's module and trained weights, where the command is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mynet.py").write_text(MODULE)
    sys.modules.pop("mynet", None)
    generator = torch.Generator().manual_seed(0)
    shapes = {"a.weight": (16, 32), "a.bias": (16,), "b.weight": (3, 16), "b.bias": (3,)}
    torch.save({key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}, tmp_path / "w.pth")
    return tmp_path


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = app.run(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_export_and_verify(folder, capsys):
    frames = np.random.default_rng(0).poisson(1.0, (9, 5, 2, 4, 4)).astype(np.float32)
    np.savez(folder / "data.npz", frames=frames, labels=np.arange(9) % 3)
    arguments = ["--model", "mynet:build", "--layout", "TN", "--data", "data.npz", "--target", "onnx"]
    code, out, err = run(capsys, "export", "w.pth", *arguments, "--out", "own.bundle", "--weights-only", "--verbose")
    assert code == 0, err
    assert "Net from w.pth: T = 5, rates [N, 3], 579 parameters" in out
    assert "2 spiking layers of mynet.Net replaced: lif1 (mynet.LIF), lif2 (mynet.LIF)" in out
    manifest = Bundle.open(folder / "own.bundle").manifest
    assert (manifest.network, manifest.dialect, manifest.time_steps) == ("Net", "own", 5)
    assert (manifest.input.split, manifest.input.polarity) == (None, None)
    assert [layer.neuron.decay for layer in manifest.layers] == [0.5, 0.75]
    assert run(capsys, "verify", "own.bundle")[0] == 0


def test_per_step(folder, capsys):
    arguments = ["--model", "mynet:build", "--layout", "TN", "--shape", "4,2,4,4", "--target", "onnx", "--json"]
    options = ["--per-step", "--split", "time", "--out", "steps.bundle"]
    code, out, err = run(capsys, "export", "w.pth", *arguments, *options)
    assert code == 0, err
    said = json.loads(out)
    assert (said["input"]["split"], said["input"]["polarity"]) == ("time", ["off", "on"])
    assert (said["output"], said["output_shape"], said["parity"]["met"]) == ("rates_per_step", [4, 3], True)
    assert run(capsys, "verify", "steps.bundle")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "mynet:build"], "the shape of the network's windows is not known; give --shape or --data"),
        (
            ["--model", "mynet:build", "--shape", "4,x"],
            "--shape 4,x is not T,P,H,W, C,H,W, T,F or T,C,L, such as 10,2,128,128",
        ),
        (["--model", "mynet:build", "--shape", "4,2,4"], "the network fails on windows of shape (4, 2, 4): "),
        (["--model", "mynet:build", "--shape", "4,2,4,5", "--layout", "TN"], "shapes cannot be multiplied"),
        (["--model", "mynet:Build", "--shape", "4,2,4,4"], "--model mynet:Build: mynet has no function or class Build"),
        (
            ["--model", "mynet:build", "--network", "dvs128"],
            "--network and --set are for networks of the registry, not",
        ),
        (
            ["--model", "mynet:build", "--shape", "4,2,4,4", "--layout", "TN", "--classes", "a,b"],
            "--classes names 2 classes, the network has 3",
        ),
        (
            ["--model", "mynet:lazy", "--shape", "4,2,4,4"],
            "has layers without a shape yet (a.weight); the factory",
        ),
        (["--model", "mynet:build", "--shape", "9" * 30 + ",2,4,4"], "9,2,4,4 is too large; windows have at most"),
        (
            ["--model", "mynet:build", "--shape", "4,2,99999,99999"],
            "--shape 4,2,99999,99999 is too large; a window can have",
        ),
        (
            ["--shape", "4,2,4,4"],
            "--shape, --input and --layout say what --model takes; give --model too, --trust-checkpoint if the file",
        ),
        (
            ["--layout", "step"],
            "--shape, --input and --layout say what --model takes; give --model too, --trust-checkpoint if the file",
        ),
        (["--model", "mynet:build", "--shape", "4,2,4,4", "--classes", ""], "--classes has no class names"),
        (["--model", "mynet:build", "--shape", "4,2,4,4", "--classes", "a,b,a"], "--classes has the name 'a' twice"),
        (["--set", "T"], "--set T is not NAME=VALUE, such as T=10"),
        (["--set", "T=4", "--set", "T=5"], "--set T is given twice, as 4 and as 5"),
    ],
)
def test_bad_usage_is_one_line(folder, capsys, arguments, message):
    code, out, err = run(capsys, "export", "w.pth", "--target", "onnx", "--out", "b", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len([line for line in err.strip().splitlines() if not line.startswith("✓")]) == 1
    assert not (folder / "b").exists()


def test_weights_of_another_network_are_refused(folder, capsys):
    torch.save({"a.weight": torch.zeros(16, 31), "c": torch.zeros(1)}, folder / "w.pth")
    code, _, err = run(capsys, "export", "w.pth", "--model", "mynet:build", "--shape", "4,2,4,4", "--out", "b")
    assert code == 2
    assert "w.pth does not fit this mynet.Net: a.bias is missing; b.weight is missing; b.bias is missing; and 2" in err


FACTORIES, PREFIXES = ("build", "Wrapped", "parallel"), ("", "net.", "module.", "module.net.")
QUICK = {("build", "module.net."), ("parallel", "net.")}


@pytest.mark.parametrize(
    ("factory", "prefix"),
    [
        pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow)
        for case in itertools.product(FACTORIES, PREFIXES)
    ],
)
def test_prefixes_may_differ_on_either_side(folder, capsys, factory, prefix):
    state = torch.load(folder / "w.pth")
    torch.save({prefix + key: value for key, value in state.items()}, folder / "w.pth")
    options = ["--shape", "4,2,4,4", "--layout", "TN", "--target", "onnx", "--samples", "1", "--out", "b"]
    code, _, err = run(capsys, "export", "w.pth", "--model", f"mynet:{factory}", *options)
    assert code == 0, err


def test_a_network_without_weights_has_none_to_load(folder, capsys):
    code, _, err = run(capsys, "export", "w.pth", "--model", "torch.nn:Identity", "--shape", "4,2,4,4", "--out", "b")
    assert code == 2
    assert "w.pth does not fit this torch.Identity: a.weight is not part of it; a.bias is not part of it" in err


def test_a_whole_module_is_found_in_the_current_folder(folder, capsys):
    script = (
        "import torch, mynet; net = mynet.build(); net.load_state_dict(torch.load('w.pth')); torch.save(net, 'm.pth')"
    )
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)
    options = ["--shape", "4,2,4,4", "--layout", "TN", "--target", "onnx", "--samples", "1", "--trust-checkpoint"]
    code, out, err = run(capsys, "export", "m.pth", "--model", "mynet:build", *options, "--out", "b", "--verbose")
    assert code == 0, err
    assert "the saved module has the same neuron constants in all 2 spiking layers" in out
    assert "the saved module and the network return the same output on 2 windows" in out
    (folder / "mynet.py").unlink()
    sys.modules.pop("mynet")
    code, _, err = run(capsys, "inspect", "m.pth", "--trust-checkpoint")
    assert code == 2
    assert "m.pth stores an object of a class in the module mynet, which is neither in " in err
    assert "run this in the folder that contains it, or add that folder to PYTHONPATH" in err


def test_a_module_saved_with_other_constants_is_refused(folder, capsys):
    script = "import torch, mynet; net = mynet.build(); net.lif2.beta = 0.4; torch.save(net, 'm.pth')"
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)
    options = ["--shape", "4,2,4,4", "--layout", "TN", "--target", "onnx", "--trust-checkpoint", "--out", "b"]
    code, _, err = run(capsys, "export", "m.pth", "--model", "mynet:build", *options)
    assert code == 2
    assert "differ in the neurons of layer 'lif2': h = 0.4 v + x, h > 1, reset to 0 in the checkpoint, " in err
    assert "h = 0.75 v + x, h > 1, reset to 0 in the network" in err
    assert not (folder / "b").exists()


def test_the_chosen_weights_are_exported_and_the_constants_printed(folder, capsys):
    state = torch.load(folder / "w.pth")
    average = {"n_averaged": torch.tensor(2), **{f"module.{key}": value * 0.5 for key, value in state.items()}}
    torch.save({"model": state, "model_ema": average, "args": {"T": 8}}, folder / "w.pth")
    options = ["--shape", "4,2,4,4", "--layout", "TN", "--target", "onnx", "--samples", "1"]
    for chosen, other, name in (([], "model_ema", "model"), (["--weights", "model_ema"], "model", "model_ema")):
        more = [] if chosen else ["--verbose"]  # what is to be checked is said without it, too
        code, out, err = run(
            capsys, "export", "w.pth", "--model", "mynet:build", *options, *chosen, *more, "--out", name
        )
        assert code == 0, err
        out = " ".join(out.split())
        assert f"the weights are '{name}'; w.pth also has '{other}': choose with --weights" in out
        assert "check this: the checkpoint says args.T = 8, but T is 4 here" in out
        for layer, decay in (("lif1", "0.5"), ("lif2", "0.75")):
            assert (f"Neurons of {layer}: h = {decay} v + x, h > 1, reset to 0" in out) == bool(more)
        assert Bundle.open(folder / name).manifest.checkpoint["weights"] == name
    code, _, err = run(capsys, "export", "w.pth", "--model", "mynet:build", *options, "--weights", "ema", "--out", "b")
    assert code == 2
    assert "--weights ema: w.pth has no weights under this key; it has: model, model_ema" in err


def test_nothing_is_claimed_of_how_frames_were_made(folder, capsys):
    options = ["--shape", "4,2,4,4", "--layout", "TN", "--target", "onnx", "--samples", "1", "--out", "b"]
    assert run(capsys, "export", "w.pth", "--model", "mynet:build", *options)[0] == 0
    contract = Bundle.open(folder / "b").manifest.input
    assert (contract.split, contract.polarity) == (None, None)


def test_wrong_constants_are_exit_code_1(folder, capsys):
    (folder / "mynet.py").write_text(MODULE.replace("strict=True", "strict=False"))
    code, _, err = run(
        capsys, "export", "w.pth", "--model", "mynet:build", "--shape", "4,2,4,4", "--layout", "TN", "--out", "b"
    )
    assert code == 1
    assert "'lif1' does not follow the equations of its constants (own: h = 0.5 v + x, h >= 1, reset to 0)" in err
    assert not (folder / "b").exists()


def test_constants_that_the_factory_draws_at_random_are_refused(folder, capsys):
    drawn = "self.register_buffer('m', torch.rand(32), persistent=False)"
    (folder / "mynet.py").write_text(
        MODULE.replace("LIF(0.75)\n", f"LIF(0.75)\n        {drawn}\n").replace("flatten(2))", "flatten(2) + self.m)")
    )
    options = ["--shape", "4,2,4,4", "--layout", "TN", "--target", "onnx", "--out", "b"]
    code, _, err = run(capsys, "export", "w.pth", "--model", "mynet:build", *options)
    assert code == 2
    assert "'m' is not in the checkpoint, and is different each time mynet:build is called; give the factory" in err
    assert not (folder / "b").exists()
