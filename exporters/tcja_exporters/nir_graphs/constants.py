"""The constants of a node of a NIR graph, and those that a training code computed them from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_exporters.nir_graphs.graph import Node

Array = npt.NDArray[Any]
_CLOSE = 1e-5  # relative; files store most constants in float32
_NEAR = 8  # units in the last place


class Constants:
    """The constants of a node.

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        self.node = node

    def __getitem__(self, name: str) -> Array:
        """The constant with this name, in the type of the file; of no axes if all its values are equal."""
        values = np.asarray(getattr(self.node.values, name))
        return values.reshape(-1)[0].reshape(()) if values.size and (values == values.flat[0]).all() else values

    def positive(self, name: str) -> Array:
        """The constant with this name.

        Raises:
            ValueError: a value is not positive.
        """
        values = self[name]
        if not (values > 0).all():
            raise ValueError(f"its {name} is {_shown(values)}, and must be positive")
        return values

    def expect(self, name: str, value: Array | float, why: str) -> None:
        """Check that a constant has the value that a training code writes.

        Args:
            name: the name of the constant.
            value: the value.
            why: a phrase that says which code writes which value.

        Raises:
            ValueError: it has another value.
        """
        found = self[name]
        if not np.allclose(found, value, rtol=_CLOSE, atol=0):
            raise ValueError(f"its {name} is {_shown(found)}, and {why}")


def restored(stored: Array, guess: Callable[[Array], Array], written: Callable[[Array], Array]) -> Array:
    """Return the constants that a training code had, given those that it wrote.

    A code writes f(c) for a constant c, and rounds. So the exact inverse of f gives c only to the last bits, and a
    membrane that was exactly at its threshold would not be there any more. Near the inverse are the numbers that f maps
    to what is stored. Of these, the one with the fewest digits is taken: 0.9 before 0.89999998.

    Args:
        stored: what the file stores.
        guess: the inverse of f, which may be inexact.
        written: f, computed as the training code does, in the type of its argument.

    Returns:
        The constants, float64, in the shape of `stored`; `guess(stored)` where no number is found.
    """
    made = {value: _restored(value, guess, written) for value in np.unique(stored)}
    return np.array([made[value] for value in stored.reshape(-1)], np.float64).reshape(stored.shape)


def _restored(stored: Any, guess: Callable[[Any], Any], written: Callable[[Any], Any]) -> float:
    near = guess(stored.astype(np.float64))
    with np.errstate(all="ignore"):
        for candidate in _candidates(float(near), stored.dtype):
            if written(candidate) == stored:
                return float(candidate)
    return float(near)


def _candidates(near: float, dtype: np.dtype[Any]) -> Iterator[Array]:
    for digits in range(1, 18):
        yield np.array(float(f"{near:.{digits}g}"), dtype)
    yield np.array(near, np.float32).astype(dtype)  # a constant in float32, written by a NumPy that computes in float64
    for towards in (-np.inf, np.inf):
        value = np.array(near, dtype)
        for _ in range(_NEAR):
            value = np.asarray(np.nextafter(value, np.array(towards, dtype)))
            yield value


def described(node: Node) -> str:
    """Return the values of a node for people, "weight 5x6, tau 0.0004": the shapes of arrays, or their one value."""
    fields = {name: value for name, value in node.values.to_dict().items() if value is not None}
    return ", ".join(f"{name} {_told(value)}" for name, value in fields.items() if name not in _NOT_TOLD)


_NOT_TOLD = ("type", "metadata", "input_shape", "input_type")
_FEW = 4


def _told(value: Any) -> str:
    values = np.asarray(value)
    if values.dtype.kind not in "biuf":
        return str(value)
    if values.ndim <= 1 and values.dtype.kind in "iu" and values.size <= _FEW:
        return "x".join(f"{size}" for size in values.reshape(-1)) or "[]"
    if values.size and (values == values.flat[0]).all():
        return f"{values.flat[0]:g}"
    return "x".join(map(str, values.shape))


def _shown(values: Array) -> str:
    """Return a constant for messages."""
    return f"{values:g}" if values.ndim == 0 else f"{values.min():g} to {values.max():g}"
