"""A machine is told from others by a hash that does not name it."""

from __future__ import annotations

import pytest

from tcja_runtime.machine import identity


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files of a machine; none of them exists."""
    monkeypatch.setattr(identity, "_SERIAL", tmp_path / "serial-number")
    monkeypatch.setattr(identity, "_MACHINE_ID", tmp_path / "machine-id")
    monkeypatch.setattr(identity, "_OF_CONTAINERS", (tmp_path / ".dockerenv",))
    for name in ("KUBERNETES_SERVICE_HOST", "container"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_machine_without_either_has_no_identity(files):
    found = identity.this_machine()
    assert found.id is None
    assert found.board


def test_the_serial_number_comes_first(files):
    (files / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    first = identity.this_machine().id
    assert first is not None
    assert len(first) == 16
    assert first == identity.this_machine().id
    assert first not in "0123456789abcdef0123456789abcdef"
    (files / "serial-number").write_text("1421323012345\0")
    assert identity.this_machine().id not in (None, first)


@pytest.mark.parametrize("told", ["a file", "KUBERNETES_SERVICE_HOST", "container"])
def test_the_machine_id_of_a_container_is_that_of_its_image(files, monkeypatch, told):
    (files / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    assert identity.this_machine().id is not None
    if told == "a file":
        (files / ".dockerenv").touch()
    else:
        monkeypatch.setenv(told, "1")
    assert identity.this_machine().id is None
    (files / "serial-number").write_text("1421323012345\0")
    assert identity.this_machine().id is not None
