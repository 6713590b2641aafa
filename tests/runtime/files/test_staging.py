import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.files.staging import copy_folder, locked, put_back, restaged, scratch, staged, write_whole
from tcja_runtime.files.unfinished import left_by_dead_process


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


def test_a_copy_that_finds_no_room_says_so(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(4096))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(Unavailable, match=r"the disk of .*b is full"), staged(tmp_path / "b") as folder:
            copy_folder(tmp_path / "a", folder / "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["a"]


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


@pytest.fixture(params=[True, False], ids=["exchange", "no exchange"])
def exchange(request, monkeypatch):
    if not request.param:  # a system without renameat2
        monkeypatch.setattr("ctypes.CDLL", lambda _name: None)
    return request.param


def test_a_changed_folder_takes_the_place_of_the_old(folder, exchange):
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


def test_an_exchange_that_fails_half_way_leaves_the_folder(folder, monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _name: None)
    rename = Path.rename

    def full(path, target):
        if path.name.endswith(".partial"):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(Unavailable, match="the disk of .* is full; it was not changed"), restaged(folder) as copy:
        changed(copy)
    assert os.listdir(folder.parent) == ["a.bundle"]
    assert (folder / "file").read_text() == "old"


def test_one_process_changes_a_folder_at_a_time(folder, tmp_path):
    with locked(folder), pytest.raises(BadInput, match="another process is changing"), locked(folder):
        pass
    with locked(folder), restaged(folder) as copy:
        changed(copy)
    assert (folder / "more").exists()
    with pytest.raises(BadInput, match=r"b.bundle does not exist$"), locked(tmp_path / "b.bundle"):
        pass


def test_a_lock_is_that_of_the_folder_that_has_the_name_now(folder, monkeypatch):
    """Another process exchanges the folder between its opening and its lock."""
    flock, opened = fcntl.flock, []

    def exchanged(descriptor, how):
        opened.append(os.fstat(descriptor).st_ino)
        if len(opened) == 1:
            with restaged(folder) as copy:
                changed(copy)
        flock(descriptor, how)

    monkeypatch.setattr("tcja_runtime.files.staging.fcntl.flock", exchanged)
    with locked(folder):
        assert (folder / "file").read_text() == "new"
        assert opened[-1] == folder.stat().st_ino != opened[0]


def test_links_are_copied_and_not_followed(folder):
    (folder / "up").symlink_to("..")
    with restaged(folder) as copy:
        assert (copy / "up").readlink() == Path("..")


KILLED = """
import ctypes, os, pathlib, signal, sys
from tcja_runtime.files.staging import restaged
rename, renames = pathlib.Path.rename, []
def killed(path, target):
    renamed = rename(path, target)
    renames.append(path)
    if len(renames) == int(sys.argv[1]):
        os.killpg(0, signal.SIGKILL)
    return renamed
pathlib.Path.rename = killed
ctypes.CDLL = lambda _name: None
with restaged(pathlib.Path("a.bundle")) as copy:
    (copy / "more").write_text("more")
"""


@pytest.mark.parametrize(("renames", "files"), [(1, ["deep", "file"]), (2, ["deep", "file", "more"])])
def test_a_folder_whose_exchange_was_killed_gets_its_name_back(folder, renames, files):
    """Between two renames, where the system has no exchange: everything at once is killed."""
    command = [sys.executable, "-c", KILLED, str(renames)]
    assert subprocess.run(command, cwd=folder.parent, start_new_session=True).returncode == -signal.SIGKILL
    (old,) = folder.parent.glob("a.bundle.*.replaced")
    assert folder.exists() == (renames == 2)
    with left_by_dead_process(old):  # a process that still works has it locked
        put_back(folder)
        assert old.exists()
    put_back(folder)
    assert sorted(os.listdir(folder)) == files
    with locked(folder), restaged(folder):
        pass
    assert os.listdir(folder.parent) == ["a.bundle"]


def test_a_folder_that_has_its_name_back_is_not_written_over(folder):
    folder.rename(folder.with_name("a.bundle.0123456789abcdef.replaced"))
    with pytest.raises(BadInput, match="exists"), staged(folder):
        pass
    assert os.listdir(folder.parent) == ["a.bundle"]


def test_all_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    synced, sync = [], os.fsync

    def recorded(descriptor):
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, destination.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    destination = tmp_path / "a.bundle"
    with staged(destination) as staging:
        (staging / "deep").mkdir()
        (staging / "deep" / "file").write_text("x")
        name = staging.name
    assert sorted(synced[:-1]) == sorted([(name, False), ("deep", False), ("file", False)])
    assert synced[-1] == (tmp_path.name, True)
    synced.clear()
    destination = tmp_path / "page.html"
    write_whole(destination, "x")
    assert [exists for _, exists in synced] == [False, True]


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    page = tmp_path / "new" / "page.html"
    write_whole(page, "Ω")
    assert page.read_text(encoding="utf-8") == "Ω"
    write_whole(page, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space") as caught:
        write_whole(page, b"new")
    assert caught.value.filename == str(page)
    assert page.read_bytes() == b"old"
    assert os.listdir(page.parent) == ["page.html"]
