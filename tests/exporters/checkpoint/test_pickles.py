import pickle
from pathlib import Path

import pytest

from tcja_exporters.checkpoint import pickles
from tcja_runtime.errors import BadInput

PATH = Path("a.pth")


def doubled(times: int) -> bytes:
    """A tuple of two tuples of two tuples ..., as the key of a dictionary: each of them doubles the time to read it."""
    return b"\x80\x02}N" + b"q\x00h\x00\x86" * times + b"Ns."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (doubled(60), r"^a\.pth repeats more than 1,048,576 values in its pickle$"),
        (b"\x80\x02N" + b"2\x86" * 60 + b".", r"^a\.pth repeats more than 1,048,576 values in its pickle$"),
        (
            b"\x80\x02" + b"N" * 2**20 + b".",
            r"^a\.pth has more than 1,048,576 steps in its pickle; save fewer keys and values$",
        ),
        (pickle.dumps({"k" * 5_000_000: 1}, 2), r"^a\.pth has a text of 5,000,000 characters, more than 4,194,304$"),
        (b"\x80\x02N." * 4 + doubled(60), "repeats more than 1,048,576 values"),
    ],
)
def test_what_takes_any_time_is_refused(content, message):
    with pytest.raises(BadInput, match=message):
        pickles.check(content, PATH)


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", b"\x80\x02", b"\x80\x02h\x05.", b"\x80\x02s.", b"\x80\x02t.", doubled(15)]
)
def test_other_pickles_are_left_to_pytorch(content):
    pickles.check(content, PATH)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_python_pass(protocol):
    value = {
        "a": [1, 2.5, "text", None, (1, (2, 3))] * 100,
        ("k", 1): {"b": {1, 2}, "c": frozenset((3,))},
        "d": b"x" * 300,
    }
    value["self"] = value
    pickles.check(pickle.dumps(value, protocol), PATH)
