"""Values from outside become records only if each of them has the type of its field."""

import dataclasses
import enum
import json
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.records import WrongField, argument, check_arguments, read


class Fact(TypedDict):
    size: int


@dataclasses.dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...]
    ratio: float = 1.0

    def __post_init__(self) -> None:
        if self.ratio < 0:
            raise ValueError(f"a ratio cannot be {self.ratio}")


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    kind: Literal["a", "b"] = "a"
    several: list[Inner] = dataclasses.field(default_factory=list)
    pair: tuple[str, int] | None = None
    facts: dict[str, Fact] = dataclasses.field(default_factory=dict)
    flag: bool = False
    rest: Any = None


WHOLE = Outer("x", Inner((1, 2), 0.5), "b", [Inner(())], ("y", 3), {"f": {"size": 4}}, True, {"any": [1]})
VALUE = json.loads(json.dumps(dataclasses.asdict(WHOLE)))


def test_what_asdict_writes_is_read():
    assert read(Outer, VALUE) == WHOLE
    assert read(Outer, {"name": "x", "inner": {"sizes": []}}) == Outer("x", Inner(()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "name is null, and must be text"),
        ({"name": "\ud800"}, r"name is .*ud800.*, and must be text"),
        ({"inner": []}, "inner is a list, and must be an object"),
        ({"inner": {}}, "inner.sizes is missing"),
        ({"inner": {"sizes": [1, True]}}, r"inner.sizes\[1\] is true, and must be a whole number"),
        ({"inner": {"sizes": [], "ratio": float("nan")}}, "inner.ratio is NaN, and must be a finite number"),
        ({"inner": {"sizes": [], "ratio": 10**400}}, "inner.ratio is 1000.*, and must be a finite number"),
        ({"inner": {"sizes": [], "ratio": -1}}, "^inner: a ratio cannot be -1$"),
        ({"inner": {"sizes": [], "new": 1}}, "inner.new is not known to this version"),
        ({"kind": "c"}, 'kind is "c", and must be "a" or "b"'),
        ({"kind": ["a"]}, "kind is a list, and must be"),
        ({"several": {"0": {}}}, "several is an object, and must be a list"),
        ({"several": [{"sizes": 1}]}, r"several\[0\].sizes is 1, and must be a list"),
        ({"pair": ["y"]}, "pair has 1 value, and must be a list of 2"),
        ({"pair": ["y", 1.5]}, r"pair\[1\] is 1.5, and must be a whole number"),
        ({"facts": {"f": {}}}, "facts.f.size is missing"),
        ({"flag": 1}, "flag is 1, and must be true or false"),
        ({"name": "n" * 100, "flag": 0}, "flag is 0"),
    ],
)
def test_a_wrong_field_is_named_with_what_it_must_be(changes, message):
    with pytest.raises(WrongField, match=message):
        read(Outer, {**VALUE, **changes})


def test_no_record_at_all():
    with pytest.raises(WrongField, match="^is null, and must be an object"):
        read(Outer, None)


def test_a_long_name_is_cut_in_the_message():
    with pytest.raises(WrongField, match=r"^x{120}\.\.\. is not known to this version$"):
        read(Inner, {"sizes": [], "x" * 10_000: 1})


class Word(str, enum.Enum):
    ONE = "one"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    path: Path | None = None
    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    seconds: float = 1.0
    word: str = "one"
    made: Inner | str = ""
    pair: tuple[int, int] = (1, 2)

    def __post_init__(self) -> None:
        check_arguments(self)


def test_arguments_are_converted_to_the_types_of_their_fields():
    made = Options(path="a", names=["x"], sizes=(np.int32(4),), seconds=2, word=Word.ONE, made=Inner(()))
    assert made == Options(path=Path("a"), names=("x",), sizes=(4,), seconds=2.0, word="one", made=Inner(()))
    assert [type(made.word), type(made.sizes[0]), type(made.seconds)] == [str, int, int]
    assert Options(seconds=np.float32(0.5)).seconds == 0.5


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("path", 3, "`path` is 3, and must be a path"),
        ("path", "", '`path` is "", and must be a path'),
        ("path", "a\0b", "`path` is .*, and must be a path"),
        ("path", b"a", "`path` is a value of type bytes, and must be a path"),
        ("names", "x", '`names` is "x", and must be a list or a tuple'),
        ("names", None, "`names` is None, and must be a list or a tuple"),
        ("names", {"x"}, "`names` is a value of type set, and must be a list or a tuple"),
        ("sizes", (1.5,), r"`sizes`\[0\] is 1.5, and must be a whole number"),
        ("sizes", (True,), r"`sizes`\[0\] is True, and must be a whole number"),
        ("seconds", float("nan"), "`seconds` is NaN, and must be a finite number"),
        ("seconds", "2", '`seconds` is "2", and must be a finite number'),
        ("word", 1, "`word` is 1, and must be text"),
        ("made", 1, "`made` is 1, and must be an Inner"),
        ("made", {}, "`made` is a dictionary, and must be an Inner$"),
        ("made", Inner, r"`made` is the class Inner, and must be an Inner; call it: Inner\(\)$"),
        ("names", Inner, "`names` is the class Inner, and must be a list or a tuple$"),
        ("pair", (1, 2, 3), "`pair` has 3 values, and must be a list or a tuple of 2$"),
    ],
)
def test_an_argument_of_another_type_is_named(name, value, message):
    with pytest.raises(BadInput, match=f"^{message}"):
        Options(**{name: value})


def test_a_single_argument():
    assert argument("path", "a", Path) == Path("a")
    with pytest.raises(BadInput, match="^`path` is None, and must be a path"):
        argument("path", None, Path)
