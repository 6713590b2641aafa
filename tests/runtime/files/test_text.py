import json
import os

import pytest

from tcja_runtime.files.text import one_line, shown, storable


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
