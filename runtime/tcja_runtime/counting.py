"""Numbers of things as text: singular and plural."""

from __future__ import annotations

from collections.abc import Iterable

_PLURALS = {"class": "classes", "batch": "batches", "entry": "entries"}


def counted(n: int, noun: str) -> str:
    """Returns a number with its noun, in the plural if the number is not 1: ``1 spike``, ``1,024 time steps``."""
    if n == 1:
        return f"{n:,} {noun}"
    before, space, last = noun.rpartition(" ")
    return f"{n:,} {before}{space}{_PLURALS.get(last, last + 's')}"


def agree(n: int, one: str, many: str) -> str:
    """Returns the form of a word that agrees with a number of things: `one` for 1, `many` for other numbers."""
    return one if n == 1 else many


def an(noun: str) -> str:
    """Returns a noun with its article: "an int", "a Linear"."""
    return f"{'an' if noun[:1] in 'aeiouAEIOU' else 'a'} {noun}"


def numbered(at: int, name: str) -> str:
    """Returns the number of a class and its name: "3 cat"; only the number, "3", of a class that has no other name."""
    return name if name == str(at) else f"{at} {name}"


def listed(items: Iterable[object], most: int = 5, separator: str = ", ") -> str:
    """Returns the first few items, and the number of the others: ``a, b and 3 more``, or ``a; b; and 3 more``.

    Args:
        items: the items.
        most: the largest number of items that are named.
        separator: the text between two items.
    """
    found = list(map(str, items))
    if len(found) <= most:
        return separator.join(found)
    joint = " " if separator == ", " else separator
    return f"{separator.join(found[:most])}{joint}and {len(found) - most:,} more"
