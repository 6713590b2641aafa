import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.files.staging import restaged, scratch, staged


def test_it_is_renamed_when_whole(tmp_path):
    with staged(tmp_path / "a.bundle") as staging:
        (staging / "file").write_text("x")
        assert not (tmp_path / "a.bundle").exists()
    assert os.listdir(tmp_path) == ["a.bundle"]


def test_an_existing_destination_is_left_alone(tmp_path):
    (tmp_path / "a.bundle").mkdir()
    with pytest.raises(BadInput, match="exists; choose another `out` or remove it"), staged(tmp_path / "a.bundle"):
        pass
    assert os.listdir(tmp_path) == ["a.bundle"]


def test_parents_are_made_only_in_the_end(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), staged(tmp_path / "new" / "a.bundle") as staging:
        (staging / "file").write_text("x")
        raise RuntimeError("stop")
    assert os.listdir(tmp_path) == []
    with staged(tmp_path / "new" / "a.bundle") as staging:
        (staging / "file").write_text("x")
    assert (tmp_path / "new" / "a.bundle" / "file").read_text() == "x"


@pytest.mark.parametrize("context", ["staged(pathlib.Path('a.bundle'))", "scratch()"])
@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_leaves_nothing(tmp_path, with_signal, context):
    code = (
        "import pathlib, time\n"
        "from tcja_runtime.files.staging import scratch, staged\n"
        f"with {context} as folder:\n"
        "    (folder / 'half').write_text('x')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command, environment = [sys.executable, "-c", code], {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert len(os.listdir(tmp_path)) == 1
        process.send_signal(with_signal)
    deadline = time.monotonic() + 10
    while os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.listdir(tmp_path) == []


def test_a_scratch_folder_is_deleted_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch() as folder:
        (folder / "file").write_text("x")
        assert os.listdir(tmp_path) == [folder.name]
    assert os.listdir(tmp_path) == []


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.bundle" / "deep").mkdir(parents=True)
    (tmp_path / "a.bundle" / "file").write_text("old")
    (tmp_path / "a.bundle" / "deep" / "file").write_text("deep")
    return tmp_path / "a.bundle"


def changed(folder):
    (folder / "file").unlink()
    (folder / "file").write_text("new")
    (folder / "more").write_text("more")


@pytest.mark.parametrize("exchange", [True, False])
def test_a_changed_folder_takes_the_place_of_the_old(folder, monkeypatch, exchange):
    if not exchange:  # a system without renameat2
        monkeypatch.setattr("ctypes.CDLL", lambda _name: None)
    with restaged(folder) as copy:
        changed(copy)
        assert (folder / "file").read_text() == "old"
    assert sorted(os.listdir(folder)) == ["deep", "file", "more"]
    assert (folder / "file").read_text() == "new"
    assert (folder / "deep" / "file").read_text() == "deep"
    assert os.listdir(folder.parent) == ["a.bundle"]


def test_a_change_that_fails_leaves_the_folder(folder):
    with pytest.raises(RuntimeError, match="stop"), restaged(folder) as copy:
        changed(copy)
        raise RuntimeError("stop")
    assert sorted(os.listdir(folder)) == ["deep", "file"]
    assert (folder / "file").read_text() == "old"
    assert os.listdir(folder.parent) == ["a.bundle"]


def test_one_process_changes_a_folder_at_a_time(folder):
    with restaged(folder), pytest.raises(BadInput, match="another process is changing"), restaged(folder):
        pass
    with restaged(folder) as copy:
        changed(copy)
    assert (folder / "more").exists()
