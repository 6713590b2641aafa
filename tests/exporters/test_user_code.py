import importlib
import sys
from pathlib import Path

import pytest
import torch

from tcja_exporters.user_code import kind_and_line, where, where_now, where_traced

MODULE = """\
import torch


def direct():
    raise KeyError("a")


def inside_torch():
    return torch.ones(2) + torch.ones(3)


def in_a_library():
    return torch.nn.Linear(2, 3)(torch.ones(5))


def caused():
    try:
        direct()
    except KeyError as error:
        raise ValueError("b") from error


def here(where_now):
    return where_now()
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(MODULE)
    yield importlib.import_module("mine")
    del sys.modules["mine"]


@pytest.mark.parametrize(
    ("function", "line"), [("direct", 5), ("inside_torch", 9), ("in_a_library", 13), ("caused", 20)]
)
def test_the_last_line_of_the_users_code_is_found(mine, function, line):
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each fails in its own way
        getattr(mine, function)()
    assert where(caught.value) == f" (mine.py, line {line})"


def test_the_line_of_a_cause_is_taken_if_the_error_has_none(mine):
    error = ValueError("raised by no one")
    try:
        mine.direct()
    except KeyError as cause:
        error.__cause__ = cause
    assert where(error) == " (mine.py, line 5)"
    assert where(ValueError("without a cause")) == ""


def test_a_file_elsewhere_has_its_whole_path(mine, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    assert mine.here(where_now) == f" ({str(tmp_path / 'mine.py').removeprefix('/')}, line 24)"
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert mine.here(where_now) == f" ({tmp_path / 'mine.py'}, line 24)"


def test_a_package_is_named_only_if_no_own_file_was_running(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # paths below the working folder are shown relative to it
    installed = str(Path(torch.__file__).parents[1] / "somebody" / "nets.py")
    stack = f'File "{installed}", line 7, in forward\n  File "{torch.__file__}", line 3, in linear'
    assert where_traced(stack) == f" ({installed}, line 7)"
    assert where_traced(f'File "/home/me/net.py", line 5, in forward\n  x\n{stack}') == " (/home/me/net.py, line 5)"
    assert where_traced(f'File "{torch.__file__}", line 3, in linear\nFile "<string>", line 1, in f') == ""


def test_a_syntax_error_has_its_line_in_its_text(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_module.py").write_text("x = (")
    with pytest.raises(SyntaxError) as caught:
        importlib.import_module("broken_module")
    assert where(caught.value) == ""
    assert kind_and_line(caught.value) == "SyntaxError: '(' was never closed (broken_module.py, line 1)"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a" * 100 + ". " + "b" * 100), "ValueError: " + "a" * 100),
        (ValueError("\n one\ntwo"), "ValueError: one"),
        (NotImplementedError(), "NotImplementedError"),
    ],
)
def test_the_first_line_of_an_error(error, text):
    assert kind_and_line(error) == text
