"""Children take no module from the current folder. `tests/runtime/test_oldest_python.py` runs this in Python 3.10."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tcja_runtime
from tcja_runtime.machine import children

MAIN = """
import json, sys
import csv, helper
def main(*arguments):
    print(json.dumps([arguments, csv.__file__, helper.__file__, sys.path]))
"""
HIJACKED = (
    "csv",
    "numpy",
    "runpy",
    "importlib",
    "json",
    "helper",
    "sitecustomize",
    "usercustomize",
    "shutil",
    "tcja_runtime",
)


@pytest.fixture
def hostile(tmp_path, monkeypatch) -> Path:
    """A current folder of downloaded data, in which there are modules that run when they are imported."""
    folder, packages = tmp_path / "data", tmp_path / "packages"
    (packages / "mine").mkdir(parents=True)
    (packages / "mine" / "__init__.py").write_text("")
    (packages / "mine" / "program.py").write_text(MAIN)
    (packages / "helper.py").write_text("")
    folder.mkdir()
    for name in HIJACKED:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", str(folder), ".", *sys.path, str(packages)])
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}")  # its empty part is the current folder as well
    return tmp_path


def said(command: list[str]) -> list:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_module_comes_from_the_current_folder(hostile):
    arguments, standard, helper, path = said(children.main_of("mine.program", "--one", "", "-c"))
    assert arguments == ["--one", "", "-c"]
    assert standard == csv.__file__
    assert Path(helper).parent == hostile / "packages"
    assert not {"", ".", str(Path.cwd())} & {*path}
    assert not (hostile / "ran").exists()


def test_this_process_would_take_them_all(hostile):
    """Without the function, as a check of the test itself."""
    subprocess.run([sys.executable, "-m", "mine.program"], capture_output=True, check=False)
    assert (hostile / "ran").exists()


def test_programs_of_python_alone_take_none_either(hostile):
    subprocess.run(children.program("import shutil, json, sys; print(sys.argv)", "x"), check=True, capture_output=True)
    assert not (hostile / "ran").exists()


def test_our_packages_are_found_where_they_are(hostile, monkeypatch):
    """Also if they were found in a way that the path does not show, and if the current folder is the project's own."""
    root = str(Path(tcja_runtime.__file__).parents[1])
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in (root, str(hostile / "data"))])
    command = children.main_of("tcja_runtime.none")
    done = subprocess.run(command, capture_output=True, text=True)
    assert "No module named 'tcja_runtime.none'" in done.stderr


def test_folders_may_be_looked_in_first(hostile, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "helper.py").write_text("")
    _, _, helper, _ = said(children.main_of("mine.program", first=[str(tmp_path / "other")]))
    assert Path(helper).parent == tmp_path / "other"


def test_a_removed_current_folder_is_no_hindrance(hostile, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path[3:]])
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert said(children.main_of("mine.program"))[0] == []
