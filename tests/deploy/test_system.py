"""What a system may lack or refuse gives one line and an exit code; exit code 70 and a traceback mean a bug."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tcja_runtime.bundle.bundle import Bundle

from .. import networks


@pytest.fixture
def name() -> str:
    """The network of all bundles here: the smaller one."""
    return "fashion_mnist"


ODD = os.fsdecode(b"b\xfcndel")
"""The name of a folder that is not UTF-8, as a zip archive made on Windows may hold."""


@pytest.fixture
def odd(tmp_path, bundle, data, name) -> Path:
    """A folder whose name is not UTF-8, with a checkpoint, a bundle and data in it."""
    folder = tmp_path / ODD
    folder.mkdir()
    networks.SMALL[name].checkpoint(folder / "c.pth")
    bundle.rename(folder / "a.bundle")
    (folder / "d.npz").write_bytes(data[name].read_bytes())
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "{}/a.bundle"),
        ("inspect", "{}/c.pth", "--json"),
        ("verify", "{}/a.bundle", "--data", "{}/d.npz", "--json"),
        ("run", "{}/a.bundle", "{}/d.npz", "--picture", "{}/p.html"),
        ("run", "{}/a.bundle", "{}/d.npz", "--csv"),
        ("bench", "{}/a.bundle", "--seconds", "0.1", "--warm-up", "0"),
        pytest.param(
            ("build", "{}/a.bundle", "--target", "tensorrt-rtx"),
            marks=[pytest.mark.tensorrt, pytest.mark.slow],
        ),
    ],
    ids=lambda arguments: " ".join(arguments[:1]),
)
def test_a_path_that_is_not_utf_8_is_a_path(run, odd, arguments):
    if arguments[0] == "build":
        pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    code, out, err = run(*(each.format(odd) for each in arguments))
    assert code == 0, err
    if "--json" in arguments:
        said = json.loads(out)
        assert Path(said.get("bundle", said.get("path"))).exists()


@pytest.mark.slow
def test_an_export_from_and_to_such_a_path(run, odd):
    checkpoint = (odd / "c.pth").rename(odd / f"{ODD}.pth")
    files = {"--data": "d.npz", "--out": "e.bundle", "--report": "r.html"}
    arguments = [part for option, file in files.items() for part in (option, odd / file)]
    code, _, err = run("export", checkpoint, "--target", "onnx", "--anytime", 0, *arguments)
    assert code == 0, err
    manifest = Bundle.open(odd / "e.bundle").manifest
    assert manifest.parity.source.startswith("d.npz")
    assert manifest.checkpoint["name"] == "b\\xfcndel.pth"
    for report in (odd / "r.html", odd / "e.bundle" / "report.html"):
        assert "b\\xfcndel" in report.read_text(encoding="utf-8").replace("<wbr>", "")


def test_a_bundle_of_files_with_such_names_opens_and_verifies(run, tmp_path, data, name):
    """The manifest, the models, the golden vectors and parity.json have the same texts, with the names in them."""
    checkpoint, windows, bundle = tmp_path / f"{ODD}.pth", tmp_path / f"{ODD}.npz", tmp_path / "a.bundle"
    state = torch.load(networks.SMALL[name].checkpoint(tmp_path / "c.pth"), weights_only=True)
    torch.save({**state, "ema": {key: 2 * value for key, value in state["net"].items()}}, checkpoint)
    windows.write_bytes(data[name].read_bytes())
    options = ("--data", windows, "--out", bundle, "--target", "onnx", "--anytime", 0)
    code, _, err = run("export", checkpoint, *options)
    assert code == 0, err
    manifest = Bundle.open(bundle).manifest
    assert any("b\\xfcndel.pth also has" in line for line in manifest.evidence)
    assert manifest.parity.source.startswith("b\\xfcndel.npz")
    code, _, err = run("verify", bundle, "--data", windows)
    assert code == 0, err


def test_such_a_name_is_shown_with_its_bytes(run, tmp_path):
    code, _, err = run("verify", tmp_path / ODD)
    assert (code, err) == (2, f"error: {tmp_path}/b\\xfcndel does not exist\n")


def command(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tcja_deploy", *map(str, arguments)]
    return subprocess.run(line, **{"capture_output": True, "text": True, "check": False, **options})


def error(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error."""
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith(("✓", "?"))]
    assert line.startswith("error: ")
    return line


CLOSED = {"stdout": (1,), "stderr": (2,), "all": (0, 1, 2)}


@pytest.mark.parametrize("which", [pytest.param("stdout", marks=pytest.mark.slow), "all"])
def test_closed_streams(bundle, which):
    def close() -> None:
        for descriptor in CLOSED[which]:
            os.close(descriptor)

    assert command("inspect", bundle, preexec_fn=close).returncode == 0


def test_an_ascii_terminal_and_file_system(bundle, tmp_path):
    """The locale C, without Python's own way around it."""
    place = tmp_path / "Ω"
    bundle.rename(place)
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = command("inspect", place, env=env, text=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


def test_the_current_folder_is_gone(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f"cd {gone} && rmdir {gone} && {sys.executable} -m tcja_deploy export a.pth"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env={**os.environ, **_path()})
    assert (done.returncode, error(done)) == (2, "error: the current folder was removed; change to another folder")


def _path() -> dict[str, str]:
    """The path of this project's packages: the tests may run without their installation."""
    return {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}


@pytest.mark.parametrize("home", ["/nonexistent", "/etc/passwd", None])
@pytest.mark.slow
def test_no_home(bundle, home):
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    done = command(
        "verify", bundle, "--data", bundle / "golden.npz", env=env if home is None else {**env, "HOME": home}
    )
    assert done.returncode == 0, done.stderr


def limited(which: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(which, (value, value))


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (limited(resource.RLIMIT_AS, 400 * 2**20), "memory"),
        (limited(resource.RLIMIT_AS, 75 * 2**20), "memory"),  # OpenBLAS would end the process, with 1
        pytest.param(limited(resource.RLIMIT_AS, 250 * 2**20), "memory", marks=pytest.mark.slow),
        pytest.param(limited(resource.RLIMIT_NOFILE, 5), "Too many open files", marks=pytest.mark.slow),
        pytest.param(
            limited(resource.RLIMIT_FSIZE, 2**15), "the disk of a.bundle is full; nothing", marks=pytest.mark.slow
        ),
    ],
    ids=["memory", "memory for numpy", "memory for libraries", "open files", "size of files"],
)
def test_a_limit_of_the_machine(tmp_path, name, limit, message):
    networks.SMALL[name].checkpoint(tmp_path / "a.pth")
    done = command("export", "a.pth", "--target", "onnx", cwd=tmp_path, preexec_fn=limit)
    assert done.returncode == 3, done.stderr
    assert message in error(done)
    assert os.listdir(tmp_path) == ["a.pth"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read(run, bundle):
    (bundle / "model.onnx").chmod(0)
    code, _, err = run("verify", bundle)
    assert (code, err) == (2, f"error: {bundle}/model.onnx cannot be read or written: Permission denied\n")


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.0, 0.02])
def test_ctrl_c_again_and_again(tmp_path, name, gap):
    networks.SMALL[name].checkpoint(tmp_path / "a.pth")
    line = [sys.executable, "-m", "tcja_deploy", "export", "a.pth", "--target", "onnx"]
    with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while len(os.listdir(tmp_path)) == 1 and process.poll() is None:
            time.sleep(0.01)
        for _ in range(5):
            process.send_signal(signal.SIGINT)
            time.sleep(gap)
        errors = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "error: interrupted; nothing was written"


def test_native_code_that_was_interrupted(run, bundle, monkeypatch):
    """It turns an interruption into an error of its own, as pybind11 does while a module is imported."""

    def interrupted(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setattr("onnxruntime.InferenceSession", interrupted)
    code, _, err = run("verify", bundle, "--backend", "onnxruntime")
    assert (code, err.splitlines()[-1]) == (130, "error: interrupted; nothing was written")


LIBRARY = "libnative.so: failed to map segment from shared object"


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        *(("numpy", ImportError), ("onnxruntime", OSError)),
        *(pytest.param("numpy", kind, marks=pytest.mark.slow) for kind in (OSError, MemoryError)),
        *(pytest.param("onnxruntime", kind, marks=pytest.mark.slow) for kind in (ImportError, MemoryError)),
    ],
)
def test_a_library_that_does_not_fit_into_memory(bundle, tmp_path, kind, module):
    """Whichever import it is: at the start of the program, or where it is used."""
    (tmp_path / f"{module}.py").write_text(f"raise {kind.__name__}({LIBRARY!r})\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *_path().values()])}
    done = command("verify", bundle, "--backend", "onnxruntime", env=env)
    assert done.returncode == 3, done.stderr
    assert "memory" in error(done) or LIBRARY in error(done)


def test_a_package_that_is_missing_is_named(run, bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, _, err = run("verify", bundle, "--backend", "onnxruntime")
    assert code == 3
    assert "onnxruntime" in err
