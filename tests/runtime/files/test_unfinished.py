import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tcja_runtime.files.unfinished import unfinished_file, unfinished_folder

PROGRAM = """
import contextlib, os, pathlib, time
from tcja_runtime.files.staging import restaged, scratch, staged
from tcja_runtime.files.unfinished import unfinished_file
with contextlib.ExitStack() as until:
    until.enter_context(unfinished_file(pathlib.Path()))
    for context in (scratch(), staged(pathlib.Path("a.bundle")), restaged(pathlib.Path("old.bundle"))):
        half = until.enter_context(context) / "half"
        half.mkdir()
        (half / "file").write_text("x")
        half.chmod(0o500)  # as in a copy of what is read-only
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def process(tmp_path):
    """A process that has one unfinished file and three unfinished folders."""
    (tmp_path / "old.bundle").mkdir()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, **pipes) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        assert len(left(tmp_path)) == 4
        yield started


def left(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name != "old.bundle")


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_leaves_no_folder(process, tmp_path, with_signal):
    process.send_signal(with_signal)
    process.wait()
    files = 0 if with_signal == signal.SIGINT else 1  # the next process removes it
    deadline = time.monotonic() + 10
    while len(left(tmp_path)) > files and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(left(tmp_path)) == files
    with unfinished_file(tmp_path):
        pass
    assert left(tmp_path) == []


def test_what_is_left_if_everything_is_killed_is_removed_by_the_next_process(process, tmp_path):
    """As in a container that is stopped: those that would clear up are killed in the same moment."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 3
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for each in (*map(int, children), process.pid):
            os.kill(each, number)
    process.wait()
    assert len(left(tmp_path)) == 4
    with unfinished_folder(tmp_path / "old.bundle"):  # it works in another folder
        assert len(left(tmp_path)) == 4
    with unfinished_folder(tmp_path) as place:
        assert left(tmp_path) == [place.name]
    assert left(tmp_path) == []


NAME = ".tcja-deploy-0123456789abcdef.partial"


def test_only_ours_are_removed(tmp_path):
    others = [NAME.upper(), NAME.replace("0", "g"), NAME.replace("0", ""), NAME[1:], f"{NAME}.old", ".0123.partial"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / NAME.replace("0", "1")).symlink_to(tmp_path / others[0])
    before = sorted(os.listdir(tmp_path))
    (tmp_path / NAME).mkdir()
    with unfinished_folder(tmp_path), unfinished_file(tmp_path):
        pass
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_those_of_other_users_stay(tmp_path):
    (tmp_path / NAME).mkdir()
    os.chown(tmp_path / NAME, 12345, -1)
    with unfinished_file(tmp_path):
        pass
    assert os.listdir(tmp_path) == [NAME]


def test_what_is_in_use_stays(tmp_path):
    with unfinished_folder(tmp_path) as first, unfinished_file(tmp_path) as second, unfinished_folder(tmp_path):
        assert first.exists()
        assert second.exists()
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_locks_keeps_what_is_left(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(9, "Bad file descriptor")  # of NFS, for folders

    monkeypatch.setattr("fcntl.flock", no_locks)
    (tmp_path / NAME).mkdir()
    with unfinished_folder(tmp_path) as place:
        assert place.exists()
    assert os.listdir(tmp_path) == [NAME]


def test_what_is_taken_for_left_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    """Another process locks it between the making and the lock, and removes it."""
    touch, taken = Path.touch, []

    def taken_at_once(path, **options):
        touch(path, **options)
        if taken:
            return
        taken.append(path)
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)

        def remove() -> None:
            time.sleep(0.1)
            path.unlink()
            os.close(descriptor)

        threading.Thread(target=remove).start()

    monkeypatch.setattr(Path, "touch", taken_at_once)
    with unfinished_file(tmp_path) as file:
        assert taken != [file]
        assert file.exists()
        assert os.listdir(tmp_path) == [file.name]
    assert os.listdir(tmp_path) == []
