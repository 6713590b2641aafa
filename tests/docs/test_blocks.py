"""Every block of commands and of Python in the documents is run, or says why not."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from . import blocks, desk

QUICK = {"docs/reference/formats.md"}
"""Pages that `make test` runs; `make test-all` runs all."""
WITH_BLOCKS = sorted({block.page for block in blocks.runnable() if not (block.reason or block.test)})


@pytest.fixture(scope="session")
def furnished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    desk.furnish(folder)
    return folder


@pytest.fixture(scope="session")
def made() -> desk.Made:
    """The bundles that commands on the desk have made."""
    return {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries that a document's network imports
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for page in WITH_BLOCKS
        for name in [page.relative_to(blocks.ROOT).as_posix()]
    ],
)
def test_the_blocks_of_a_page_run(page, furnished, made, tmp_path, monkeypatch, capsys):
    """In their order, in one folder, as a reader runs them."""
    folder = Path(shutil.copytree(furnished, tmp_path / "desk", symlinks=True))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    if ".bundle" in page.read_text():
        assert desk.export(desk.EXPORT.split(), made) == 0
    names: dict[str, object] = {"__name__": "__main__"}
    before = set(sys.modules)
    try:
        for block in blocks.runnable(page):
            if not (block.reason or block.test):
                desk.run(block, names, made)
    finally:
        for name in set(sys.modules) - before:
            if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


LANGUAGES = {"dockerfile", "json", "python", "sh", "text", "toml", "yaml"}


def indented(text: str) -> list[str]:
    """Lines that are a block only because they are indented: not those of a list."""
    found, in_list, before = [], False, ""
    for line in text.splitlines():
        if re.match(r" *([*-]|\d+\.) ", line):
            in_list = True
        elif line.strip() and not line.startswith(" ") and not before:
            in_list = False
        elif line.startswith("    ") and not before and not in_list:
            found.append(line)
        before = line.strip()
    return found


def test_blocks_are_fenced_and_say_their_language():
    assert indented("* a\n\n    b\n") == []
    assert indented("a\n\n    b\n") == ["    b"]
    for page in blocks.PAGES:
        text = blocks.FENCE.sub("", page.read_text())
        assert "```" not in text, page
        assert indented(text) == [], page
        assert {block.language for block in blocks.blocks(page)} <= LANGUAGES, page


def test_blocks_that_another_test_runs_name_one_that_reads_their_document():
    for block in blocks.runnable():
        if block.test is not None:
            assert f'ROOT / "{block.name}"' in (blocks.ROOT / block.test).read_text(), block


def test_blocks_that_are_not_run_are_listed():
    assert blocks.LISTED.read_text() == blocks.listing()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```sh\nls\n```\n", [("ls\n", None, None)]),
        ("<!-- not run: needs a GPU -->\n```sh\nls\n```\n", [("ls\n", "needs a GPU", None)]),
        ("<!-- run by: tests/a.py -->\n```sh\nls\n```\n", [("ls\n", "tests/a.py", None)]),
        ("<!-- not run: needs a GPU -->\n\n```sh\nls\n```\n", [("ls\n", "needs a GPU", None)]),
        ('1. item\n\n    ```python title="a.py"\n    x\n    ```\n', [("x\n", None, "a.py")]),
        ("```sh\na\n```\n\ntext\n\n```sh\nb\n```\n", [("a\n", None, None), ("b\n", None, None)]),
    ],
)
def test_blocks_are_found(text, found, tmp_path):
    (tmp_path / "a.md").write_text(text)
    assert [(block.code, block.reason or block.test, block.file) for block in blocks.blocks(tmp_path / "a.md")] == found
