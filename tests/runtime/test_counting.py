from __future__ import annotations

import pytest

from tcja_runtime.counting import agree, an, counted, listed, numbered


@pytest.mark.parametrize(
    ("n", "noun", "text"),
    [
        (0, "spike", "0 spikes"),
        (1, "spike", "1 spike"),
        (1024, "time step", "1,024 time steps"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (3, "rare class", "3 rare classes"),
        (2, "entry", "2 entries"),
    ],
)
def test_a_number_and_its_noun_agree(n, noun, text):
    assert counted(n, noun) == text


def test_a_noun_has_its_article():
    assert [an(noun) for noun in ("int", "Embedding", "tuple")] == ["an int", "an Embedding", "a tuple"]


def test_a_verb_agrees_with_a_number():
    assert [agree(n, "is", "are") for n in (0, 1, 2)] == ["are", "is", "are"]


@pytest.mark.parametrize(
    ("n", "separator", "text"),
    [
        (0, ", ", ""),
        (2, ", ", "0, 1"),
        (3, ", ", "0, 1 and 1 more"),
        (1002, ", ", "0, 1 and 1,000 more"),
        (2, "; ", "0; 1"),
        (4, "; ", "0; 1; and 2 more"),
    ],
)
def test_the_first_of_many_are_listed(n, separator, text):
    assert listed(range(n), 2, separator) == text


def test_a_class_without_a_name_is_its_number():
    assert [numbered(3, "cat"), numbered(3, "3"), numbered(3, "2")] == ["3 cat", "3", "3 2"]
