"""The oldest versions that are applied are those that pip installs for."""

import re
from pathlib import Path

import pytest

from tcja_runtime.machine.versions import OLDEST, too_old, version

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_they_are_those_of_pyproject():
    text = PYPROJECT.read_text()
    wanted = re.findall(
        r'"([a-z0-9-]+)(?:\[[a-z]+\])?>=([0-9.]+)(?:,<[0-9.]+)?"',
        text.partition("[build-system]")[2].partition("dev = ")[0],
    )
    found = {name: tuple(map(int, number.split("."))) for name, number in wanted if name != "setuptools"}
    assert found == OLDEST


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("1.20.1", "onnxruntime 1.20.1 is too old, 1.21 is needed"),
        ("0.9", "onnxruntime 0.9 is too old, 1.21 is needed"),
        ("1", "onnxruntime 1 is too old, 1.21 is needed"),
        ("1.21.0", None),
        ("1.21.0rc1", None),
        ("1.100+cpu", None),
        ("2", None),
        ("of unknown version", None),
        (None, None),
    ],
)
def test_what_is_too_old(number, words):
    assert too_old("onnxruntime", number) == words


def test_what_is_installed_here():
    assert version("numpy")
    assert version("a-package-of-nobody") is None
    assert [too_old(package, version(package)) for package in OLDEST] == [None] * len(OLDEST)
