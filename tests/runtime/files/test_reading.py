import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.files import reading
from tcja_runtime.files.limits import Limit

LIMIT = Limit("a thing", 1000)


def link(to: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(to)


def mksock(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def hole(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


OTHERS = {
    "a pipe": (os.mkfifo, r"/a/x is a pipe, not a file$"),
    "a folder": (Path.mkdir, r"/a/x is a folder, not a file$"),
    "a socket": (mksock, r"/a/x is a socket, not a file$"),
    "200 GB": (hole(200 * 10**9), r"/a/x has 200,000,000,000 bytes, and a thing has at most 1,000$"),
}
LINKS = {
    "a device": ("/dev/zero", "/a/x is a device, not a file$"),
    "a folder": (".", "/a/x is a folder, not a file$"),
}


@pytest.fixture
def place(tmp_path) -> Path:
    (tmp_path / "a").mkdir()
    return tmp_path


@pytest.mark.parametrize(("make", "message"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_file_or_too_large_is_refused(place, make, message):
    make(place / "a" / "x")
    with pytest.raises(BadInput, match=message):
        reading.read_file(place / "a" / "x", LIMIT)
    with pytest.raises(BadInput, match=message):
        reading.read_inside(place, "a/x", LIMIT)


@pytest.mark.parametrize(("to", "message"), LINKS.values(), ids=LINKS)
def test_a_link_to_what_is_no_file_is_refused(place, to, message):
    (place / "a" / "x").symlink_to(to)
    with pytest.raises(BadInput, match=message):
        reading.read_file(place / "a" / "x", LIMIT)


def test_a_file_is_read(place):
    (place / "a" / "x").write_bytes(b"content" * 100)
    assert reading.read_file(place / "a" / "x", LIMIT) == b"content" * 100
    assert reading.read_inside(place, "a/x", LIMIT) == b"content" * 100
    with reading.open_inside(place, "a/x", LIMIT) as stream:
        (place / "a" / "x").unlink()
        assert stream.read() == b"content" * 100


def test_links_are_followed_to_a_file_but_not_in_a_folder_of_other_people(place):
    (place / "a" / "x").write_bytes(b"content")
    (place / "b").symlink_to("a")
    (place / "a" / "y").symlink_to("x")
    assert reading.read_file(place / "b" / "y", LIMIT) == b"content"
    assert reading.read_inside(place / "b", "x", LIMIT) == b"content"  # the folder itself is the user's choice
    for folder, name, wrong in ((place, "b/x", "b"), (place, "a/y", "a/y")):
        with pytest.raises(BadInput, match=rf"/{wrong} is a link, which is not followed here; 'cp -rL' copies what"):
            reading.read_inside(folder, name, LIMIT)


@pytest.mark.parametrize("name", ["", ".", "..", "a/../a/x", "/etc/hostname", "a//x", "./a/x", "a/x\0", "a/"])
def test_a_name_that_is_none_is_refused(place, name):
    (place / "a" / "x").write_bytes(b"content")
    assert not reading.is_name(name)
    with pytest.raises(BadInput, match="cannot have a file named"):
        reading.read_inside(place, name, LIMIT)


def test_what_is_missing_is_named(place):
    for name in ("a/x", "b/x"):
        with pytest.raises(FileNotFoundError) as caught:
            reading.read_inside(place, name, LIMIT)
        assert caught.value.filename == os.fspath(place / name)
    with pytest.raises(BadInput, match="/a is a folder, not a file"):
        reading.read_inside(place, "a", LIMIT)
    (place / "b").touch()
    with pytest.raises(BadInput, match="/b is a file, not a folder"):
        reading.read_inside(place, "b/x", LIMIT)


def test_no_descriptor_stays_open(place):
    (place / "a" / "x").write_bytes(b"content")
    os.mkfifo(place / "a" / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        reading.read_inside(place, "a/x", LIMIT)
        for name in ("a/pipe", "a/missing", "b/x"):
            with pytest.raises((BadInput, FileNotFoundError)):
                reading.read_inside(place, name, LIMIT)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_with_more_bytes_than_the_system_says_is_refused():
    with pytest.raises(BadInput, match="^/proc/self/stat has more bytes than the system says$"):
        reading.read_file(Path("/proc/self/stat"), LIMIT)


def test_the_names_in_a_folder(place):
    for name in ("manifest.json", "a/x", "a/b/y", ".git/config"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    assert reading.names_inside(place, skipped=(".git",)) == ["a/b/y", "a/x", "manifest.json"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (link("/"), "/a/x is a link, which is not followed here"),
        (link("nowhere"), "/a/x is a link, which is not followed here"),
        (os.mkfifo, "/a/x is a pipe, not a file"),
        (mksock, "/a/x is a socket, not a file"),
    ],
)
def test_a_folder_with_other_things_than_files_is_refused(place, make, message):
    make(place / "a" / "x")
    with pytest.raises(BadInput, match=message):
        reading.names_inside(place)


def test_a_folder_with_too_many_files_is_refused(place, monkeypatch):
    monkeypatch.setattr(reading, "MOST_FILES", 3)
    for number in range(4):
        (place / "a" / str(number)).touch()
    with pytest.raises(BadInput, match="has more than 3 files"):
        reading.names_inside(place)


def test_a_path_with_a_null_character_is_refused(place):
    with pytest.raises(BadInput, match="/x y cannot be the name of a file, as it has a null character$"):
        reading.read_file(place / "x\0y", LIMIT)


@pytest.mark.parametrize("inside", [False, True])
def test_a_file_that_is_too_large_is_not_opened(tmp_path, inside):
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(LIMIT.bytes + 1)
    with pytest.raises(BadInput, match="1,001 bytes, and a thing has at most 1,000"):
        reading.open_inside(tmp_path, "sparse", LIMIT) if inside else reading.open_file(tmp_path / "sparse", LIMIT)
