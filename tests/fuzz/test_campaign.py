"""Campaigns count and keep what they find, and the corpus gets what is of use. atheris itself is not needed here."""

from __future__ import annotations

import json
import os

import pytest

from tcja_runtime.errors import BadInput

from . import campaign, corpus
from .campaign import Campaign
from .parser import Parser, Room
from .parsers import named


def read(_: Room, content: bytes) -> int:
    if not content:
        raise BadInput("it is empty")
    return {b"a": 1}[content]


def test_inputs_are_counted_and_those_that_show_a_mistake_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(campaign, "WORK", tmp_path)
    monkeypatch.setattr(os, "_exit", lambda status: (_ for _ in ()).throw(SystemExit(status)))
    taken = Campaign(Parser("letters", lambda _: [b"a"], read), 5, tmp_path)
    assert taken.seeds() == [b"a"]
    for content in (b"a", b"", b"bb", b"ccc"):
        taken.take(content)
    with pytest.raises(SystemExit):
        taken.take(b"a")
    counts = json.loads((tmp_path / "letters.json").read_text())
    assert [counts[name] for name in ("inputs", "read", "refused")] == [5, 2, 1]
    assert list(counts["found"].values()) == [2]
    assert sorted(file.read_text() for file in (tmp_path / "found" / "letters").glob("*[!t]")) == ["bb"]


def test_a_whole_content_must_be_read(tmp_path):
    with pytest.raises(AssertionError, match="letters: a whole content is refused"):
        Campaign(Parser("letters", lambda _: [b""], read), 5, tmp_path).seeds()


def test_the_corpus_gets_the_smallest_of_each_way(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "WORK", tmp_path)
    for module in ("corpus", "parser"):
        monkeypatch.setattr(f"tests.fuzz.{module}.CORPUS", tmp_path / "kept")
    found = tmp_path / "corpus" / "labels"
    found.mkdir(parents=True)
    # Neither a way that a whole file goes, nor one twice: what is not UTF-8, and what has no line.
    for number, content in enumerate((b"1,1,3\n", b"\xff\xff", b"\xff", b"\xfe\xfe", b"")):
        (found / str(number)).write_bytes(content)
    assert corpus.keep(named("labels")) == 2
    assert sorted(file.read_bytes() for file in (tmp_path / "kept" / "labels").iterdir()) == [b"", b"\xff"]
    assert corpus.keep(named("labels")) == 0
