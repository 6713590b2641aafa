"""What is the user's to mend, and what is a bug."""

import ctypes
import errno
import os
from pathlib import Path

import pytest

from tcja_runtime.errors import BadInput, Unavailable, first_line, user_error


def os_error(number: int, name: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), name) if name else OSError(number, os.strerror(number))


LOADER = "libtorch_cpu.so: failed to map segment from shared object"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (BadInput("as it is"), BadInput, "as it is"),
        (os_error(errno.ENOENT, "a.pth"), BadInput, "a.pth cannot be read or written: No such file or directory"),
        (os_error(errno.EACCES, "a.pth"), BadInput, "a.pth cannot be read or written: Permission denied"),
        (os_error(errno.EPIPE), BadInput, "the system refuses an operation: Broken pipe"),
        (os_error(errno.EADDRINUSE), BadInput, "the system refuses an operation: Address already in use"),
        (os_error(errno.ENOSPC), Unavailable, "the output cannot be written: No space left on device; make room"),
        (os_error(errno.ENOSPC, "b"), Unavailable, "b cannot be written: No space left on device; make room on its"),
        (os_error(errno.EMFILE, "b"), Unavailable, "b: Too many open files; this machine's limit is reached: close"),
        (os_error(errno.EAGAIN), Unavailable, "Resource temporarily unavailable; this machine's limit is reached"),
        (MemoryError(), Unavailable, "this machine has too little memory; close other programs, or take fewer"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), Unavailable, "this machine has too"),
        (
            ImportError(LOADER, name="torch"),
            Unavailable,
            f"the package torch cannot be loaded ({LOADER}): this machine",
        ),
        (OSError(LOADER), Unavailable, f"a library cannot be loaded ({LOADER}): this machine has too little memory"),
        (ImportError("libcuda.so.1: no such file", name="trt.x"), Unavailable, "the package trt cannot be loaded (lib"),
        (ModuleNotFoundError("x", name="rosbags.rosbag2"), Unavailable, "the package rosbags is not installed: run"),
    ],
)
def test_what_the_machine_refuses_is_said(error, kind, message):
    found = user_error(error)
    assert type(found) is kind
    assert str(found).startswith(message)


@pytest.mark.parametrize(
    "error",
    [
        *(KeyError("x"), ValueError("x"), RuntimeError("x"), RecursionError(), AttributeError("x"), AssertionError()),
        ImportError("cannot import name 'x' from 'tcja_deploy.y'", name="tcja_deploy.y"),
    ],
)
def test_all_else_is_a_bug(error):
    assert user_error(error) is None


def test_a_library_that_is_not_there():
    with pytest.raises(OSError) as caught:  # noqa: PT011  # its text is the machine's
        ctypes.CDLL("libnvinfer_that_is_nowhere.so")
    found = user_error(caught.value)
    assert type(found) is Unavailable
    assert "libnvinfer_that_is_nowhere.so" in str(found)


def test_the_file_is_named_where_the_system_does_not(tmp_path):
    assert "weights.bin cannot be read" in str(user_error(os_error(errno.EIO), Path("weights.bin")))


def test_a_current_folder_that_was_removed(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        Path("a").absolute()
    assert str(user_error(caught.value)) == "the current folder was removed; change to another folder"


@pytest.mark.parametrize(
    ("error", "text", "line"),
    [
        (ValueError("too small\nsee below"), None, "too small"),
        (ValueError("\n  \n  too small \n"), None, "too small"),
        (EOFError(), None, "EOFError"),
        (KeyError("x"), "said\nthere", "said"),
        (KeyError("x"), "", "KeyError"),
        (ValueError("x" * 301), None, f"{'x' * 300}..."),
    ],
)
def test_the_first_line_of_an_error(error, text, line):
    assert first_line(error, text) == line


@pytest.mark.parametrize("text", ["a\x1b[31mb", "a\nb", "a\tb", "a\x9bb"])
def test_a_text_is_one_line_that_no_terminal_obeys(text):
    """But a byte of a path is kept, which the commands show as such."""
    said = str(BadInput(f"{text} \udcfc é"))
    assert said.replace("\udcfc", "").isprintable()
    assert said.endswith(" \udcfc é")


def test_the_middle_of_a_long_text_is_left_out():
    text = str(BadInput(f"a.json: {'x' * 10**6} is no name; copy it again"))
    assert len(text) == 1995
    assert text.startswith("a.json: xxx")
    assert text.endswith("xxx is no name; copy it again")
