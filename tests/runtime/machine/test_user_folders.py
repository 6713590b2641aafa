from pathlib import Path

import pytest

from tcja_runtime.machine.user_folders import machine_folders, user_folder


@pytest.mark.parametrize(
    ("named", "folder"), [("/state", "/state"), ("", "/home/own/.local/state"), ("state", "/home/own/.local/state")]
)
def test_a_folder_of_the_user_is_absolute(monkeypatch, named, folder):
    monkeypatch.setenv("HOME", "/home/own")
    monkeypatch.setenv("XDG_STATE_HOME", named)
    assert user_folder("XDG_STATE_HOME", ".local/state") == Path(folder, "tcja-deploy")


@pytest.mark.parametrize(("named", "folders"), [("", ["/etc/xdg"]), ("/one::.:two:/three", ["/one", "/three"])])
def test_folders_of_the_machine_are_absolute(monkeypatch, named, folders):
    monkeypatch.setenv("XDG_CONFIG_DIRS", named)
    assert machine_folders("XDG_CONFIG_DIRS", "/etc/xdg") == [Path(each, "tcja-deploy") for each in folders]


def test_a_home_that_is_not_absolute_is_none(monkeypatch):
    monkeypatch.setenv("HOME", ".")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    with pytest.raises(RuntimeError, match="the path of the user's home is not absolute"):
        user_folder("XDG_STATE_HOME", ".local/state")
