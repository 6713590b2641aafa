from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_deploy import packages
from tcja_exporters.networks import NETWORKS
from tcja_runtime.bundle.bundle import Bundle, write_manifest
from tcja_runtime.tensorrt import build

from ... import networks


@networks.BOTH
def test_export_verify_and_inspect(run, tmp_path, monkeypatch, name, data):
    monkeypatch.chdir(tmp_path)
    checkpoint = networks.SMALL[name].checkpoint(tmp_path / "model.pth")
    code, out, err = run("export", checkpoint, "--data", data[name], "--target", "onnx")
    assert code == 0
    assert "Parity met" in out
    assert "83.33\N{NO-BREAK SPACE}%" in out  # ten of twelve labels are right
    assert "Bundle: model.bundle" in out
    assert "compare with PyTorch" in err

    code, out, _ = run("verify", "model.bundle")
    assert code == 0
    assert "Parity met" in out
    assert f"12 windows ({name}.npz)" in out

    code, out, _ = run("inspect", "model.bundle")
    assert code == 0
    assert f"network: {name}" in out
    assert f"time steps: {networks.SMALL[name].sizes.time_steps}" in out


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
@pytest.mark.skipif("tensorrt-rtx" not in build.installed(), reason="tensorrt-rtx is not installed")
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


@pytest.mark.parametrize("precision", [pytest.param("fp16", marks=pytest.mark.slow), "int8"])
def test_export_in_lower_precision(run, tmp_path, name, data, precision):
    checkpoint = networks.SMALL[name].checkpoint(tmp_path / "model.pth")
    options = ("--data", data[name], "--target", "onnx", "--precision", precision, "--keep", "nothing")
    code, out, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", *options)
    assert code == 0
    assert f"{precision.upper()}: " in out
    assert "Parity met" in out
    assert ("calibrate on" in err) == (precision == "int8")
    manifest = Bundle.open(tmp_path / "a.bundle").manifest
    assert manifest.precision == precision
    assert precision in {weight.type for weight in manifest.weights}
    assert run("verify", tmp_path / "a.bundle")[0] == 0


def test_what_is_to_be_kept_must_be_there(run, tmp_path):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    options = ("--target", "onnx", "--samples", "1", "--keep", "conv.99")
    code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", *options, "--precision", "fp16")
    assert code == 2
    assert "--keep conv.99 names neither a layer with weights nor a spiking layer; there are" in err
    code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", *options)
    assert code == 2
    assert "--keep says what stays in float32 in a lower precision; give --precision too" in err


def test_without_data_the_windows_are_drawn_and_it_is_said(run, tmp_path):
    checkpoint = networks.SMALL["dvs128"].checkpoint(tmp_path / "model.pth")
    code, out, _ = run("export", checkpoint, "--out", tmp_path / "a.bundle", "--target", "onnx")
    assert code == 0
    assert "No real data was used" in " ".join(out.split())
    assert "No real data was used" in (tmp_path / "a.bundle" / "report.html").read_text()


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
        ("dvs128", "frames", "--split frames must be number, time, duration:TIME or duration-grid:TIME, such as"),
        ("fashion_mnist", "time", "--split time cuts recordings into frames, but the network takes images; leave it"),
    ],
)
def test_how_recordings_cannot_be_cut(run, tmp_path, network, rule, said):
    checkpoint = networks.SMALL[network].checkpoint(tmp_path / "model.pth")
    code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", "--target", "onnx", "--split", rule)
    assert code == 2
    assert said in err
    assert not (tmp_path / "a.bundle").exists()


def test_silent_layers_are_named(run, tmp_path):
    """Without input nothing fires, and that nothing differs then says little."""
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(
        tmp_path / "model.pth", fc__1__0__weight=torch.zeros(32, 392)
    )
    options = ("--out", tmp_path / "a.bundle", "--target", "onnx", "--samples", "1")
    code, out, _ = run("export", checkpoint, *options)
    assert code == 0
    assert "No spike was seen in fc.2, fc.5: this data proves little about it." in " ".join(out.split())
    assert "No spike was seen in fc.2, fc.5" in (tmp_path / "a.bundle" / "report.html").read_text()


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


def test_the_report_is_written_where_asked(run, tmp_path):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    options = ("--target", "onnx", "--samples", "1", "--report", tmp_path / "report.html")
    assert run("export", checkpoint, "--out", tmp_path / "a.bundle", *options)[0] == 0
    assert (tmp_path / "report.html").read_text() == (tmp_path / "a.bundle" / "report.html").read_text()


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
    assert facts["ir_version"] == 10
    assert facts["functions"] == (["tcja::TcjaLif"] if file == "model.onnx" else [])
    assert facts["metadata"]["network"] == bundle.stem
    assert "operators" in run("inspect", bundle / file)[1]


def test_inspect_what_is_no_model(run, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"junk")
    code, _, err = run("inspect", tmp_path / "a.onnx")
    assert code == 2
    assert "a.onnx is not a valid ONNX model" in err


def test_inspect_says_what_a_bundle_costs(run, bundle):
    code, out, err = run("inspect", bundle, "--device", "orin-nano:7W", "--batch", "2")
    assert code == 0
    assert "network: " in out
    assert "Jetson Orin Nano 8GB, power mode 7W (7 W): at most 836" in out
    assert "Data Sheet, DS-11105-001 v1.5" in " ".join(out.split())
    assert "Costs of 2 windows at a time" in out
    assert "Synaptic operations of a window" in out
    assert "measure firing rates" in err
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


@pytest.mark.parametrize("kind", ["checkpoint", "model.onnx", "model.plain.onnx"])
def test_without_a_bundle_no_firing_rates_are_known(run, tmp_path, bundle, name, kind):
    file = networks.SMALL[name].checkpoint(tmp_path / "a.pth") if kind == "checkpoint" else bundle / kind
    _, out, _ = run("inspect", file, "--device", "thor", "--json")
    costs = json.loads(out)["costs"]
    _, out, _ = run("inspect", bundle, "--device", "thor", "--json")
    expected = json.loads(out)["costs"]
    assert (costs["synapses"], costs["synaptic_joules"], costs["measured_on"]) == (None, None, None)
    assert costs["total"]["macs"] == expected["total"]["macs"]
    if kind != "model.plain.onnx":  # in which a neuron is several nodes
        assert costs["layers"] == expected["layers"]
    code, out, _ = run("inspect", file, "--device", "thor")
    assert code == 0
    assert "Synaptic operations need firing rates, which a bundle holds" in " ".join(out.split())


def test_inspect_without_a_device_says_no_costs(run, bundle):
    assert "costs" not in json.loads(run("inspect", bundle, "--json")[1])


def test_doctor(run):
    code, out, _ = run("doctor", "--json")
    assert code == 0
    found = {finding["what"]: finding for finding in json.loads(out)}
    assert found["verify bundles"]["able"]
    assert found["export checkpoints"]["able"]
    assert f"torch {torch.__version__}" in found["export checkpoints"]["detail"]
    assert "never run in a real TensorRT" in found["build engines with the plugin for this machine's GPU"]["detail"]
    assert all(finding["fix"] or finding["able"] or "GPU" in finding["what"] for finding in found.values())


def test_doctor_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr("tcja_deploy.doctor._EXPORT", ("torch", "no-such-package"))
    lines = [line.strip() for line in run("doctor")[1].splitlines()]
    at = lines.index("no   export checkpoints: no-such-package not installed")
    assert lines[at + 1] == "pip install 'tcja-deploy[export]'"


def test_nothing_in_a_text_is_taken_for_markup(run, tmp_path):
    """Brackets and colons are parts of names."""
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "a[red] :car:.pth")
    out_path = tmp_path / "b[/] :car:.bundle"
    code, out, _ = run("export", checkpoint, "--out", out_path, "--target", "onnx", "--samples", "1")
    assert code == 0
    assert "fashion_mnist from a[red] :car:.pth: " in out
    assert f"Bundle: {out_path} " in out
    assert f"path: {out_path}" in "".join(run("inspect", out_path)[1].splitlines())


def test_verify_fails_with_exit_code_1(run, tmp_path, bundle):
    manifest = Bundle.open(bundle).manifest
    with np.load(bundle / "golden.npz") as archive:
        golden = dict(archive)
    golden["output"] = golden["output"][::-1] + 0.5
    np.savez_compressed(bundle / "golden.npz", **golden)
    write_manifest(bundle, manifest)
    code, out, err = run("verify", bundle)
    assert code == 1
    assert "Parity not met" in out
    assert err.splitlines()[-1].startswith("error: ONNX Runtime ")
    code, out, _ = run("verify", bundle, "--json")
    assert (code, json.loads(out)["met"]) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export"], "Missing argument 'checkpoint'"),
        (["export", "a.pth", "--colour"], "No such option: --colour"),
        (["export", "a.pth", "--target", "tpu"], "'tpu' is not one of 'auto', 'onnx', 'tensorrt', 'tensorrt-rtx'"),
        (["export", "a.pth", "--precision", "fp8"], "'fp8' is not"),
        (["export", "a.pth", "--samples", "many"], "Invalid value for '--samples'"),
        (["export", "a.pth", "--batch", "8:1:1"], "--batch 8:1:1: 1 <= MIN <= OPT <= MAX <= 1024 must hold"),
        (["export", "a.pth", "--batch", "1:1:99999999999999999999"], "1 <= MIN <= OPT <= MAX <= 1024 must hold"),
        (["export", "a.pth", "--samples", "9" * 30], "Invalid value for '--samples'"),
        (["export", "a.pth", "--classes", "."], "--classes '.' cannot be read: Is a directory"),
        (["export", "a.pth", "--classes", "nowhere.txt"], "nowhere.txt is neither a file nor a comma list of names"),
        (["export", "a.pth", "--classes", "latin.txt"], "latin.txt is not a text file in UTF-8"),
        (["deploy"], "No such command 'deploy'"),
        (["verify", "nowhere.bundle"], "nowhere.bundle does not exist"),
        (["inspect", "nowhere"], "nowhere does not exist"),
        (["inspect", "nowhere", "--device", "orin"], "--device orin is not known; there are orin-nano, orin-nano-4gb,"),
        (["inspect", "nowhere", "--device", "thor:1W"], "thor has the power modes 120W, MAXN, 90W, 70W"),
        (["inspect", "nowhere", "--device", "thor"], "nowhere does not exist"),
        (["inspect", "nowhere", "--batch", "2"], "name the board with --device"),
        (["inspect", "nowhere", "--device", "thor", "--batch", "0"], "Invalid value for '--batch'"),
    ],
)
def test_bad_usage_is_one_line(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.txt").write_bytes("Tür\nTor".encode("latin-1"))
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize("command", ["export", "verify", "bench", "run", "inspect", "doctor"])
def test_help_names_every_option(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "--json" in out
    assert "--verbose" in out


def test_without_arguments_the_help_is_shown(run):
    assert run() == (0, run("--help")[1], "")


def test_version(run):
    assert run("--version") == (0, f"tcja-deploy {importlib.metadata.version('tcja-deploy')}\n", "")


def test_version_where_it_runs_from_its_source(run, monkeypatch):
    monkeypatch.setattr(packages, "version", lambda _: None)
    assert run("--version") == (0, "tcja-deploy from its source\n", "")


@pytest.mark.parametrize("arguments", [["inspect"], ["inspect", "--json"], ["verify"], ["verify", "--json"]])
def test_a_reader_that_goes_away_changes_nothing(bundle, arguments):
    """The end of `tcja-deploy ... | head` is no failure of the work."""
    command = [sys.executable, "-m", "tcja_deploy", *arguments, str(bundle)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 0
    assert all(line.startswith("✓") for line in done.stderr.splitlines())


def test_an_output_that_cannot_be_written_is_said(bundle):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "tcja_deploy", "inspect", str(bundle)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "error: the output: No space left on device\n")


def test_a_terminal_without_unicode(bundle):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = [sys.executable, "-m", "tcja_deploy", "verify", str(bundle)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Parity met" in done.stdout


def test_control_characters_of_a_name_are_not_printed(run, tmp_path):
    torch.save({"a\n\033[31mb": torch.zeros(1)}, tmp_path / "a.pth")
    code, _, err = run("inspect", tmp_path / "a.pth")
    assert code == 2
    assert err.splitlines()[-1].endswith("its keys begin a  [31mb")


def test_verbose_shows_the_traceback(run, tmp_path):
    code, _, err = run("inspect", tmp_path / "none", "--verbose")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: ")


def test_a_bug_says_that_it_is_one(run, tmp_path, monkeypatch):
    def broken() -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("tcja_deploy.doctor.examine", broken)
    code, _, err = run("doctor")
    assert code == 70
    (line,) = err.splitlines()
    assert line.startswith("error: a bug in tcja-deploy")
    assert "ZeroDivisionError: two lines" in line


def test_colours_are_off_when_asked():
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color", "FORCE_COLOR": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tcja_deploy", "doctor"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0
    assert "\x1b[" not in done.stdout
