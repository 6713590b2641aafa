"""Whatever goes wrong in an export gives one line and the right exit code, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_deploy.cli import app
from tcja_exporters.networks import NETWORKS

from ... import networks
from ...exporters.checkpoint.hostile import RunsCode


def lines(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def failed(tmp_path, capsys, monkeypatch):
    """Export a checkpoint that cannot be: exit code and the one line on stderr."""
    monkeypatch.chdir(tmp_path)

    def export(checkpoint: Path | str, *options: object) -> tuple[int, str]:
        before = lines(tmp_path)
        code = app.run(["export", str(checkpoint), *map(str, options)])
        captured = capsys.readouterr()
        assert captured.out == ""
        assert lines(tmp_path) == before
        messages = [line for line in captured.err.splitlines() if not line.startswith("✓")]
        (message,) = messages
        assert message.startswith("error: ")
        return code, message

    return export


def test_missing_file(failed):
    assert failed("nowhere.pth") == (2, "error: nowhere.pth does not exist")


def test_not_a_checkpoint(failed, tmp_path):
    (tmp_path / "a.pth").write_text("hello")
    assert failed("a.pth") == (
        2,
        "error: a.pth is a text that begins 'hello', not a checkpoint; pass the file that training saved with "
        "torch.save",
    )


def test_a_pickle_that_would_run_code(failed, tmp_path):
    RunsCode.target = str(tmp_path / "ran")
    torch.save({"net": RunsCode()}, tmp_path / "a.pth")
    code, message = failed("a.pth")
    assert code == 2
    assert "loading it would call posix.mkdir, which can run code" in message
    assert not (tmp_path / "ran").exists()


def test_truncated_file(failed, tmp_path):
    checkpoint = networks.SMALL["dvs128"].checkpoint(tmp_path / "a.pth")
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    assert failed("a.pth") == (2, "error: a.pth is truncated or damaged; copy it again")


def test_unknown_network(failed, tmp_path):
    torch.save({"layer.weight": torch.zeros(2, 2)}, tmp_path / "a.pth")
    code, message = failed("a.pth")
    assert code == 2
    assert message == (
        f"error: a.pth is of no known network ({', '.join(NETWORKS)}): its keys begin layer.weight. "
        "A network of your own is exported with --model"
    )
    networks.SMALL["dvs128"].checkpoint(tmp_path / "b.pth")
    assert failed("b.pth", "--network", "vgg") == (
        2,
        f"error: --network vgg must be one of {', '.join(NETWORKS)}",
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"conv__13__1__bias": None}, "conv.13.1.bias is missing"),
        ({"conv__3__0__weight": torch.zeros(6, 6, 5, 5)}, "conv.3.0.weight is 6x6x5x5, it should be 6x6x3x3"),
        (
            {"conv__15__conv__weight": torch.zeros(7, 7, 3)},
            "its tensors disagree on T: 5 in conv.11.conv.weight, 7 in conv.15.conv.weight",
        ),
        (
            {"fc__2__0__weight": torch.full((24, 24), torch.nan)},
            "fc.2.0.weight holds 576 values that are NaN, infinite or too large for float32",
        ),
    ],
    ids=["one key missing", "another shape", "T disagrees", "NaN"],
)
def test_weights_that_do_not_fit(failed, tmp_path, changed, message):
    networks.SMALL["dvs128"].checkpoint(tmp_path / "a.pth", **changed)
    code, said = failed("a.pth")
    assert code == 2
    assert message in said


def test_output_exists(failed, tmp_path):
    networks.SMALL["dvs128"].checkpoint(tmp_path / "a.pth")
    (tmp_path / "a.bundle").mkdir()
    assert failed("a.pth") == (2, "error: a.bundle exists; choose another --out or remove it")


@pytest.mark.parametrize("out", ["", "."])
def test_the_current_folder_is_no_new_bundle(failed, tmp_path, out):
    networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "a.pth")
    said = "error: --out is the current folder; name a new folder"
    assert failed("a.pth", "--out", out, "--target", "onnx") == (2, said)


def test_layers_to_keep_that_contradict(failed, tmp_path):
    networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "a.pth")
    options = ["--precision", "fp16", "--keep", "nothing", "--keep", "conv.0"]
    said = "error: --keep nothing keeps no layer, and --keep conv.0 does; leave one of them out"
    assert failed("a.pth", "--target", "onnx", *options) == (2, said)


def test_a_place_that_cannot_be_written(failed, tmp_path):
    networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "a.pth")
    (tmp_path / "file").write_text("")
    code, message = failed("a.pth", "--out", "file/a.bundle", "--target", "onnx")
    assert code == 2
    assert "file" in message


def test_a_report_that_could_not_be_written_is_known_before_the_work(failed, tmp_path):
    networks.SMALL["dvs128"].checkpoint(tmp_path / "a.pth")
    (tmp_path / "file").write_text("")
    for report, said in (
        ("file/none/report.html", "cannot be written: Not a directory; choose another file"),
        ("a.bundle/report.html", "is the path of the bundle, or is in it; choose another file"),
        ("report.txt", "must end with .html: it becomes an HTML page"),
    ):
        assert failed("a.pth", "--report", report) == (2, f"error: --report {report} {said}")


def test_a_folder_that_takes_no_report_is_known_before_the_work(failed, tmp_path):
    networks.SMALL["dvs128"].checkpoint(tmp_path / "a.pth")
    code, message = failed("a.pth", "--report", "/proc/report.html")
    assert code == 2
    assert message.startswith("error: --report /proc/report.html cannot be written: ")
    assert message.endswith("; choose another file")


@pytest.mark.parametrize("steps", ["0", "x", "10001", "1" + "0" * 20, "1" + "0" * 5000])
def test_a_number_of_time_steps_that_cannot_be(failed, tmp_path, steps):
    networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "a.pth")
    code, message = failed("a.pth", "--set", f"T={steps}")
    begin, said = f"error: --set T={steps[:500]}", "T is a number of time steps from 1 to 10000"
    assert (code, message.startswith(begin), message.rpartition(": ")[2]) == (2, True, said)  # the middle is left out


def test_data_of_another_shape(failed, tmp_path):
    networks.SMALL["dvs128"].checkpoint(tmp_path / "a.pth")
    np.savez(tmp_path / "data.npz", frames=np.zeros((2, 5, 2, 32, 32), np.float32))
    code, message = failed("a.pth", "--data", "data.npz")
    assert code == 2
    assert "'frames' has shape (2, 5, 2, 32, 32), the network takes [N, 5, 2, 64, 64] (N, T, P, H, W)" in message


@pytest.fixture
def tiny_disk(tmp_path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_disk_full(failed, tmp_path, tiny_disk):
    networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "a.pth")
    code, message = failed("a.pth", "--out", tiny_disk / "a.bundle", "--target", "onnx")
    assert (code, message) == (3, f"error: the disk of {tiny_disk}/a.bundle is full; nothing was written")


@pytest.mark.parametrize("delay", [0.5, pytest.param(0.0, marks=pytest.mark.slow)])
def test_interrupted_in_the_middle(tmp_path, delay):
    """`tests/benchmarks/robustness/test_kill.py` kills it."""
    networks.SMALL["dvs128"].checkpoint(tmp_path / "a.pth")
    before = lines(tmp_path)
    command = [sys.executable, "-m", "tcja_deploy", "export", "a.pth"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while len(os.listdir(tmp_path)) == 1 and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()[1]
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        errors = process.communicate()[1]
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "error: interrupted; nothing was written"
    assert lines(tmp_path) == before


EXECUTED = """
import os, signal
exec("os.kill(os.getpid(), signal.SIGINT)", {"os": os, "signal": signal})
"""


@pytest.mark.parametrize("content", ["import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n", EXECUTED])
def test_interrupted_while_it_is_loaded(tmp_path, content):
    """At whichever import: the first of a package from outside stands for all of them."""
    (tmp_path / "typer.py").write_text(content)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "tcja_deploy", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted; nothing was written\n")


def test_a_bundle_with_one_byte_changed(bundle, capsys):
    weights = bundle / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    for command in ("verify", "inspect"):
        assert app.run([command, str(bundle)]) == 2
        message = capsys.readouterr().err.splitlines()[-1]
        said = "was changed: its sha256 is not the manifest's; copy the bundle again, or export it again"
        assert message == f"error: {weights} {said}"


@pytest.mark.slow
def test_values_beyond_float32(failed, tmp_path):
    networks.SMALL["fashion_mnist"].checkpoint(
        tmp_path / "a.pth",
        static_conv__0__weight=torch.full((8, 1, 3, 3), 1e20),
        static_conv__1__weight=torch.full((8,), 1e20),
    )
    networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "b.pth")
    np.savez(tmp_path / "huge.npz", images=np.full((2, 1, 28, 28), 3e38, np.float32))
    code, message = failed("a.pth", "--target", "onnx")
    assert (code, "folded from the batch norm and the layer before it, is too large" in message) == (2, True)
    code, message = failed("b.pth", "--target", "onnx", "--data", "huge.npz")
    assert (code, " is inf instead of " in message) == (1, True)


def test_parity_not_met_writes_the_report_alone(tmp_path, monkeypatch, capsys):
    """With no room for rounding at all, the last bit of a sum is a failure; the export must stop and say where."""
    from tcja_exporters.reference import layer_recorder, recorder

    for module in (layer_recorder, recorder):
        monkeypatch.setattr(module, "OWN_ROUNDING", 0.0)
    networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "a.pth")
    monkeypatch.chdir(tmp_path)
    code = app.run(["export", "a.pth", "--target", "onnx", "--report", "report.html", "--json"])
    said = capsys.readouterr()
    assert "the exported network is not the trained one: ONNX Runtime" in said.err
    figures = json.loads(said.out)
    assert (code, figures["bundle"], figures["parity"]["met"]) == (1, None, False)
    assert "Parity not met" in (tmp_path / "report.html").read_text()
    assert lines(tmp_path) == ["a.pth", "report.html"]


@pytest.mark.parametrize("report", ["a.pth", "a.bundle", "none/report", "."])
def test_a_report_goes_to_a_new_file(failed, tmp_path, report):
    networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "a.pth")
    before = (tmp_path / "a.pth").read_bytes()
    code, message = failed("a.pth", "--target", "onnx", "--report", report)
    assert code == 2
    assert message.startswith(f"error: --report {report}")
    assert (tmp_path / "a.pth").read_bytes() == before


@pytest.mark.parametrize("out", ["link", "a.pth/b", "n" * 300, "/proc/b"])
def test_where_no_bundle_can_be(failed, tmp_path, out):
    networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "a.pth")
    (tmp_path / "link").symlink_to("nowhere")
    code, message = failed("a.pth", "--target", "onnx", "--out", out)
    assert code == 2
    assert out in message
    assert ".partial" not in message
