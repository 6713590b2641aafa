import json
import os
from typing import Any

import pytest

from tcja_runtime.files.limits import DEEPEST, MOST_VALUES
from tcja_runtime.files.text import one_line, parsed, parsed_all, shown, storable


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain.pth", "plain.pth"),
        ("Tür.pth".encode(), "Tür.pth"),
        (b"b\xfcndel", "b\\xfcndel"),
        ("gr\N{LATIN SMALL LETTER SHARP S}".encode("latin-1"), "gr\\xdf"),
        ("数据".encode("gbk"), "\\xca\\xfd\\xbe\\xdd"),
    ],
)
def test_the_bytes_of_a_name_are_shown(name, text):
    assert shown(os.fsdecode(name)) == text
    assert shown(text) == text


def test_half_a_character_of_json():
    assert shown(json.loads('"a\\ud800"')) == "a\N{REPLACEMENT CHARACTER}"


def test_all_texts_of_a_value():
    odd = os.fsdecode(b"\xfc")
    assert storable({odd: [odd, (1, odd)], "n": None}) == {"\\xfc": ["\\xfc", [1, "\\xfc"]], "n": None}


def test_a_text_in_one_line_drives_no_terminal():
    assert one_line("a\n\033[31mb\x9bc\udcfc\u202ed") == "a  [31mb c\\xfc d"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "line 1 is not JSON"),
        (b'{\n"a": 1,\n}', "line 3 is not JSON"),
        (b'"\xff"', "byte 1 is not UTF-8"),
        (b"[" * 100_000, "it has lists in more than 32 levels"),
        (b"[" * 40 + b"]" * 40, "it has lists in more than 32 levels"),
        (b"[" + b"9" * 10_000 + b"]", "it has a number of too many digits"),
        (b'[{"a": 1, "b": {"x": 1, "y": 2, "x": 1}}]', 'it has "x" twice in an object'),
        (b'{"%b": 1, "%b": 2}' % (b"x" * 1000, b"x" * 1000), f'it has "{"x" * 40}" twice in an object'),
        (b"[" + b"[]," * 2**21 + b"[]]", "it has more than 2,097,152 values"),
    ],
)
def test_what_is_not_read(content, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        parsed(content)


def test_texts_that_follow_one_another_are_read():
    assert parsed_all(b'{"a": 1}\n {"b": [2]}3\n\n') == [{"a": 1}, {"b": [2]}, 3]
    for content, message in (("", "line 1 is not JSON"), ("1\n2 x", "line 2 is not JSON"), ('{"a":1}\n{', "line 2 is")):
        with pytest.raises(ValueError, match=message):
            parsed_all(content)


def test_behind_a_text_is_nothing():
    with pytest.raises(ValueError, match=r"^line 2 is not JSON$"):
        parsed("{}\n{}")


def test_json_is_read():
    deep: Any = 1
    for _ in range(DEEPEST - 1):
        deep = [deep]
    assert parsed(json.dumps(deep).encode()) == deep
    assert parsed('{"a": {"a": 1}, "b": {"a": "ö"}}') == {"a": {"a": 1}, "b": {"a": "ö"}}


def test_all_values_up_to_the_limit_are_read():
    assert len(parsed(json.dumps([0] * (MOST_VALUES - 1)))) == MOST_VALUES - 1
