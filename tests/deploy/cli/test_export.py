from __future__ import annotations

import importlib
import json

import pytest
import torch

from tcja_runtime.bundle.bundle import Bundle

from ... import networks


def test_export_verify_and_inspect(run, tmp_path, monkeypatch, name, data):
    monkeypatch.chdir(tmp_path)
    checkpoint = networks.SMALL[name].checkpoint(tmp_path / "model.pth")
    code, out, err = run("export", checkpoint, "--data", data[name], "--target", "onnx")
    assert code == 0
    assert "Parity met" in out
    said = "Accuracy: 10 of 12 windows before the export, 10 of 12 windows after it in ONNX Runtime"
    assert said in " ".join(out.split())
    assert len(out.splitlines()) <= 12
    assert "Bundle: model.bundle" in out
    assert "compare with PyTorch" in err

    code, out, _ = run("verify", "model.bundle")
    assert code == 0
    assert "Parity met" in out
    assert f"12 windows ({name}.npz)" in out

    code, out, _ = run("inspect", "model.bundle")
    assert code == 0
    assert f"Network: {name}, " in out
    assert f"T = {networks.SMALL[name].sizes.time_steps}, " in out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_export_as_json(run, tmp_path, name, data):
    checkpoint = networks.SMALL[name].checkpoint(tmp_path / "model.pth")
    out_path = tmp_path / "out.bundle"
    options = ("--out", out_path, "--data", data[name], "--samples", 5, "--target", "onnx", "--json")
    code, out, _ = run("export", checkpoint, *options)
    assert code == 0
    said = json.loads(out)
    assert said["bundle"] == str(out_path)
    assert said["network"] == name
    assert said["time_steps"] == networks.SMALL[name].sizes.time_steps
    assert said["parity"]["met"] is True
    assert said["parity"]["windows"] == 5
    assert [found["agreement"] for found in said["parity"]["backends"]] == [1.0]
    assert said["layers"][0]["neuron"]["tau"] == 2.0


@pytest.mark.tensorrt
@pytest.mark.rtx
def test_export_with_an_engine(run, tmp_path):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    code, out, _ = run(
        "export", checkpoint, "--out", tmp_path / "a.bundle", "--target", "tensorrt-rtx", "--batch", "1:2:4"
    )
    assert code == 0
    assert "Engine sm80" in out
    manifest = Bundle.open(tmp_path / "a.bundle").manifest
    assert manifest.targets == ["onnx", "tensorrt-rtx"]
    (info,) = manifest.engines.values()
    assert info.batch == (1, 2, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dvs128"])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_export_in_lower_precision(run, tmp_path, name, data, precision):
    checkpoint = networks.SMALL[name].checkpoint(tmp_path / "model.pth")
    options = ("--data", data[name], "--target", "onnx", "--precision", precision, "--keep", "nothing")
    code, out, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", "--verbose", *options)
    assert code == 0
    assert f"{precision.upper()}: " in out
    assert "Parity met" in out
    assert ("calibrate (" in err) == (precision == "int8")
    manifest = Bundle.open(tmp_path / "a.bundle").manifest
    assert manifest.precision == precision
    assert precision in {weight.type for weight in manifest.weights}
    assert run("verify", tmp_path / "a.bundle")[0] == 0


@pytest.mark.slow
def test_what_is_to_be_kept_must_be_there(run, tmp_path):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    options = ("--target", "onnx", "--samples", "1", "--keep", "conv.99")
    code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", *options, "--precision", "fp16")
    assert code == 2
    assert "--keep conv.99 names neither a layer with weights nor a spiking layer; there are" in err
    code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", *options)
    assert code == 2
    assert "--keep says what stays in float32 in a lower precision; give --precision too" in err


@pytest.mark.slow
def test_without_data_the_windows_are_drawn_and_it_is_said(run, tmp_path):
    checkpoint = networks.SMALL["dvs128"].checkpoint(tmp_path / "model.pth")
    code, out, _ = run("export", checkpoint, "--out", tmp_path / "a.bundle", "--target", "onnx")
    assert code == 0
    assert "No real data was used" in " ".join(out.split())
    assert "No real data was used" in (tmp_path / "a.bundle" / "report.html").read_text()


@pytest.mark.slow
def test_how_recordings_are_cut_is_said_in_the_bundle(run, tmp_path):
    checkpoint = networks.SMALL["dvs128"].checkpoint(tmp_path / "model.pth")
    options = ("--out", tmp_path / "a.bundle", "--target", "onnx", "--samples", "1")
    code, out, _ = run("export", checkpoint, *options, "--split", "duration:20ms", "--json")
    assert code == 0
    taken = Bundle.open(tmp_path / "a.bundle").manifest.input
    assert (taken.split, taken.duration, taken.polarity) == ("duration", 20_000, ("off", "on"))
    assert json.loads(out)["input"]["duration"] == 20_000
    assert "recordings cut by duration:20000us" in (tmp_path / "a.bundle" / "report.html").read_text()


@pytest.mark.parametrize(
    ("network", "rule", "said"),
    [
        ("dvs128", "frames", "--split frames must be number, time, duration:TIME or duration-grid:TIME (SpikingJelly)"),
        ("fashion_mnist", "time", "--split time cuts recordings into frames, but the network takes images; leave it"),
    ],
)
def test_how_recordings_cannot_be_cut(run, tmp_path, network, rule, said):
    checkpoint = networks.SMALL[network].checkpoint(tmp_path / "model.pth")
    code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", "--target", "onnx", "--split", rule)
    assert code == 2
    assert said in err
    assert not (tmp_path / "a.bundle").exists()


@pytest.mark.slow
def test_silent_layers_are_named(run, tmp_path):
    """Without input nothing fires, and that nothing differs then says little."""
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(
        tmp_path / "model.pth", fc__1__0__weight=torch.zeros(32, 392)
    )
    options = ("--out", tmp_path / "a.bundle", "--target", "onnx", "--samples", "1")
    code, out, _ = run("export", checkpoint, *options)
    assert code == 0
    assert "2 of 4 spiking layers never fired on this window, which proves little about fc.2, fc.5." in " ".join(
        out.split()
    )
    assert "which proves little about fc.2, fc.5." in (tmp_path / "a.bundle" / "report.html").read_text()


@pytest.mark.slow
def test_class_names(run, tmp_path, data):
    checkpoint = networks.SMALL["dvs128"].checkpoint(tmp_path / "model.pth")
    options = ("--target", "onnx", "--samples", "1", "--data", data["dvs128"])
    (tmp_path / "names.txt").write_text("left\nright\n\nup\n")
    run("export", checkpoint, "--out", tmp_path / "file.bundle", "--classes", tmp_path / "names.txt", *options)
    run("export", checkpoint, "--out", tmp_path / "list.bundle", "--classes", "left, right,up", *options)
    for bundle in ("file.bundle", "list.bundle"):
        assert Bundle.open(tmp_path / bundle).manifest.classes == ["left", "right", "up"]
    code, _, err = run("export", checkpoint, "--out", tmp_path / "c.bundle", "--classes", "one,two", *options)
    assert (code, err.splitlines()[-1]) == (2, "error: --classes names 2 classes, the network has 3")


@pytest.mark.slow
def test_the_report_is_written_where_asked(run, tmp_path):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    report = tmp_path / "new" / "folder" / "report.html"
    options = ("--target", "onnx", "--samples", "1", "--judge", "5", "--batch", "2", "--report", report)
    code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", *options)
    assert code == 0
    assert "--batch 2:2:2 is for an engine, and none is built" in err
    assert "--judge is 5, but there is 1 window; it is used" in err
    assert report.read_text() == (tmp_path / "a.bundle" / "report.html").read_text()


@pytest.mark.slow
def test_nothing_in_a_text_is_taken_for_markup(run, tmp_path):
    """Brackets and colons are parts of names."""
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "a[red] :car:.pth")
    out_path = tmp_path / "b[/] :car:.bundle"
    code, out, _ = run("export", checkpoint, "--out", out_path, "--target", "onnx", "--samples", "1")
    assert code == 0
    assert "fashion_mnist from a[red] :car:.pth: " in out
    assert f"Bundle: {out_path} " in out
    assert f"{out_path} is a bundle" in "".join(run("inspect", out_path)[1].splitlines())


STRANGE = (
    networks.OWN_LIF
    + """
class Strange(nn.Module):
    def forward(self, x):
        return (x.cumsum(0) >= 1.0).to(x.dtype)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.known, self.second, self.strange, self.last = (
            nn.Linear(32, 16), LIF(), nn.Linear(16, 16), Strange(), nn.Linear(16, 3)
        )
        generator = torch.Generator().manual_seed(0)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator) * (0.7 if p.ndim > 1 else 0.0)

    def forward(self, x):
        return self.last(self.strange(self.second(self.known(self.first(x.flatten(2)))))).mean(0)
"""
)


@pytest.mark.slow
def test_a_module_that_fires_unjudged_is_named_everywhere(run, tmp_path, monkeypatch):
    """By export, and by verify from the manifest alone, in text, JSON and the report."""
    (tmp_path / "strange_net.py").write_text(STRANGE)
    monkeypatch.syspath_prepend(tmp_path)
    torch.save(importlib.import_module("strange_net").Net().state_dict(), tmp_path / "w.pth")
    out_path = tmp_path / "a.bundle"
    own = ("--model", "strange_net:Net", "--shape", "4,2,4,4", "--layout", "TN", "--target", "onnx", "--anytime", 0)
    code, out, _ = run("export", tmp_path / "w.pth", *own, "--out", out_path)
    assert code == 0
    said = (
        "Parity met: not one spike differs in the 1 firing layer that is judged. 1 of 2 firing layers is not judged: "
        "strange (Strange). It compares values with a threshold, but is not a known neuron; register its class "
        "and export again. No real data was used (--data), so accuracy is unknown."
    )
    assert said in " ".join(out.split())
    code, again, _ = run("verify", out_path)
    assert (code, said in " ".join(again.split())) == (0, True)
    manifest = Bundle.open(out_path).manifest
    assert [str(layer) for layer in manifest.unjudged] == manifest.parity.unjudged == ["strange (Strange)"]
    verified = json.loads(run("verify", out_path, "--json")[1])
    assert verified["unjudged"] == json.loads((out_path / "parity.json").read_text())["unjudged"]
    assert "1 of 2 firing layers is not judged: strange (Strange)." in verified["cautions"][0]
    assert "1 of 2 firing layers is not judged: strange (Strange)." in (out_path / "report.html").read_text()


@pytest.mark.slow
def test_int8_without_data_must_be_asked_for_by_name(run, tmp_path, data):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    out_path = tmp_path / "a.bundle"
    options = ("--out", out_path, "--target", "onnx", "--keep", "nothing")
    code, _, err = run("export", checkpoint, *options, "--precision", "int8")
    assert code == 2
    assert err.splitlines()[-1] == (
        "error: --precision int8 measures its scales on windows, which should be real: give --data; or accept scales "
        "of random windows, which are wrong for others, with --calibration random"
    )
    for more in (("--precision", "fp16"), ("--precision", "int8", "--data", data["fashion_mnist"])):
        code, _, err = run("export", checkpoint, *options, "--calibration", "random", *more)
        assert code == 2
        assert "--calibration random measures the scales of --precision int8 without --data" in err
    assert not out_path.exists()
    code, out, _ = run("export", checkpoint, *options, "--precision", "int8", "--calibration", "random")
    assert code == 0
    said = "The int8 scales were calibrated on random windows: export with --data to measure them on real ones."
    assert said in " ".join(out.split())
    assert said in " ".join(run("verify", out_path)[1].split())
    assert "The int8 scales were calibrated on random windows" in (out_path / "report.html").read_text()
    assert json.loads((out_path / "parity.json").read_text())["calibration"]["real"] is False
