from __future__ import annotations

import pytest

from tcja_deploy.console import plain
from tcja_deploy.texts.table import Hanging, Rows, labelled, paragraph, whole

SHORT, LONG = "conv.0", "backbone_of_the_classifier.0.spiking_layer_of_the_block"
NUMBERS = ["neurons", "firing rate", "undecided", "flips", "unexplained", "free-running"]
CELLS = ["1,024", "48.05 %", "0.12 %", "17", "3", "2,048"]


def table(*names: str) -> Rows:
    made = Rows("Spike flips", ["layer"], NUMBERS)
    for name in names:
        made.add(name, *CELLS)
    return made


@pytest.mark.parametrize("names", [(SHORT,), (SHORT, LONG), (LONG, LONG)])
@pytest.mark.parametrize("width", [200, 100, 80, 60])
def test_nothing_is_lost_or_cut_at_any_width(names, width):
    text = plain(table(*names), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0] == "Spike flips"
    words = " ".join(lines).split()
    for head in NUMBERS:
        assert set(head.split()) <= {word.strip(",") for word in words}
    for name in {*names}:
        assert any(name in line for line in lines)
    for cell in CELLS:
        assert sum(line.count(cell) for line in lines) >= len(names)


def test_the_forms_of_a_table():
    assert plain(table(SHORT), 80).splitlines()[3].split() == [SHORT, *" ".join(CELLS).split()]
    heads, _, name, row = plain(table(LONG), 80).splitlines()[1:]
    assert (heads.split()[0], name, row.split()) == ("neurons", LONG, " ".join(CELLS).split())
    broken = plain(table(SHORT), 70).splitlines()
    assert [line.split() for line in broken[1:3]] == [
        ["firing"],
        ["layer", "neurons", "rate", "undecided", "flips", "unexplained", "free-running"],
    ]
    _, name, *values = plain(table(LONG), 58).splitlines()
    assert name == LONG
    assert " ".join(line.strip() for line in values) == ", ".join(
        f"{head} {cell}" for head, cell in zip(NUMBERS, CELLS, strict=True)
    )


def test_numbers_end_in_one_column():
    made = Rows("", ["", ""], [""])
    made.add("a", "text", "1")
    made.add("b", "t", "1,000")
    assert plain(made).splitlines() == ["a  text      1", "b  t     1,000"]


def test_lines_after_the_first_are_indented():
    text = "it is broken between its words and not inside one of them"
    lines = plain(Hanging("  yes  ", text), 40).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("  yes  it")
    assert lines[1].startswith(" " * 7)
    assert " ".join(lines[0].split()[1:] + lines[1].split()) == text
    assert [plain(each) for each in labelled([("a", "1"), ("long", "2")])] == ["a     1", "long  2"]


def test_commands_and_paths_are_whole():
    line = "Next: tcja-deploy verify " + "a folder/" * 20
    assert plain(whole(line), 80) == line


ENDS = "\n", "\r", "\x0b", "\x85", "\u2028", "\u2029"


@pytest.mark.parametrize("end", ENDS, ids=ascii)
def test_a_name_writes_no_line_of_its_own(end):
    name = f"conv{end}Parity met"
    for text in (paragraph(name), Hanging("", name), Hanging(name, ""), Rows(name, ["x"])):
        assert plain(text).splitlines()[0] == "conv Parity met"
        assert plain(text).count("Parity") == 1


@pytest.mark.parametrize("code", ["\x1b[2J", "\x07", "\x9b31m", "\u202e", "\u2066", "\u200f"], ids=ascii)
def test_a_name_does_not_drive_the_terminal(code):
    assert plain(paragraph(f"a{code}b"))[1:-1] == code[1:]
