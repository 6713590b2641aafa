from __future__ import annotations

import errno
import os

import pytest

from tcja_runtime.bundle.origin import built_here
from tcja_runtime.bundle.origin.built_here import Built
from tcja_runtime.errors import BadInput

ONE, TWO = Built("1" * 64, "a" * 64), Built("2" * 64, "b" * 64)


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_an_engine_is_known_once_it_was_added():
    assert built_here.known() == frozenset()
    assert built_here.add(ONE, "orin-sm87") == ""
    assert built_here.add(TWO, "name\nwith an end of line") == ""
    assert built_here.known() == {ONE, TWO}
    assert len(built_here.file().read_text().splitlines()) == 2
    assert built_here.file().stat().st_mode & 0o777 == 0o600
    assert built_here.file().parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("state", ["", "relative"])
def test_the_default_is_below_the_home_folder(tmp_path, monkeypatch, state):
    monkeypatch.setenv("XDG_STATE_HOME", state)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert built_here.file() == tmp_path / ".local/state/tcja-deploy/engines"


def test_lines_that_are_no_hashes_are_passed_over():
    built_here.add(ONE, "a")
    with built_here.file().open("ab") as stream:
        stream.write(b"\xff\xff\n" + b"2" * 64 + b" 2030-01-01 no model\n" + b"x" * 64 + b" x\n")
    assert built_here.known() == {ONE}


def test_a_list_that_others_may_write_is_refused():
    built_here.add(ONE, "a")
    built_here.file().chmod(0o666)
    with pytest.raises(
        BadInput, match="list of engines built here, must be a file that this user alone may write; remove"
    ):
        built_here.known()


def test_a_pipe_in_its_place_is_refused():
    built_here.file().parent.mkdir(parents=True)
    os.mkfifo(built_here.file())
    with pytest.raises(BadInput, match="is a pipe, not a file"):
        built_here.known()


def test_a_folder_that_cannot_be_written_is_said_and_no_error(tmp_path, monkeypatch):
    (tmp_path / "state").write_text("a file")
    said = built_here.add(ONE, "a")
    assert "the list of engines built here, cannot be written (Not a directory), so this engine is of unknown" in said
    assert built_here.known() == frozenset()


def test_a_list_of_another_user_is_said(monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(built_here, "open_file", refused)
    with pytest.raises(BadInput, match=r"cannot be read \(Permission denied\); make it this user's own"):
        built_here.known()
